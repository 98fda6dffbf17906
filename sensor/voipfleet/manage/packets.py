"""Commands about the packets of calls: who has them, fetch, hold, release, erase. Each is in the audit log."""

import asyncio
from collections.abc import Awaitable, Callable

from voipfleet.asking.messages import Unreached
from voipfleet.errors import VoipfleetError
from voipfleet.manage import hosts
from voipfleet.manage.own import as_object, store_of
from voipfleet.manage.request import LISTENERS, Request

MAX_OFFSET = 1 << 50
AT_ONCE = 8  # hosts that are asked at a time


async def find(service, request: Request) -> dict:
    """A call's record, and which hosts have packets of it."""
    record, parts = await _parts(service, request.text("call"))
    service.tell_audit("pcap_find", who=request.who, call=record.uuid.hex())
    return {"call": as_object(record), "holders": [_holder(service, *part) for part in parts]}


async def fetch(service, request: Request) -> dict:
    """The packets of a call that one host has, as its files have them."""
    uuid, offset, sent = request.uuid(), request.whole("offset", 0, MAX_OFFSET), 0
    audio = request.yes("audio", True) and LISTENERS in request.groups
    target = _target(service, request)

    async def send(data: bytes) -> None:
        nonlocal sent
        await request.send(data)
        sent += len(data)

    result = "failed"
    try:
        if target:
            arguments = {"uuid": uuid.hex(), "offset": offset, "audio": audio}
            said = await hosts.ask(service, request, target, "fetch", arguments, send)
        else:
            said = await store_of(service).fetch(uuid, offset, audio, send)
            said |= {"name": service.name, "clock_offset_ms": service.clock_offset_ms()}
        result = "ok"
        return said
    except (asyncio.CancelledError, ConnectionError):
        result = "left"
        raise
    finally:
        service.tell_audit("pcap_fetch", who=request.who, sensor=hosts.called(service, target), call=uuid.hex(),
                           bytes=sent, audio=audio, result=result)  # fmt: skip


async def hold(service, request: Request) -> dict:
    """Keep a copy of a call's packets that retention never removes; at a central its record too."""
    why = request.text("why", "")
    if (uuid := _of_database(service, request)) is not None:
        await service.stored.call(service.stored.store.hold, uuid, request.who, why)
    return await _of_call(service, request, "hold", {"why": why}, lambda pool, uuid: pool.hold(uuid, request.who, why))


async def release(service, request: Request) -> dict:
    """Give a held call back to retention."""
    if (uuid := _of_database(service, request)) is not None:
        await service.stored.call(service.stored.store.release, uuid)
    return await _of_call(service, request, "release", {}, lambda pool, uuid: pool.release(uuid))


async def erase(service, request: Request) -> dict:
    """Erase a call, or all calls of a number: at a central its records, and packets wherever they are. Where one of
    them is held there, nothing is erased."""
    number = request.text("number", "")
    if bool(number) == ("uuid" in request.arguments):
        raise VoipfleetError("erase: give a call or a number, one of both")
    if not number:
        return await _of_call(service, request, "erase", {}, lambda pool, uuid: pool.erase(uuid))
    parts = await service.stored.call(service.stored.store.erase, None, number) if service.stored else []
    known = [known.uuid for known in service.board.routes]
    everybody = dict.fromkeys([service.own_uuid, *known, *dict(parts).values()])
    asked = [(uuid, hosts.called(service, uuid), {"number": number}) for uuid in everybody]
    done, missed = await _each(service, request, "erase", asked, lambda pool, _: pool.erase(number))
    _audit(service, request, "erase", "", done, missed)
    return {"records": len(parts), "done": done, "missed": missed}


# -- inside ------------------------------------------------------------------------------------------

Work = Callable[[object, bytes], Awaitable[dict]]


