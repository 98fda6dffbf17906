"""Commands about the instance itself: what it says of itself, and the calls that are up."""

import json
import time

from voipfleet import __version__, report
from voipfleet.calls import record
from voipfleet.calls.record import CallRecord
from voipfleet.duties import mode
from voipfleet.errors import VoipfleetError
from voipfleet.link import handshake
from voipfleet.manage.request import Request, as_uuid

MAX_LISTED = 1000  # open calls in one answer
MAX_SIZE = 384 << 10  # bytes of them, about; a link takes 512 KiB


async def status(service, request: Request) -> dict:
    return await report.status(service)


async def probe(service, request: Request) -> dict:
    return await report.probe(service, request.whole("seconds", 5, 60))


async def version(service, request: Request) -> dict:
    return {"version": __version__, "link": [handshake.LOWEST, handshake.VERSION], "name": service.name,
            "mode": mode(service.config)}  # fmt: skip


async def active(service, request: Request) -> dict:
    """The calls that are up, the one first of which something was seen last."""
    calls, most, shown, size = service.intake.open_calls, request.whole("limit", 200, MAX_LISTED), [], 0
    for call in calls:
        one = _summary(call)
        size += len(json.dumps(one))
        if len(shown) == most or size > MAX_SIZE:
            break
        shown.append(one)
    return {"calls": len(calls), "shown": len(shown), "list": shown}


async def call(service, request: Request) -> dict:
    """One call that is up, as its record would be now."""
    name = request.text("call")
    found = service.intake.open_calls.find(as_uuid(name), name)
    if found is None:
        raise VoipfleetError(f"{service.name}: no call of that name is up; `voipfleet calls --call-id` has those that"
                             " ended, a call is known here a second after it began")  # fmt: skip
    if service.engine:
        found = record.decode(await service.engine.look(found.uuid))
    return {"call": as_object(found)}


async def pool(service, request: Request) -> dict:
    """What the packet store holds; with `dry_run`, what retention would remove now."""
    return await store_of(service).state(request.yes("dry_run"))


def as_object(call: CallRecord) -> dict:
    """A record as JSON has it."""
    return json.loads(record.to_json(call))


def store_of(service):
    """The packet store of this instance; VoipfleetError where it has none."""
    if service.pool is None:
        raise VoipfleetError(f"{service.name}: keeps no packets (it does not analyse any, or savesip, savertp and"
                             " savertcp are no); ask the host that analysed the call")  # fmt: skip
    return service.pool


def _summary(call: CallRecord) -> dict:
    state = "talking" if call.answer_time else "ringing" if call.ring_time else "calling"
    return {
        "uuid": call.uuid.hex(), "call_id": call.call_id, "caller": call.caller, "callee": call.callee,
        "src": call.src, "dst": call.dst, "sensor": call.sensor, "site": call.site, "method": call.method,
        "state": state, "setup_time": record.rfc3339(call.setup_time), "answer_time": record.rfc3339(call.answer_time),
        "seconds": round(max(0.0, time.time() - call.setup_time / 1e9), 1), "streams": len(call.streams),
    }  # fmt: skip
