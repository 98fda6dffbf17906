"""Blocks on disk: files of consecutive blocks, each record with checksums of its own. Plain blocking I/O.

A file is `magic, epoch` and then records `HEAD | origin | body`. HEAD says how much had been put before the block, so
whatever is missing between two records is known to the packet. A file is appended to, read, and removed as a whole.
"""

import contextlib
import os
import struct
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import msgspec

from voipfleet.relay.books import Amount
from voipfleet.relay.messages import Origin

MAX_SEGMENT = 16 << 20  # bytes of a file, unless one block alone is larger
SUFFIX = ".packets"
_FILE = struct.Struct("!8s16s")
FILE_HEAD = _FILE.size
_MAGIC = b"vfpkts\x00\x01"
# checksums of what follows in HEAD, and of origin and body; number; packets and bytes put before; ns since the epoch;
# packets; lengths of origin and body
_HEAD = struct.Struct("!IIQQQqIII")

_origin = msgspec.msgpack.Decoder(Origin).decode


class DamagedError(ValueError):
    """This record is not what was written."""


@dataclass(frozen=True, slots=True)
class Queued:
    """A block that waits: `body` as it was put, `at` when (ns since the epoch), `before` how much had been put then."""

    number: int
    origin: Origin
    packets: int
    body: bytes
    at: int
    before: Amount

    @property
    def amount(self) -> Amount:
        return Amount(1, self.packets, len(self.body))


@dataclass(slots=True, eq=False)
class Segment:
    """What is in one file: blocks `first`..`last`, a row each of where it starts, its packets, bytes and time."""

    path: Path
    first: int
    before: Amount  # put before `first`
    size: int = FILE_HEAD  # bytes of the file that are good
    places: array = field(default_factory=lambda: array("I"))
    packets: array = field(default_factory=lambda: array("I"))
    sizes: array = field(default_factory=lambda: array("I"))
    times: array = field(default_factory=lambda: array("q"))

    @property
    def last(self) -> int:
        return self.first + len(self.places) - 1

    def add(self, packets: int, size: int, at: int, length: int) -> None:
        self.places.append(self.size)
        self.packets.append(packets)
        self.sizes.append(size)
        self.times.append(at)
        self.size += length

    def cut(self, last: int) -> None:
        """Forget what is behind `last`."""
        keep = max(0, last - self.first + 1)
        if keep < len(self.places):
            self.size = self.places[keep]
            for column in (self.places, self.packets, self.sizes, self.times):
                del column[keep:]

    def amount(self, after: int = 0, through: int = 1 << 62) -> Amount:
        """What the blocks `after` + 1..`through` hold."""
        rows = slice(max(0, after + 1 - self.first), max(0, through + 1 - self.first))
        packets = self.packets[rows]
        return Amount(len(packets), sum(packets), sum(self.sizes[rows]))

    def rows(self, number: int) -> list[tuple[int, int]]:
        """(packets, bytes) of each block from `number` on."""
        start = max(0, number - self.first)
        return list(zip(self.packets[start:], self.sizes[start:], strict=True))


def length(block: Queued) -> int:
    """Bytes of its record."""
    return _HEAD.size + len(msgspec.msgpack.encode(block.origin)) + len(block.body)


def append(path: Path, at: int, epoch: bytes, blocks: list[Queued]) -> None:
    """Write records from `at` on; what a write that failed has left there goes. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    out = [_FILE.pack(_MAGIC, epoch)] if at == FILE_HEAD else []
    for block in blocks:
        origin = msgspec.msgpack.encode(block.origin)
        head = _HEAD.pack(0, crc32(block.body, crc32(origin)), block.number, block.before.packets, block.before.bytes,
                          block.at, block.packets, len(origin), len(block.body))  # fmt: skip
        out += [crc32(head[4:]).to_bytes(4, "big"), head[4:], origin, block.body]
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        start = at if at != FILE_HEAD else 0
        os.ftruncate(file, start)
        os.lseek(file, start, os.SEEK_SET)
        rest = memoryview(b"".join(out))
        while rest:
            rest = rest[os.write(file, rest) :]
    finally:
        os.close(file)


def read(segment: Segment, number: int) -> Queued:
    """One block. Raises OSError, and DamagedError where its record is not whole and right."""
    row = number - segment.first
    end = segment.places[row + 1] if row + 1 < len(segment.places) else segment.size
    file = os.open(segment.path, os.O_RDONLY)
    try:
        record = os.pread(file, end - segment.places[row], segment.places[row])
    finally:
        os.close(file)
    fields = _head(record, number)
    if fields is None:
        raise DamagedError(f"{segment.path}: block {number} is damaged")
    checksum, before, at, packets, origin_length, body_length = fields
    rest = record[_HEAD.size :]
    if len(rest) != origin_length + body_length or crc32(rest) != checksum:
        raise DamagedError(f"{segment.path}: block {number} is damaged")
    try:
        origin = _origin(rest[:origin_length])
    except msgspec.MsgspecError as error:
        raise DamagedError(f"{segment.path}: block {number} is damaged ({error})") from None
    return Queued(number, origin, packets, rest[origin_length:], at, before)


def scan(path: Path) -> tuple[bytes, Segment | None, str]:
    """The epoch of a file, its whole records (None without any), and "", "torn" or "damaged" for what is behind them.

    Only heads are checked here; bodies when they are read. Raises OSError.
    """
    with path.open("rb", buffering=1 << 16) as file:
        end = os.fstat(file.fileno()).st_size
        start = file.read(_FILE.size)
        if len(start) < _FILE.size:
            return b"", None, "torn"
        magic, epoch = _FILE.unpack(start)
        if magic != _MAGIC:
            return b"", None, "damaged"
        segment = None
        while head := file.read(_HEAD.size):
            fields = _head(head, segment.last + 1 if segment else None)
            if fields is None:
                return epoch, segment, "damaged" if len(head) == _HEAD.size else "torn"
            _, before, at, packets, origin_length, body_length = fields
            record = _HEAD.size + origin_length + body_length
            if (segment.size if segment else FILE_HEAD) + record > end:
                return epoch, segment, "torn"
            segment = segment or Segment(path, before.blocks + 1, before)
            segment.add(packets, body_length, at, record)
            file.seek(origin_length + body_length, os.SEEK_CUR)
    return epoch, segment, ""


def _head(data: bytes, number: int | None) -> tuple[int, Amount, int, int, int, int] | None:
    """(checksum of the rest, before, at, packets, lengths) of a head that is right and, if told, of block `number`."""
    if len(data) < _HEAD.size:
        return None
    checksum, rest, found, packets_before, bytes_before, *fields = _HEAD.unpack_from(data)
    if checksum != crc32(data[4 : _HEAD.size]) or found < 1 or number not in (None, found):
        return None
    return rest, Amount(found - 1, packets_before, bytes_before), *fields


def remove(paths: list[Path]) -> None:
    """Remove files. One that is not there is no fault; raises OSError for others, after all have been tried."""
    failed = None
    for path in paths:
        try:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        except OSError as error:
            failed = error
    if failed:
        raise failed
