"""Calls, and other rows, as comma-separated values: every cell harmless to the spreadsheet that opens it."""

import csv
from collections.abc import Iterable
from typing import TextIO

from voipfleet.calls.record import TIMES, CallRecord, StreamRecord, of_side, rfc3339
from voipfleet.harmless import harmless

CALL = tuple(name for name in CallRecord.__struct_fields__ if name not in ("streams", "media"))
SIDES = ("caller", "callee")
SUMS = ("expected", "received", "lost", "discarded", "duplicates", "reordered")
WORST = {"jitter_mean_ms": max, "jitter_max_ms": max, "delta_max_ms": max, "mos": min, "r_factor": min}
HEADINGS = [*CALL, "streams", *(f"{side}_{name}" for side in SIDES for name in ("codec", *SUMS, *WORST))]
_ACTIVE = "=+-@\t\r"  # with these a cell may be a formula (CWE-1236)


def write_csv(calls: Iterable[CallRecord], file: TextIO) -> None:
    """With a heading row. `caller_*` and `callee_*` are of the streams that this side sent: sums, or the worst."""
    write_rows(HEADINGS, map(_row, calls), file)


def write_rows(headings: Iterable[str], rows: Iterable[Iterable], file: TextIO) -> None:
    """Values of any kind under a heading row."""
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows([_cell(value) for value in row] for row in rows)


def _row(call: CallRecord) -> list:
    sides = [of_side(call, side) for side in SIDES]
    about = (rfc3339(getattr(call, name)) if name in TIMES else getattr(call, name) for name in CALL)
    return [*about, len(call.streams), *(value for side in sides for value in _side(side))]


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
