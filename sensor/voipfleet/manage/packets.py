"""Commands about the packets of calls: who has them, fetch, hold, release, erase. Each is in the audit log."""

from collections.abc import Awaitable, Callable
from contextlib import nullcontext

from voipfleet.asking.asker import no_data
from voipfleet.errors import VoipfleetError
from voipfleet.fetching.reporting import nothing
from voipfleet.manage import hosts
from voipfleet.manage.begun import Note
from voipfleet.manage.everywhere import Work, each
from voipfleet.manage.onrecord import on_record
from voipfleet.manage.own import as_object, store_of
from voipfleet.manage.request import ALL, LISTENERS, Request
from voipfleet.tasks import to_its_end

MAX_OFFSET = 1 << 50


class StillLeft(VoipfleetError):
    """Of an erasure; it is tried again."""

    temporary = True


Part = tuple[bytes, bytes]  # its uuid, and that of the host that has it
Record = Callable[[bytes], Awaitable[None]]


async def find(service, request: Request) -> dict:
    """A call's record, and which hosts have packets of it."""
    with on_record(service, "pcap_find", request.who, call=request.named("call")) as line:
        record, parts = await _parts(service, request.text("call"))
        line["call"] = record.uuid.hex()
        return {"call": as_object(record), "holders": [_holder(service, *part) for part in parts]}


async def fetch(service, request: Request) -> dict:
    """The packets of a call that one host has, as its files have them."""
    given = {"sensor": service.name, "call": request.named("uuid"), "bytes": 0, "audio": False}
    with on_record(service, "pcap_fetch", request.who, **given) as line:
        uuid, offset, target = request.uuid(), request.whole("offset", 0, MAX_OFFSET), _target(service, request)
        line["sensor"] = hosts.called(service, target)
        line["audio"] = audio = request.yes("audio", True) and LISTENERS in request.groups

        async def send(data: bytes) -> None:
            await request.send(data)
            line["bytes"] += len(data)

        if target:
            arguments = {"uuid": uuid.hex(), "offset": offset, "audio": audio}
            return await hosts.ask(service, request, target, "fetch", arguments, send)
        said = await store_of(service).fetch(uuid, offset, audio, send)
        return said | {"name": service.name, "clock_offset_ms": service.clock_offset_ms()}


async def hold(service, request: Request) -> dict:
    """Keep a copy of a call's packets that retention never removes; at a central its record too."""
    with _sound(service, request, "hold"):
        why = request.text("why", "")

    async def record(uuid: bytes) -> None:
        await service.stored.call(service.stored.store.hold, uuid, request.who, why)

    return await _of_call(service, request, "hold", {"why": why}, lambda pool, uuid: pool.hold(uuid, request.who, why),
                          record)  # fmt: skip


async def release(service, request: Request) -> dict:
    """Give a held call back to retention."""

    async def record(uuid: bytes) -> None:
        await service.stored.call(service.stored.store.release, uuid)

    return await _of_call(service, request, "release", {}, lambda pool, uuid: pool.release(uuid), record)


async def erase(service, request: Request) -> dict:
    """Erase a call, or all calls of a number: at a central its records, and packets wherever they are. Where one of
    them is held there, nothing is erased. To its end, also where whoever asked goes away: what was begun would be
    neither here nor gone."""
    return await to_its_end(_erase(service, request))


async def carry_out(service, note: Note) -> None:
    """An erasure that an earlier process had begun, or for which the database did not answer."""
    what = {"number": note.number} if note.number else {"uuid": note.call}
    said = await _carry_out(service, Request(what, note.who, ALL, no_data), note, again=True)
    if left := [one for one in said["missed"] if not one["later"] and not nothing(one["error"])]:
        raise StillLeft(f"{left[0]['name']}: {left[0]['error']}")


# -- inside ------------------------------------------------------------------------------------------


