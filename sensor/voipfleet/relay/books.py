"""The books of a packet buffer: put = acknowledged + queued + dropped, and exactly which blocks were dropped.

No I/O but `load` and `save` of the small file that keeps them over a restart.
"""

import os
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from zlib import crc32

import msgspec

from voipfleet.records.messages import Uuid

FULL = "the buffer was full"
NO_ROOM = "the disk ran out of room"
DAMAGED = "damaged on disk"
STOPPED = "not on disk when the sensor stopped"

_from = attrgetter("from_block")


class Amount(msgspec.Struct, frozen=True, order=True):
    """So many blocks with so many packets and bytes."""

    blocks: int = 0
    packets: int = 0
    bytes: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.blocks + other.blocks, self.packets + other.packets, self.bytes + other.bytes)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.blocks - other.blocks, self.packets - other.packets, self.bytes - other.bytes)


class Gap(msgspec.Struct, frozen=True):
    """Blocks `from_block`..`to_block` were dropped: so many packets and bytes (of their bodies).

    `before` is what had been put before the first of them; `shown`: somebody has asked for it.
    """

    from_block: int
    to_block: int
    packets: int
    bytes: int
    reason: str
    before: Amount
    shown: bool = False

    @property
    def amount(self) -> Amount:
        return Amount(self.to_block - self.from_block + 1, self.packets, self.bytes)


class Books(msgspec.Struct):
    """`last`: the number of the last block put. `through`: the last one that was acknowledged. `sent`: the last one
    that may have been given out. `clean`: saved by a process that ended in order."""

    epoch: Uuid = msgspec.field(default_factory=lambda: os.urandom(16))
    last: int = 0
    through: int = 0
    sent: int = 0
    put: Amount = Amount()
    acknowledged: Amount = Amount()
    dropped: Amount = Amount()
    gaps: list[Gap] = []
    clean: bool = False

    def lose(self, first: int, rows: Iterable[tuple[int, int]], before: Amount, reason: str) -> None:
        """Blocks from `first` on, (packets, bytes) each, are dropped.

        A gap only grows while nobody has been told of it, and never over a block that the receiver may have.
        """
        for number, (packets, size) in enumerate(rows, first):
            self.dropped += Amount(1, packets, size)
            place = bisect_left(self.gaps, number, key=_from)
            near = self.gaps[place - 1] if place else None
            if near and near.to_block + 1 == number > self.sent + 1 and not near.shown and near.reason == reason:
                packets, size, place = near.packets + packets, near.bytes + size, place - 1
                self.gaps[place] = Gap(near.from_block, number, packets, size, reason, near.before)
            else:
                self.gaps.insert(place, Gap(number, number, packets, size, reason, before))
            before = self.gaps[place].before + self.gaps[place].amount

    def lose_range(self, first: int, amount: Amount, before: Amount, reason: str) -> None:
        """So many blocks from `first` on, of which only the sum is known, are dropped."""
        self.dropped += amount
        gap = Gap(first, first + amount.blocks - 1, amount.packets, amount.bytes, reason, before)
        insort(self.gaps, gap, key=_from)

    def delivered(self, through: int) -> None:
        """Gaps through there of which nobody was told were none: the receiver had these blocks, its word was late."""
        for gap in [gap for gap in self.gaps if gap.to_block <= through and not gap.shown]:
            self.dropped -= gap.amount
            self.acknowledged += gap.amount
        self.gaps = [gap for gap in self.gaps if gap.to_block > through or gap.shown]

    def show(self) -> list[Gap]:
        """All gaps that have not been told, the oldest first."""
        self.gaps = [gap if gap.shown else msgspec.structs.replace(gap, shown=True) for gap in self.gaps]
        return list(self.gaps)


@dataclass(frozen=True, slots=True)
class BufferState:
    """`put = acknowledged + memory + disk + dropped` at any moment. `oldest`: when the first block that waits was put,
    ns since the epoch, 0 when none waits."""

    put: Amount
    acknowledged: Amount
    memory: Amount
    disk: Amount
    dropped: Amount
    disk_bytes: int  # of files
    oldest: int
    faults: int  # of the disk since the start
    fault: str  # the sentence for what is wrong with it now
    torn: int  # files that ended within a block at the start
    damaged: int  # files that held something else than was written


def load(path: Path) -> Books | None:
    """What was saved; None where there is nothing. Raises OSError, and ValueError for what is no such file."""
    try:
        checksum, _, content = path.read_bytes().partition(b" ")
    except FileNotFoundError:
        return None
    if checksum != b"%08x" % crc32(content):
        raise ValueError(f"{path}: damaged")
    return msgspec.json.decode(content, type=Books)


def encode(books: Books) -> bytes:
    """The file's content."""
    content = msgspec.json.encode(books)
    return b"%08x %s" % (crc32(content), content)


def save(path: Path, content: bytes) -> None:
    """Replace the file in one step. Raises OSError."""
    new = path.with_suffix(".new")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        while content:
            content = content[os.write(file, content) :]
    finally:
        os.close(file)
    new.replace(path)
