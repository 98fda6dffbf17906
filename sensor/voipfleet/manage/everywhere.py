"""One command at several hosts, this one among them: what each says, and which could not. Each is in the audit log."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

from voipfleet.asking.messages import MAX_HOPS, Unreached
from voipfleet.errors import VoipfleetError
from voipfleet.manage import hosts
from voipfleet.manage.onrecord import on_record
from voipfleet.manage.own import store_of
from voipfleet.manage.request import Request

log = logging.getLogger("voipfleet.manager")
AT_ONCE = 8  # hosts that are asked at a time
FIELDS = ("sensor", "name", "error", "later", "bytes", "packets", "calls", "records", "released", "who", "why", "at",
          "missing")  # fmt: skip
PLAIN = (str, int, float, type(None))
MAX_TEXT = 1024  # characters of what a host says in one field
MAX_INSIDE = 256  # hosts that one host may name as those that it had asked itself
MAX_SAID = 128 << 10  # bytes of what one host says, about

Work = Callable[[object, bytes], Awaitable[dict]]
Asked = list[tuple[bytes, dict]]  # uuid of the host, arguments for it


async def each(service, request: Request, command: str, asked: Asked, work: Work) -> tuple[list[dict], list[dict]]:
    """What each says who has done it, and who could not. `later`: it is erased there when it is back. `work(pool,
    uuid)` does it here.

    What is to be erased is kept on the disk before anybody is asked: whatever becomes of this process, it is done."""
    places, done, missed = asyncio.Semaphore(AT_ONCE), [], []
    who = hosts.asker(service, request)
    later = service.later if command == "erase" else None
    asked = [(uuid, arguments | ({"here": True} if "uuid" in arguments else {})) for uuid, arguments in asked]
    if later:
        await later.begin([one for one in asked if one[0] != service.own_uuid], who)

    def is_kept(uuid: bytes, arguments: dict) -> bool:
        return bool(later and later.keeps(uuid, arguments, who))

    async def one(uuid: bytes, arguments: dict) -> None:
        names, over = {"sensor": uuid.hex(), "name": hosts.called(service, uuid)}, False
        try:
            with on_record(service, command, request.who, sensor=names["name"], call=request.named()) as line:
                async with places:
                    said = await _of_host(service, request, uuid, command, arguments, work)
                over = True
                line["result"] = "failed" if said.get("missed") else "ok"
            done.append(said | names)
        except VoipfleetError as error:
            over = not isinstance(error, Unreached)
            missed.append({**names, "error": str(error), "later": not over and is_kept(uuid, arguments)})
        except Exception as error:
            log.exception("%s at %s failed unexpectedly", command, names["name"])
            fault = f"internal error ({type(error).__name__}); the log has more, report it"
            missed.append({**names, "error": fault, "later": is_kept(uuid, arguments)})
        finally:
            if later:
                await later.ended(uuid, arguments, who, over=over)

    here = [one for one in asked if one[0] != service.own_uuid or service.pool is not None or len(asked) == 1]
    await asyncio.gather(*(one(*host) for host in here))
    return done, missed


async def _of_host(service, request: Request, uuid: bytes, command: str, arguments: dict, work: Work) -> dict:
    if uuid != service.own_uuid:
        return bounded(await hosts.ask(service, request, uuid, command, arguments))
    return await work(store_of(service), bytes.fromhex(arguments.get("uuid", "")))


def bounded(said: dict, deep: int = MAX_HOPS) -> dict:
    """What a host may have said of it: known fields, short; and the same of hosts that it had asked, `deep` of them one
    behind the other. VoipfleetError where that is more than can be."""
    kept = {name: _short(said[name]) for name in FIELDS if name in said and isinstance(said[name], PLAIN)}
    for kind in ("done", "missed") if deep else ():
        if isinstance(said.get(kind), list):
            inside = said[kind][:MAX_INSIDE]
            kept[kind] = [bounded(one, deep - 1) for one in inside if isinstance(one, dict)]
    if deep == MAX_HOPS and len(json.dumps(kept)) > MAX_SAID:
        raise VoipfleetError("its answer is longer than can be; another release may run there, ask on that host")
    return kept


def _short(value):
    if isinstance(value, str):
        return value[:MAX_TEXT]
    return value if not isinstance(value, int) or abs(value) < 1 << 63 else None
