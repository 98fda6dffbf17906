"""From a message's row to a table's row: pure. A value that cannot be stored raises; the store quarantines it."""

import datetime

import msgspec

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord
from voipfleet.central.schema import PROMOTED, TEXT

_LIMIT = 1 << 63  # of a BIGINT


def clean(text: str | None) -> str:
    """Text for a promoted column: at most 255 characters, no lone surrogates, no NUL."""
    return (text or "")[:TEXT].encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def call_row(body: bytes) -> dict:
    """The columns of table `calls` for a msgpack CallRecord."""
    call = record.decode(body)
    day = datetime.datetime.fromtimestamp(call.setup_time // 1_000_000_000, datetime.UTC).date()
    row = {
        "uuid": call.uuid, "day": day, "revision": call.revision, "setup_time": call.setup_time,
        "answer_time": call.answer_time, "end_time": call.end_time, "duration": call.duration,
        "connect_duration": call.connect_duration, "final_response": call.final_response,
        "one_way": int(call.one_way), "partial": int(call.partial), "body": body,
    }  # fmt: skip
    row.update({name: clean(getattr(call, name)) for name in PROMOTED})
    for side in ("caller", "callee"):
        row[f"{side}_lost"], row[f"{side}_mos"] = _direction(call, side)
    for name, value in row.items():
        if isinstance(value, int | float) and not -_LIMIT <= value < _LIMIT:  # neither does NaN or infinity
            raise ValueError(f"{name} is {value}, which no column holds")
    return row


def _direction(call: CallRecord, side: str) -> tuple[int | None, float | None]:
    streams = [stream for stream in call.streams if stream.direction == side]
    if not streams:
        return None, None
    mos = [stream.mos for stream in streams if stream.mos is not None]
    return sum(stream.lost for stream in streams), min(mos) if mos else None


def with_origin(body: bytes, name: str) -> bytes:
    """The record with the sensor's authenticated name where it has none of its own."""
    call = record.decode(body)
    if call.sensor:
        return body
    return record.encode(msgspec.structs.replace(call, sensor=name))
