"""What of the store goes, and why: a pure decision, a clock whose jumps make nothing old, and room for others.

Size, days and the floor (free space that is to stay), always the oldest first. Calls that are held are no segments, and
so they are never in question.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from voipfleet.packetstore import catalogue as catalogues
from voipfleet.packetstore.catalogue import Catalogue, Entry
from voipfleet.packetstore.segment import HOUR_NS, KINDS

SIZE, DAYS, FLOOR = REASONS = ("size", "days", "floor")
DAY_NS = 24 * HOUR_NS
JUMP_NS = 60_000_000_000  # what a clock may be off its own course before that is a jump
SETTLED_NS = HOUR_NS  # how long it must then keep its course to be believed
FILES = 3  # inodes that a segment takes, with its folder
MIN_INODES = 0.02  # of a file system, to stay free


@dataclass(frozen=True)
class Limits:
    """Bytes and ns, of all classes (`size`, `age`) and of one (`sizes`, `ages`); None: no limit. `floor`: bytes."""

    size: int | None = None
    age: int | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    ages: dict[str, int] = field(default_factory=dict)
    floor: int = 0

    def age_of(self, kind: str) -> int | None:
        return min((age for age in (self.age, self.ages.get(kind)) if age is not None), default=None)


class Space(NamedTuple):
    """Of a file system: bytes that are free, inodes that are free beyond MIN_INODES."""

    free: int
    inodes: int = 1 << 62


def space(folder: Path) -> Space:
    """Raises OSError."""
    said = os.statvfs(folder)
    spare = said.f_favail - int(said.f_files * MIN_INODES) if said.f_files else 1 << 62
    return Space(said.f_bavail * said.f_frsize, spare)


class Decision(NamedTuple):
    """What goes, in its order, each with the reason; `fits`: whether there is room for what comes after that."""

    goes: list[tuple[Entry, str]]
    fits: bool


def decide(
    catalogue: Catalogue, limits: Limits, room: Space, *, now: int, kind: str = "sip", coming: int = 0
) -> Decision:
    """`now` (ns) 0: nothing goes for its age. `coming`: bytes that are about to be written, of class `kind`."""
    lists, at, size = catalogue.entries, dict.fromkeys(KINDS, 0), dict(catalogue.size)
    size[kind] += coming
    free, inodes = room.free - coming, room.inodes - (FILES if coming else 0)
    goes: list[tuple[Entry, str]] = []

    def head(kind: str) -> Entry | None:
        return lists[kind][at[kind]] if at[kind] < len(lists[kind]) else None

    def oldest() -> Entry | None:
        return min((entry for entry in map(head, KINDS) if entry), default=None)

    def take(entry: Entry, why: str) -> None:
        nonlocal free, inodes
        at[entry.kind] += 1
        size[entry.kind] -= entry.size
        free += entry.size
        inodes += FILES - 1
        goes.append((entry, why))

    for one in KINDS:
        age, most = limits.age_of(one), limits.sizes.get(one)
        while now and age is not None and (entry := head(one)) and now - entry.written > age:
            take(entry, DAYS)
        while most is not None and size[one] > most and (entry := head(one)):
            take(entry, SIZE)
    while limits.size is not None and sum(size.values()) > limits.size and (entry := oldest()):
        take(entry, SIZE)
    while (free < limits.floor or inodes < 0) and (entry := oldest()):
        take(entry, FLOOR)
    most = limits.sizes.get(kind)
    fits = (most is None or size[kind] <= most) and (limits.size is None or sum(size.values()) <= limits.size)
    return Decision(goes, fits and free >= limits.floor and inodes >= 0)


class Clock:
    """The time by which segments grow old. A clock that was set is believed once it has kept its course for an hour.

    Until then time goes on as before; at the start, from when something was written last. So a clock that jumps a day
    ahead for some minutes, or starts wrong, makes nothing old; and the price of it is that a limit in days may come an
    hour late.
    """

    def __init__(self, wall: Callable[[], int], steady: Callable[[], int]):
        self._wall, self._steady = wall, steady
        self._course, self._since = wall() - steady(), steady()  # as the clock goes now, and from when on it does
        self._believed: int | None = None

    def now(self, newest: int) -> int:
        """ns; `newest` is when a segment was written last (0: never). 0: nothing is known yet."""
        wall, steady = self._wall(), self._steady()
        course = wall - steady
        if abs(course - self._course) > JUMP_NS:
            self._course, self._since = course, steady
        if self.settled:
            self._believed = self._course = course
        elif self._believed is None and newest:
            self._believed = newest - steady
        return min(wall, steady + self._believed) if self._believed is not None else 0

    @property
    def settled(self) -> bool:
        return self._steady() - self._since >= SETTLED_NS


def dry_run(folder: Path, limits: Limits, now: int) -> dict:
    """What would go now, by reason and class, and nothing is touched: {"segments", "bytes", "by": {reason: {class:
    bytes}}, "kept_bytes"}. Raises OSError."""
    catalogue = catalogues.read(folder)
    goes = decide(catalogue, limits, space(folder), now=now).goes
    by = {why: dict.fromkeys(KINDS, 0) for why in REASONS}
    for entry, why in goes:
        by[why][entry.kind] += entry.size
    gone = sum(entry.size for entry, _ in goes)
    return {"segments": len(goes), "bytes": gone, "by": by, "kept_bytes": sum(catalogue.size.values()) - gone}


def give_back(folder: Path, missing: int) -> int:
    """Remove the oldest segments until `missing` bytes are free, for somebody whose writes are worth more; how many
    bytes that were. Whoever writes the store finds out by itself. Raises OSError."""
    given = 0
    for entry in _oldest(folder):
        if given >= missing:
            break
        given += entry.size if catalogues.remove(folder, entry.name) else 0
    return given


def _oldest(folder: Path) -> Iterable[Entry]:
    """Hour by hour, so that a large store need not be listed as a whole."""
    for hour in catalogues.hours(folder):
        yield from sorted(catalogues.segments_of(folder / hour)[0])
