"""Calls for people: one table, the same for a capture file and for the database."""

import datetime
import sys
from collections.abc import Iterable
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord, StreamRecord

WIDTH = 150  # where the output is not a terminal


def print_calls(calls: Iterable[CallRecord], *, json: bool = False, file: TextIO | None = None) -> None:
    """A table, or with `json` one object a line."""
    file = file or sys.stdout
    if json:
        for call in calls:
            print(record.to_json(call), file=file)
        return
    found = list(calls)
    if not found:
        print("No calls.", file=file)
        return
    console = Console(file=file, width=None if file.isatty() else WIDTH, highlight=False, emoji=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, side in (("time", "left"), ("site", "left"), ("caller", "left"), ("callee", "left"), ("seconds", "right"),
                       ("response", "right"), ("ended by", "left"), ("codec", "left"), ("lost >", "right"),
                       ("lost <", "right"), ("jitter ms", "right"), ("MOS > <", "right")):  # fmt: skip
        table.add_column(name, justify=side, no_wrap=name not in ("caller", "callee", "site"), overflow="fold")
    for call in found:
        table.add_row(*(Text(cell) for cell in cells(call)))
    console.print(table)
    print("> sent by the caller, < sent by the callee; lost: packets of those expected.", file=file)


def cells(call: CallRecord) -> list[str]:
    """One row of the table, harmless to a terminal."""
    sides = [[s for s in call.streams if s.direction == side] for side in ("caller", "callee")]
    codecs = dict.fromkeys(s.codec or "?" for s in call.streams)
    jitter = [s.jitter_mean_ms for s in call.streams]
    ended = call.hung_up_by or call.end_reason
    row = [
        local_time(call.setup_time), call.site or call.sensor or "-", call.caller or "-", call.callee or "-",
        f"{call.connect_duration:.1f}", str(call.final_response or "-"), ended + (" (partial)" if call.partial else ""),
        ",".join(codecs) or "-", *(_loss(side) for side in sides), f"{max(jitter):.1f}" if jitter else "-",
        " ".join(_mos(side) for side in sides) if call.streams else "-",
    ]  # fmt: skip
    return [harmless(cell) for cell in row]


def local_time(ns: int) -> str:
    """Local time with milliseconds."""
    moment = datetime.datetime.fromtimestamp(ns // 1_000_000_000).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S") + f".{ns // 1_000_000 % 1000:03d}"


def harmless(text: str) -> str:
    """Text from the wire with control characters as \\xNN, so that a terminal only shows it."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _loss(streams: list[StreamRecord]) -> str:
    if not streams:
        return "-"
    lost, expected = sum(s.lost for s in streams), sum(s.expected for s in streams)
    return f"{lost} ({100 * lost / expected:.1f} %)" if lost and expected else str(lost)


def _mos(streams: list[StreamRecord]) -> str:
    known = [s.mos for s in streams if s.mos is not None]
    return f"{min(known):.2f}" if known else "-"
