"""Which segments there are, oldest first: out of names, sizes and times of files, without opening one."""

import contextlib
import os
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from voipfleet.packetstore.segment import IDX, KINDS, PCAP, Name, hour_ns, parse_name
from voipfleet.whole import PART

PAGE = 4096  # bytes in which file systems allot


class Entry(NamedTuple):
    """One segment: `written` is when (ns, the time of its file), `size` what both files take of the disk (bytes)."""

    written: int
    name: Name
    size: int

    @property
    def kind(self) -> str:
        return self.name.kind


@dataclass
class Catalogue:
    """Segments of each class, and their bytes.

    The order is that of writing, not that of the names: those have the packets' times, which come from other hosts'
    clocks or from one that was wrong, and a segment of 1970 or 2099 would be the first to go, or the last.
    """

    entries: dict[str, list[Entry]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    size: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def add(self, entry: Entry) -> None:
        insort(self.entries[entry.kind], entry)
        self.size[entry.kind] += entry.size

    def fill(self, entries: list[Entry]) -> None:
        """Instead of what is in it."""
        for kind in KINDS:
            self.entries[kind] = sorted(entry for entry in entries if entry.kind == kind)
            self.size[kind] = sum(entry.size for entry in self.entries[kind])

    def drop_oldest(self, kind: str, count: int) -> None:
        self.size[kind] -= sum(entry.size for entry in self.entries[kind][:count])
        del self.entries[kind][:count]

    def __iter__(self) -> Iterator[Entry]:
        for kind in KINDS:
            yield from self.entries[kind]

    @property
    def newest(self) -> int:
        """When anything was written last, ns; 0: never."""
        return max((entries[-1].written for entries in self.entries.values() if entries), default=0)

    def oldest(self, kind: str) -> int:
        """The first packet (ns) of the segment that goes next; 0: none is held."""
        return self.entries[kind][0].name.first if self.entries[kind] else 0


def taken(pcap: int, idx: int) -> int:
    """Bytes of the disk that two files of these lengths take."""
    return -(-pcap // PAGE) * PAGE + -(-idx // PAGE) * PAGE


def hours(folder: Path) -> list[str]:
    """The hours that have a folder, ascending."""
    try:
        with os.scandir(folder) as found:
            return sorted(entry.name for entry in found if hour_ns(entry.name) is not None)
    except FileNotFoundError:
        return []


def segments_of(hour: Path) -> tuple[list[Entry], list[str]]:
    """The segments in the folder of an hour, and other files: half written, an index alone. Files may vanish meanwhile.

    A segment without an index is one, with nothing that could be found in it. Raises OSError.
    """
    pcaps: dict[Name, os.stat_result] = {}
    indexes: dict[Name, int] = {}
    rest = []
    with contextlib.suppress(FileNotFoundError), os.scandir(hour) as found:
        for file in found:
            name, suffix = parse_name(file.name) or (None, "")
            if name is None or suffix not in (PCAP, IDX):
                rest.append(file.name)
                continue
            with contextlib.suppress(FileNotFoundError):
                if suffix == PCAP:
                    pcaps[name] = file.stat()
                else:
                    indexes[name] = file.stat().st_size
    rest += [f"{name}{IDX}" for name in indexes if name not in pcaps]
    return [Entry(stat.st_mtime_ns, name, taken(stat.st_size, indexes.get(name, 0))) for name, stat in pcaps.items()], [
        name for name in rest if name.endswith((IDX, PART))
    ]


def read(folder: Path) -> Catalogue:
    """The catalogue of a pool as it is now."""
    catalogue = Catalogue()
    catalogue.fill([entry for hour in hours(folder) for entry in segments_of(folder / hour)[0]])
    return catalogue


def recover(folder: Path) -> tuple[int, int]:
    """Remove what a kill has left half written, and hours without anything; how many files that were, and how many
    segments have no index. For a pool that nobody writes to."""
    removed = damaged = 0
    for hour in hours(folder):
        entries, rest = segments_of(folder / hour)
        for name in rest:
            (folder / hour / name).unlink(missing_ok=True)
            removed += 1
        damaged += sum(not path_of(folder, entry.name, IDX).exists() for entry in entries)
        if not entries:
            forget_hour(folder / hour)
    return removed, damaged


def path_of(folder: Path, name: Name, suffix: str) -> Path:
    return folder / name.hour / f"{name}{suffix}"


def remove(folder: Path, name: Name) -> bool:
    """Remove a segment, its pcap first: without that it is none. Whether it was there. Raises OSError."""
    pcap = path_of(folder, name, PCAP)
    there = True
    try:
        pcap.unlink()
    except FileNotFoundError:
        there = False
    path_of(folder, name, IDX).unlink(missing_ok=True)
    forget_hour(pcap.parent)
    return there


def forget_hour(hour: Path) -> None:
    """Remove the folder of an hour if nothing is in it."""
    with contextlib.suppress(OSError):
        hour.rmdir()
