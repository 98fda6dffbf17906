"""From a message's row to a table's row: pure. A value that cannot be stored raises; the store quarantines it."""

import datetime
import functools
import json

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.central import facts
from voipfleet.central.merging import ahead
from voipfleet.central.schema import PROMOTED, TEXT
from voipfleet.records.messages import Row, Status

_DAY = 86_400 * 10**9
_LIMIT = 1 << 63  # of a BIGINT
_NUMBERS = (
    "revision", "setup_time", "answer_time", "end_time", "duration", "connect_duration", "final_response",
    "caller_lost", "caller_mos", "callee_lost", "callee_mos", "lost", "expected",
)  # fmt: skip
_COUNTERS = 100  # of a sensor, at most: their JSON must fit into a TEXT, 64 KiB
FIGURES = (  # of these, that the registry shows
    "capture_packets_total", "capture_kernel_drops_total", "pipe_records_dropped_total", "pipe_packets_dropped_total",
    "calls_active", "records_queued", "disk_free_bytes", "disk_size_bytes", "pool_bytes", "pool_oldest_ns",
    "clock_offset_us",
)  # fmt: skip


def clean(text: str | None) -> str:
    """Text for a promoted column: at most 255 characters, no lone surrogates, no NUL."""
    text = (text or "")[:TEXT]
    return (
        text
        if text.isascii() and "\0" not in text
        else text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    )


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
        "uuid": call.uuid, "day": day_of(call), "revision": call.revision,
        "method": clean(call.method)[:16], "setup_time": call.setup_time,
        "answer_time": call.answer_time, "end_time": call.end_time, "duration": call.duration,
        "connect_duration": call.connect_duration, "final_response": call.final_response,
        "one_way": int(call.one_way), "partial": int(call.partial), "body": body,
    }  # fmt: skip
    for name in PROMOTED:
        values[name] = clean(getattr(call, name))
    sent, back = record.of_side(call, "caller"), record.of_side(call, "callee")
    values["caller_lost"], values["caller_mos"] = _direction(sent)
    values["callee_lost"], values["callee_mos"] = _direction(back)
    values |= facts.columns(call, sent + back)
    for name in _NUMBERS:
        if not -_LIMIT <= (values[name] or 0) < _LIMIT:  # neither does NaN or infinity
            raise ValueError(f"{name} is {values[name]}, which no column holds")
    return values


def addresses(call: CallRecord, day: datetime.date) -> list[dict]:
    """Rows of table `addresses`; `day` is that of its row."""
    return [{"address": packed, "setup_time": call.setup_time, "uuid": call.uuid, "day": day}
            for packed in sorted(facts.addresses(call))]  # fmt: skip


def day_of(call: CallRecord) -> datetime.date:
    """The UTC date of its setup by the central's clock: a sensor that lives in 1970 sends calls of today, and they are
    not to go before their time. By the sensor's where the offset makes no sense."""
    try:
        return _day((call.setup_time - ahead(call)) // _DAY)
    except (ValueError, OverflowError):
        return _day(call.setup_time // _DAY)


@functools.lru_cache(64)
def _day(number: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(number * (_DAY // 10**9), datetime.UTC).date()


def _direction(streams: list[StreamRecord]) -> tuple[int | None, float | None]:
    if not streams:
        return None, None
    mos = [stream.mos for stream in streams if stream.mos is not None]
    return sum(stream.lost for stream in streams), min(mos) if mos else None


def status_row(status: Status) -> dict:
    """The columns of table `sensors` that a sensor's status fills; what is beyond a column is cut to it."""
    names = [*filter(status.counters.__contains__, FIGURES), *(name for name in status.counters if name not in FIGURES)]
    counters = {clean(name)[:64]: _within(status.counters[name], 63, -1) for name in names[:_COUNTERS]}
    return {
        "site": clean(status.site), "version": clean(status.version)[:64], "mode": clean(status.mode),
        "sensor_id": _within(status.sensor_id, 31), "started": _within(status.started, 63),
        "counters": json.dumps(counters, ensure_ascii=False),
    }  # fmt: skip


def _within(value: int, bits: int, sign: int = 0) -> int:
    limit = (1 << bits) - 1
    return max(sign * limit, min(value, limit))
