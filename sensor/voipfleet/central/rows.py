"""From a message's row to a table's row: pure. A value that cannot be stored raises; the store quarantines it."""

import datetime
import functools
import json

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord
from voipfleet.central.schema import PROMOTED, TEXT
from voipfleet.records.messages import Row, Status

_DAY = 86_400 * 10**9
_LIMIT = 1 << 63  # of a BIGINT
_NUMBERS = (
    "revision", "setup_time", "answer_time", "end_time", "duration", "connect_duration", "final_response",
    "caller_lost", "caller_mos", "callee_lost", "callee_mos",
)  # fmt: skip
_COUNTERS = 100  # of a sensor, at most: their JSON must fit into a TEXT, 64 KiB


def clean(text: str | None) -> str:
    """Text for a promoted column: at most 255 characters, no lone surrogates, no NUL."""
    text = (text or "")[:TEXT]
    return (
        text
        if text.isascii() and "\0" not in text
        else text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    )


def call_row(row: Row, origin: str) -> dict:
    """The columns of table `calls` for a row with a msgpack CallRecord, as read() and columns() say."""
    return columns(*read(row, origin))


def read(row: Row, origin: str) -> tuple[CallRecord, bytes]:
    """The record in a row, and its msgpack, with a sensor's name: `origin` is its authenticated one.

    ValueError or msgspec.DecodeError where it is none.
    """
    call, body = record.decode(row.body), row.body
    if (call.uuid, call.revision) != (row.uuid, row.revision):
        raise ValueError(f"the record says that it is {call.uuid.hex()} revision {call.revision}, which its row is not")
    if not call.sensor:
        call.sensor = origin
        body = record.encode(call)
    return call, body


def columns(call: CallRecord, body: bytes) -> dict:
    """The columns of table `calls` but `origin`; ValueError where no column holds a value."""
    values = {
        "uuid": call.uuid, "day": _day(call.setup_time // _DAY), "revision": call.revision,
        "method": clean(call.method)[:16], "setup_time": call.setup_time,
        "answer_time": call.answer_time, "end_time": call.end_time, "duration": call.duration,
        "connect_duration": call.connect_duration, "final_response": call.final_response,
        "one_way": int(call.one_way), "partial": int(call.partial), "body": body,
    }  # fmt: skip
    for name in PROMOTED:
        values[name] = clean(getattr(call, name))
    values["caller_lost"], values["caller_mos"] = _direction(call, "caller")
    values["callee_lost"], values["callee_mos"] = _direction(call, "callee")
    for name in _NUMBERS:
        if not -_LIMIT <= (values[name] or 0) < _LIMIT:  # neither does NaN or infinity
            raise ValueError(f"{name} is {values[name]}, which no column holds")
    return values


@functools.lru_cache(64)
def _day(number: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(number * (_DAY // 10**9), datetime.UTC).date()


def _direction(call: CallRecord, side: str) -> tuple[int | None, float | None]:
    streams = record.of_side(call, side)
    if not streams:
        return None, None
    mos = [stream.mos for stream in streams if stream.mos is not None]
    return sum(stream.lost for stream in streams), min(mos) if mos else None


def status_row(status: Status) -> dict:
    """The columns of table `sensors` that a sensor's status fills; what is beyond a column is cut to it."""
    counters = {clean(name)[:64]: _within(value, 63) for name, value in list(status.counters.items())[:_COUNTERS]}
    return {
        "site": clean(status.site), "version": clean(status.version)[:64], "mode": clean(status.mode),
        "sensor_id": _within(status.sensor_id, 31), "started": _within(status.started, 63),
        "counters": json.dumps(counters, ensure_ascii=False),
    }  # fmt: skip


def _within(value: int, bits: int) -> int:
    return max(0, min(value, (1 << bits) - 1))
