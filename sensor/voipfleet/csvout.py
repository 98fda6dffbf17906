"""Calls as comma-separated values: one row a call, every cell harmless to the spreadsheet that opens it."""

import csv
from collections.abc import Iterable
from typing import TextIO

from voipfleet.calls.record import CallRecord, StreamRecord, rfc3339
from voipfleet.show import harmless

CALL = (
    "uuid",
    "call_id",
    "sensor",
    "site",
    "caller",
    "caller_name",
    "caller_domain",
    "callee",
    "callee_name",
    "callee_domain",
)
TIMES = ("setup_time", "ring_time", "answer_time", "end_time")
MORE = ("duration", "connect_duration", "pdd", "final_response", "reason", "hung_up_by", "end_reason",
        "retransmissions", "user_agent_caller", "user_agent_callee", "src", "dst", "transport", "one_way", "partial",
        "partial_reasons", "seen", "drops", "legs", "holds", "t38", "referred_to", "replaces", "dtmf", "dtmf_callee",
        "clock_offset_ms", "views")  # fmt: skip
SIDES = ("caller", "callee")
SUMS = ("expected", "received", "lost", "discarded", "duplicates", "reordered")
WORST = {"jitter_mean_ms": max, "jitter_max_ms": max, "delta_max_ms": max, "mos": min, "r_factor": min}
HEADINGS = [*CALL, *TIMES, *MORE, "streams", *(f"{side}_{name}" for side in SIDES for name in ("codec", *SUMS, *WORST))]
_ACTIVE = "=+-@\t\r"  # with these a cell may be a formula (CWE-1236)


def write_csv(calls: Iterable[CallRecord], file: TextIO) -> None:
    """With a heading row. `caller_*` and `callee_*` are of the streams that this side sent: sums, or the worst."""
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(HEADINGS)
    for call in calls:
        writer.writerow([_cell(value) for value in _row(call)])


def _row(call: CallRecord) -> list:
    sides = [[stream for stream in call.streams if stream.direction == side] for side in SIDES]
    return [*(getattr(call, name) for name in CALL), *(rfc3339(getattr(call, name)) for name in TIMES),
            *(getattr(call, name) for name in MORE), len(call.streams),
            *(value for side in sides for value in _side(side))]  # fmt: skip


def _side(streams: list[StreamRecord]) -> list:
    if not streams:
        return [None] * (1 + len(SUMS) + len(WORST))
    codecs = dict.fromkeys(stream.codec for stream in streams if stream.codec)
    worst = []
    for name, which in WORST.items():
        known = [value for stream in streams if (value := getattr(stream, name)) is not None]
        worst.append(which(known) if known else None)
    return [" ".join(codecs), *(sum(getattr(stream, name) for stream in streams) for name in SUMS), *worst]


def _cell(value) -> str:
    """Numbers stand as they are; a text that a spreadsheet would compute gets an apostrophe before it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return " ".join(value)
    if not isinstance(value, str):
        return str(value)
    text = harmless(value)
    return "'" + text if value[:1] and value[0] in _ACTIVE else text
