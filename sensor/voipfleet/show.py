"""Calls for people: one table, the same for a capture file and for the database."""

import datetime
import shutil
import sys
from collections.abc import Iterable
from typing import TextIO

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord, StreamRecord

FOLDED = 24  # characters: longer numbers and sites go on in the next line of their cell
# Heading, the same in a narrow terminal, side.
COLUMNS = (("time", "time", "left"), ("site", "site", "left"), ("caller", "caller", "left"),
           ("callee", "callee", "left"), ("seconds", "s", "right"), ("response", "resp", "right"),
           ("ended by", "ended by", "left"), ("codec", "codec", "left"), ("lost >", "lost>", "right"),
           ("lost <", "lost<", "right"), ("jitter ms", "jit", "right"), ("MOS > <", "MOS > <", "right"))  # fmt: skip


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
    # The table is as wide as it must be: a value that is cut would be a wrong value. A terminal that is too narrow for
    # it gets the short one, and breaks its lines where even that does not fit.
    table = _table(found, narrow=False)
    if file.isatty() and _width(table) > shutil.get_terminal_size().columns:
        table = _table(found, narrow=True)
    Console(file=file, width=_width(table), highlight=False, emoji=False).print(table)
    print("> sent by the caller, < sent by the callee; lost: packets of those expected.", file=file)


def _table(calls: list[CallRecord], *, narrow: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=narrow, show_edge=False)
    for name, short, side in COLUMNS:
        fold = name in ("caller", "callee", "site")
        table.add_column(short if narrow else name, justify=side, no_wrap=not fold, overflow="fold",
                         max_width=FOLDED if fold else None)  # fmt: skip
    for call in calls:
        row = cells(call)
        if narrow:
            row[0] = row[0][5:19]  # without year and milliseconds
            row[8], row[9] = (cell.split(" ")[0] for cell in row[8:10])
        table.add_row(*map(Text, row))
    return table


def _width(table: Table) -> int:
    console = Console(width=10_000)
    return Measurement.get(console, console.options, table).maximum


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
