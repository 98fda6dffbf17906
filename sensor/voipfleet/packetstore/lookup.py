"""Where in a store the packets of some keys are: folders are listed, indexes are asked, nothing is read as a whole.

Keys are hashes, evenly spread: where an entry stands among its sorted neighbours is known but for the square root of
their number. So a look-up reads a page or two, of many indexes at the same time.
"""

import contextlib
import math
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from voipfleet.packetstore import catalogue
from voipfleet.packetstore.keys import STREAM
from voipfleet.packetstore.segment import (
    ENTRY,
    HOUR_NS,
    IDX,
    INDEX_HEAD,
    PCAP,
    PCAP_HEAD,
    RECORD_HEAD,
    Name,
    hour_ns,
    parse_name,
)

AHEAD = 128  # files that are asked for at a time, so that a disk has them all to choose from
STEPS = 64  # windows of an index that are looked at for one key


class Piece(NamedTuple):
    """`length` bytes of the pcap at `path`, from `offset` on: records of one or several runs that follow each other."""

    path: str
    kind: str
    linktype: int
    offset: int
    length: int
    runs: int


@dataclass
class Plan:
    """Pieces in the order of their segments' times. `damaged`: segments whose index cannot be used; `gone`: that
    vanished while they were looked at."""

    pieces: list[Piece] = field(default_factory=list)
    damaged: int = 0
    gone: int = 0

    @property
    def bytes(self) -> int:
        return sum(piece.length for piece in self.pieces)


def plan(folder: Path, keys: Collection[int], since: int, until: int) -> Plan:
    """Where everything with one of `keys` is in the segments that have packets from `since` to `until` (ns).

    Never raises for what is in files or is not there any more. Raises OSError where a folder cannot be read.
    """
    wanted = {
        "sip": sorted(key for key in set(keys) if not key & STREAM),
        "rtp": sorted(key for key in set(keys) if key & STREAM),
    }
    wanted["audio"] = wanted["rtp"]
    found = Plan()
    names = (name for name in _segments(folder, since, until) if wanted[name.kind])
    for name, entries in _asked(folder, names, wanted, found):
        path = str(catalogue.path_of(folder, name, PCAP))
        try:
            size = Path(path).stat().st_size
        except FileNotFoundError:
            found.gone += 1
            continue
        pieces = _joined(path, name, entries)
        good = [piece for piece in pieces if piece.offset >= PCAP_HEAD and piece.length >= RECORD_HEAD
                and piece.offset + piece.length <= size]  # fmt: skip
        found.damaged += len(good) != len(pieces)
        found.pieces += good
    return found


def _segments(folder: Path, since: int, until: int) -> list[Name]:
    """Those that have packets of that time, by time."""
    found = []
    for hour in catalogue.hours(folder):
        if not since - HOUR_NS <= hour_ns(hour) + HOUR_NS or hour_ns(hour) > until:
            continue
        with contextlib.suppress(FileNotFoundError), os.scandir(folder / hour) as files:
            for file in files:
                if not file.name.endswith(PCAP):
                    continue
                _, first, last, *_ = *file.name.split("-"), "", ""
                if first.isdecimal() and last.isdecimal() and int(first) <= until and int(last) >= since:
                    name = parse_name(file.name)
                    if name and name[0].hour == hour:
                        found.append(name[0])
    return sorted(found, key=lambda name: (name.first, name))


def _asked(folder: Path, names: Iterable[Name], wanted: dict[str, list[int]], found: Plan) -> Iterator[tuple]:
    """Each segment that has some of the keys, and their (offset, length)."""
    with contextlib.closing(ahead(names, lambda name: _opened(folder, name, wanted[name.kind]))) as files:
        for name, file in files:
            try:
                entries = [entry for key in wanted[name.kind] if (entry := look_up(file, key))]
            except OSError:  # so it is where there is no file, too
                found.damaged += 1
                continue
            if entries:
                yield name, entries


def ahead(items: Iterable, open_: Callable[..., int]) -> Iterator[tuple]:
    """Each item with its file, which is open until the next one is asked for; those of AHEAD more are open by then, for
    the disk. -1: there is none. To be closed by who may not come to the end."""
    waiting: deque[tuple] = deque()
    try:
        for item in items:
            waiting.append((item, open_(item)))
            if len(waiting) > AHEAD:
                yield waiting[0]
                _close(waiting.popleft()[1])
        while waiting:
            yield waiting[0]
            _close(waiting.popleft()[1])
    finally:
        for _, file in waiting:
            _close(file)


def _close(file: int) -> None:
    if file >= 0:
        os.close(file)


def _opened(folder: Path, name: Name, keys: list[int]) -> int:
    """The index, open, its pages asked for; -1 where there is none."""
    try:
        file = os.open(catalogue.path_of(folder, name, IDX), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    runs = _runs(file)
    for key in keys:
        low, high = _window(key, runs)
        start = INDEX_HEAD + low * ENTRY.itemsize
        os.posix_fadvise(file, start, (high - low) * ENTRY.itemsize, os.POSIX_FADV_WILLNEED)
    return file


def _runs(file: int) -> int:
    return max(0, os.fstat(file).st_size - INDEX_HEAD) // ENTRY.itemsize


def _window(key: int, runs: int) -> tuple[int, int]:
    """Between which entries the key stands, nearly always: four times the spread around where it should be."""
    half = 2 * math.isqrt(runs) + 16
    about = key * runs >> 64
    return max(0, about - half), min(runs, about + half)


def look_up(file: int, key: int) -> tuple[int, int] | None:
    """(offset, length) of the run of `key` in the pcap of this index; None where there is none. Raises OSError."""
    runs = _runs(file)
    low, high = _window(key, runs)
    before = 0
    for _ in range(STEPS):
        data = os.pread(file, (high - low) * ENTRY.itemsize, INDEX_HEAD + low * ENTRY.itemsize)
        entries = np.frombuffer(data, ENTRY, len(data) // ENTRY.itemsize)
        if not len(entries):
            return None
        way = -1 if key < int(entries["key"][0]) else 1 if key > int(entries["key"][-1]) else 0
        if not way or before == -way or (low == 0 if way < 0 else high == runs):
            break
        before, size = way, 2 * (high - low)
        low, high = (max(0, low - size), low) if way < 0 else (high, min(runs, high + size))
    at = int(np.searchsorted(entries["key"], np.uint64(key)))
    if at == len(entries) or int(entries["key"][at]) != key:
        return None
    return int(entries["offset"][at]), int(entries["length"][at])


def _joined(path: str, name: Name, entries: list[tuple[int, int]]) -> list[Piece]:
    """Runs that follow each other are one piece."""
    pieces: list[Piece] = []
    for offset, length in sorted(entries):
        if pieces and pieces[-1].offset + pieces[-1].length == offset:
            last = pieces.pop()
            pieces.append(last._replace(length=last.length + length, runs=last.runs + 1))
        else:
            pieces.append(Piece(path, name.kind, name.linktype, offset, length, 1))
    return pieces