def _of_database(service, request: Request) -> bytes | None:
    """The call that is meant, where this instance's database has it and no single host is named."""
    if service.stored and not _target(service, request) and not request.yes("here"):
        return request.uuid()
    return None


async def _of_call(service, request: Request, command: str, arguments: dict, work: Work) -> dict:
    """At the host that is named; else at all that have packets of the call; here where no database says who has."""
    uuid, target = request.uuid(), _target(service, request)
    if _of_database(service, request) is not None:
        if command == "erase":
            parts = await service.stored.call(service.stored.store.erase, uuid)
            if not parts:
                raise _unknown(service)
        else:
            _, parts = await _parts(service, uuid.hex())
        asked = [(origin, hosts.called(service, origin), {"uuid": part.hex(), **arguments}) for part, origin in parts]
    else:
        host = target or service.own_uuid
        asked = [(host, hosts.called(service, host), {"uuid": uuid.hex(), **arguments})]
    done, missed = await _each(service, request, command, asked, work)
    _audit(service, request, command, uuid.hex(), done, missed)
    if missed and _of_database(service, request) is None:
        raise VoipfleetError(missed[0]["error"])
    erased = {"records": len(asked)} if command == "erase" and _of_database(service, request) is not None else {}
    return {**erased, "done": done, "missed": missed}


async def _each(service, request: Request, command: str, asked: list, work: Work) -> tuple[list[dict], list[dict]]:
    """What each of `asked` (uuid, name, arguments) says, and which could not; `later`: it is erased there when it is
    back."""
    places, done, missed = asyncio.Semaphore(AT_ONCE), [], []

    async def one(uuid: bytes, name: str, arguments: dict) -> None:
        here = {"here": True} if "uuid" in arguments else {}
        async with places:
            try:
                if uuid != service.own_uuid:
                    said = await hosts.ask(service, request, uuid, command, arguments | here)
                elif service.pool is None and len(asked) > 1:
                    return  # nothing is kept here
                else:
                    said = await work(store_of(service), bytes.fromhex(arguments.get("uuid", "")))
                done.append({"sensor": uuid.hex(), "name": name, **said})
            except VoipfleetError as error:
                later = isinstance(error, Unreached) and command == "erase" and service.later is not None
                later = later and service.later.add(uuid, arguments | here, hosts.asker(service, request))
                missed.append({"sensor": uuid.hex(), "name": name, "error": str(error), "later": later})

    await asyncio.gather(*(one(*host) for host in asked))
    return done, missed


async def _parts(service, name: str):
    """The record of that Call-ID or uuid, and of which part (uuid) which host (uuid) has the packets."""
    if not service.stored:
        if service.pool and (found := await service.pool.find(name)):
            return found, [(found.uuid, service.own_uuid)]
        raise VoipfleetError(f"{service.name}: has no record of this call; ask at its central")
    found = await service.stored.call(service.stored.store.find_call, name)
    if found is None:
        raise _unknown(service)
    return found


def _unknown(service) -> VoipfleetError:
    return VoipfleetError(f"{service.name}: no call of that name is in the database; a call is in it once it has ended,"
                          " `voipfleet calls` lists them")  # fmt: skip


def _holder(service, part: bytes, origin: bytes) -> dict:
    return {"sensor": origin.hex(), "name": hosts.called(service, origin), "uuid": part.hex(),
            "state": hosts.state(service, origin), "since": hosts.since(service, origin),
            "clock_offset_ms": hosts.offset_ms(service, origin)}  # fmt: skip


def _audit(service, request: Request, command: str, uuid: str, done: list, missed: list) -> None:
    for group, result in ((done, "ok"), (missed, "failed")):
        for one in group:
            service.tell_audit(command, who=request.who, sensor=one["name"], call=uuid, result=result)


def _target(service, request: Request) -> bytes:
    """The host that is to be asked; b"" for this one."""
    target = request.uuid("sensor") if request.arguments.get("sensor") else b""
    return b"" if target == service.own_uuid else target