async def _erase(service, request: Request) -> dict:
    with _sound(service, request, "erase"):
        number = request.text("number", "")
        if bool(number) == ("uuid" in request.arguments):
            raise VoipfleetError("erase: give a call or a number, one of both")
        if number and (request.arguments.get("sensor") or request.yes("here")):
            raise VoipfleetError("number: is erased on all hosts; give no sensor, or a call")
        if number != number.encode("utf-8", "replace").decode():
            raise VoipfleetError("number: is no text that a record can have")
        uuid = b"" if number else request.uuid()
        whole = bool(number) or _by_record(service, request)
    if not whole:
        return await _of_call(service, request, "erase", {}, lambda pool, uuid: pool.erase(uuid))
    places = [(known.uuid, b"") for known in service.board.routes]
    if uuid:
        with _sound(service, request, "erase"):
            places = [(origin, part) for part, origin in await service.stored.call(service.stored.store.parts_of, uuid)]
    note = Note(request.who, uuid.hex(), number, [(place.hex(), part.hex()) for place, part in places if place])
    async with service.begun.noted(note) if service.begun else nullcontext():
        return await _carry_out(service, request, note)


async def _carry_out(service, request: Request, note: Note, *, again: bool = False) -> dict:
    """`again`: the database may have erased already."""
    if note.number:
        return await _erase_number(service, request, note)
    with on_record(service, "erase", request.who, sensor=service.name, call=note.call):
        parts = await service.stored.call(service.stored.store.erase, bytes.fromhex(note.call))
        if not parts and not again:
            raise _unknown(service)
    asked = [(origin.hex(), part.hex()) for part, origin in parts] + note.hosts
    asked = [(bytes.fromhex(origin), {"uuid": part}) for origin, part in dict.fromkeys(asked)]
    done, missed = await each(service, request, "erase", asked, lambda pool, uuid: pool.erase(uuid))
    return {"records": len(parts), "done": done, "missed": missed}


async def _erase_number(service, request: Request, note: Note) -> dict:
    parts = await _records_of(service, request, note.number)
    known = [service.own_uuid, *(bytes.fromhex(host) for host, _ in note.hosts)]
    known += [known.uuid for known in service.board.routes]
    asked = [(uuid, {"number": note.number}) for uuid in dict.fromkeys([*known, *dict(parts).values()])]
    done, missed = await each(service, request, "erase", asked, lambda pool, _: pool.erase(note.number))
    try:  # records that were on their way when the first were erased
        parts += await _records_of(service, request, note.number, only_faults=True)
    except VoipfleetError as error:
        fault = f"{error}; records that came meanwhile may be left"
        missed.append({"sensor": service.own_uuid.hex(), "name": service.name, "error": fault, "later": False})
    return {"records": len(parts), "done": done, "missed": missed}


async def _records_of(service, request: Request, number: str, only_faults: bool = False) -> list[Part]:
    """Erased from the database, where there is one."""
    if not service.stored:
        return []
    with on_record(service, "erase", request.who, sensor=service.name, call="", only_faults=only_faults):
        return list(await service.stored.call(service.stored.store.erase, None, number))


def _sound(service, request: Request, command: str):
    """A line in the audit log where what is asked cannot be meant."""
    call = request.named("uuid")
    return on_record(service, command, request.who, sensor=service.name, call=call, only_faults=True)


def _by_record(service, request: Request) -> bool:
    """Whether it is about all that the database says of a call, and not about the packets that one host has."""
    return bool(service.stored) and not request.arguments.get("sensor") and not request.yes("here")


async def _of_call(service, request: Request, command: str, arguments: dict, work: Work,
                   record: Record | None = None) -> dict:  # fmt: skip
    """At the host that is named; else at all that have packets of the call, after `record(uuid)` in the database; here
    where no database says who has."""
    with _sound(service, request, command):
        uuid, target = request.uuid(), _target(service, request)
        central = _by_record(service, request)
    if not central:
        host = target or service.own_uuid
        done, missed = await each(service, request, command, [(host, {"uuid": uuid.hex(), **arguments})], work)
        if missed and not missed[0]["later"]:
            raise VoipfleetError(missed[0]["error"])
        return {"done": done, "missed": missed}
    with on_record(service, command, request.who, sensor=service.name, call=uuid.hex()):
        await record(uuid)
        _, parts = await _parts(service, uuid.hex())
    asked = [(origin, {"uuid": part.hex(), **arguments}) for part, origin in parts]
    done, missed = await each(service, request, command, asked, work)
    return {"done": done, "missed": missed}


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


def _target(service, request: Request) -> bytes:
    """The host that is to be asked; b"" for this one."""
    target = request.uuid("sensor") if request.arguments.get("sensor") else b""
    return b"" if target == service.own_uuid else target
