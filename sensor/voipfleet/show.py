"""Calls for people: one table, the same for a capture file and for the database."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from voipfleet import words
from voipfleet.calls import record
from voipfleet.calls.record import CallRecord, StreamRecord, local_time
from voipfleet.harmless import harmless

FOLDED = 24  # characters: longer numbers and sites go on in the next line of their cell
LONGEST = 4 * FOLDED  # characters of a text, the rest being in the JSON: a number of 60 kB must not fill the screen
NARROWEST = 80  # columns of a terminal; the table needs them
WIDE = ("time", "site", "caller", "callee", "seconds", "response", "ended by", "codec", "lost >", "lost <", "jitter ms",
        "MOS > <")  # fmt: skip
NARROW = ("time", "site", "caller", "callee", "s", "SIP", "by", "codec", "loss%", "jit", "MOS > <")
_RIGHT = {"#", "seconds", "s", "response", "SIP", "lost >", "lost <", "loss%", "jitter ms", "jit", "MOS > <"}
_TEXT = {"site", "caller", "callee", "ended by", "by", "codec"}  # may be folded; a figure never is


def print_calls(calls: Iterable[CallRecord], *, json: bool = False, numbers: Sequence[int] = (),
                file: TextIO | None = None) -> None:  # fmt: skip
    """A table, or with `json` one object a line. `numbers`: one for each call, to name it by."""
    file = file or sys.stdout
    if json:
        for call in calls:
            print(record.to_json(call), file=file)
        return
    found = list(calls)
    if not found:
        print("No calls.", file=file)
        return
    # A value that is cut would be a wrong value. So a table that goes elsewhere is as wide as it must be, and one for a
    # terminal that is too narrow has fewer figures and folds its texts within their cells.
    table, note = _table(WIDE, map(cells, found), numbers), "lost: packets of those expected"
    width = width_of(table)
    columns = shutil.get_terminal_size().columns
    if file.isatty() and width > columns:
        rows = list(map(narrow_cells, found))
        note = "by: who ended it; jit: ms"
        days = {row[0][:10] for row in rows}  # of 2026-01-31 12:00:00.000
        shown = slice(11, 19) if len(days) == 1 else slice(5, 16)
        rows = [[row[0][shown], *row[1:]] for row in rows]
        note += f"; {days.pop()}" if len(days) == 1 else ""
        table = _table(NARROW, rows, numbers)
        width = min(width_of(table), max(columns, NARROWEST))
    Console(file=file, width=width, highlight=False, emoji=False).print(table)
    note += "; +1: one more sensor saw it" if any(call.views > 1 for call in found) else ""
    print(f"> the caller's stream, < the callee's; {note}.", file=file)


def _table(headings: tuple[str, ...], rows: Iterable[list[str]], numbers: Sequence[int]) -> Table:
    narrow = headings is NARROW
    table = Table(box=None if narrow else box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0) if narrow else (0, 1),
                  show_edge=False, header_style="bold underline" if narrow else "bold")  # fmt: skip
    if numbers:
        headings, rows = ("#", *headings), [[str(number), *row] for number, row in zip(numbers, rows, strict=True)]
    for name in headings:
        text = name in _TEXT
        table.add_column(name, justify="right" if name in _RIGHT else "left", no_wrap=not text, overflow="fold",
                         max_width=FOLDED if text else None)  # fmt: skip
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def width_of(table: Table) -> int:
    """Columns with which nothing of it is cut or folded."""
    endless = Console(width=10_000)
    return Measurement.get(endless, endless.options, table).maximum


def plain_table() -> Table:
    """As all are but that of calls."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)


def console(width: int) -> Console:
    """Standard output, with `width` columns where that is no terminal and has none of its own."""
    found = Console(file=sys.stdout, highlight=False, emoji=False)
    return found if found.is_terminal else Console(file=sys.stdout, highlight=False, emoji=False, width=width)


def cells(call: CallRecord) -> list[str]:
    """One row of the table, harmless to a terminal."""
    sides = _sides(call)
    codecs = dict.fromkeys(s.codec or "?" for s in call.streams)
    half = words.half(call)
    site = (call.site or call.sensor or "-") + (f" +{call.views - 1}" if call.views > 1 else "")
    who = (call.caller or "-", call.callee or "-")
    if call.method == "RTP" and call.streams:
        who = call.streams[0].src, call.streams[0].dst
    jitter = [s.jitter_mean_ms for s in call.streams]
    ended = call.hung_up_by or call.end_reason
    row = [
        local_time(call.setup_time), site, *who,
        f"{call.duration if call.method == 'RTP' else call.connect_duration:.1f}", str(call.final_response or "-"),
        (half if call.method == "RTP" else ended) + (" (partial)" if call.partial else ""),
        ",".join(codecs) or half or "-", *map(_loss, sides), f"{max(jitter):.1f}" if jitter else "-",
        " ".join(_mos(side, 2) for side in sides) if call.streams else "-",
    ]  # fmt: skip
    return [harmless(cell if len(cell) <= LONGEST else cell[: LONGEST - 3] + "...") for cell in row]


def narrow_cells(call: CallRecord) -> list[str]:
    """The same for a narrow terminal."""
    row, sides = cells(call), _sides(call)
    loss = [f"{100 * lost / expected:.1f}" if expected else "-" for lost, expected in map(_lost, sides)]
    mos = [_mos(side, 1) for side in sides]
    loss, mos = (" ".join(two) if call.streams else "-" for two in (loss, mos))
    return [row[0], *row[1:8], loss, row[10], mos]


def _sides(call: CallRecord) -> list[list[StreamRecord]]:
    if call.method == "RTP":  # nobody knows who called
        return [[s for s in call.streams if (s.src == call.streams[0].src) == first] for first in (True, False)]
    return [record.of_side(call, side) for side in ("caller", "callee")]


def _lost(streams: list[StreamRecord]) -> tuple[int, int]:
    return sum(s.lost for s in streams), sum(s.expected for s in streams)


def _loss(streams: list[StreamRecord]) -> str:
    lost, expected = _lost(streams)
    if not streams:
        return "-"
    return f"{lost} ({100 * lost / expected:.1f} %)" if lost and expected else str(lost)


def _mos(streams: list[StreamRecord], digits: int) -> str:
    known = [s.mos for s in streams if s.mos is not None]
    return f"{min(known):.{digits}f}" if known else "-"
