"""A block of packets as it travels: the packets back to back, their columns, compressed where that pays.

A packed block is `HEAD | rest`. `rest` is, compressed by the method that HEAD names, the columns and then the packets
in their order, without what the ring had between them (but for what fills a word of eight bytes). A column is stored as
bytes of equal weight together, times as differences: so lz4 finds something in them.
"""

import struct
from dataclasses import dataclass

import lz4.block
import numpy as np
import zstandard

from voipfleet.capture.block import Block

MAX_RAW = 1 << 20  # bytes of columns and packets in one packed block, unless one packet alone is larger
METHODS = ("none", "lz4", "zstd")
HEAD = struct.Struct("!BBHIII")  # method, flags, linktype, packets, bytes of `rest` uncompressed, kernel drops before
_TAGGED, _WORDS, _LEAD = 1, 2, 2  # flags: a column of tags; packets in whole words, each after so many bytes (<< 2)
ACCELERATION = 8  # of lz4: a fifth quicker than 1 on speech, for 4 % more bytes
_FILL = 14  # bytes at most to make a packet whole words
_MANY = 16  # packets from which on words are worth their preparation
_MAX_WINDOW = 8 << 20  # bytes of history that a zstd frame may ask for; ours ask for 1 MiB at most
_COLUMNS, _TAG = 16, 4  # bytes a packet: ts 8, caplen 4, wirelen 4; vlan


class PackedError(ValueError):
    """These bytes are no packed block, or one that is larger than allowed."""


@dataclass(frozen=True, slots=True)
class Packed:
    """`packets` packets; `body` is what travels, `raw` its length in bytes had nothing been compressed."""

    packets: int
    raw: int
    method: str
    body: bytes


def pack(block: Block, *, method: str = "lz4", ratio: int = 100) -> list[Packed]:
    """The block in pieces of MAX_RAW at most, each compressed by `method` if it shrinks to `ratio` percent or less.

    100 means: if it shrinks at all. Kept of each packet: ts (any int64), caplen, wirelen (below 2**32), vlan (int32, a
    column only where one packet has a tag), its bytes; of the block the link type and `drops` (in the first piece).
    """
    if not len(block):
        return [_pack(block, 0, 0, block.drops, method, ratio)] if block.drops else []
    tagged = block.vlan is not None and bool((block.vlan >= 0).any())
    ends = np.cumsum(block.caplen + (_COLUMNS + _TAG * tagged + _FILL))
    out, start = [], 0
    while start < len(block):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + MAX_RAW, "right")))
        out.append(_pack(block, start, stop, 0 if start else block.drops, method, ratio, tagged))
        start = stop
    return out


def unpack(body: bytes, *, max_bytes: int, sensor: str = "") -> Block:
    """The Block in a packed one; all its offsets lie within its data. `data` is read-only.

    Raises PackedError for anything that is none. Never more than `max_bytes` (uncompressed) are made of it.
    """
    if len(body) < HEAD.size:
        raise PackedError(f"a packed block of {len(body)} bytes; at least {HEAD.size}")
    number, flags, linktype, packets, raw, drops = HEAD.unpack_from(body)
    tagged, words, lead = bool(flags & _TAGGED), bool(flags & _WORDS), flags >> _LEAD
    if number >= len(METHODS) or lead > 7 or (lead and not words):
        raise PackedError(f"packed by method {number} with flags {flags}; this release knows {', '.join(METHODS)}")
    columns = packets * (_COLUMNS + _TAG * tagged)
    if not columns <= raw <= max_bytes:
        raise PackedError(f"a packed block of {packets} packets and {raw} bytes; at most {max_bytes}")
    rest = np.frombuffer(_expand(METHODS[number], memoryview(body)[HEAD.size :], raw), np.uint8)
    with np.errstate(over="ignore"):
        ts = np.cumsum(_column(rest, 0, packets, "<u8"), dtype=np.uint64).view(np.int64)
    caplen = _column(rest, 8 * packets, packets, "<u4").astype(np.int64)
    length = ((caplen + (lead + 7)) >> 3) << 3 if words else caplen
    ends = np.cumsum(length)
    if (int(ends[-1]) if packets else 0) != raw - columns:
        raise PackedError(f"{packets} packets do not fill their {raw - columns} bytes")
    return Block(
        data=rest[columns:], ts=ts, offset=ends - length + lead, caplen=caplen,
        wirelen=_column(rest, 12 * packets, packets, "<u4").astype(np.int64), linktype=linktype,
        vlan=_column(rest, 16 * packets, packets, "<i4").astype(np.int64) if tagged else None,
        drops=drops, sensor=sensor)  # fmt: skip


def count(body: bytes) -> int:
    """Packets in a packed block."""
    return HEAD.unpack_from(body)[3]


def dropped(packets: int) -> bytes:
    """A packed block that says no more than that so many packets are missing."""
    return HEAD.pack(0, 0, 1, 0, 0, min(packets, 0xFFFFFFFF))


def raw_size(body: bytes) -> int:
    """Bytes that a packed block would have had uncompressed; its own length where it is none."""
    return HEAD.size + HEAD.unpack_from(body)[4] if len(body) >= HEAD.size else len(body)


def _pack(block: Block, start: int, stop: int, drops: int, method: str, ratio: int, tagged: bool = False) -> Packed:
    """Packets `start`..`stop` - 1 in one piece."""
    cut = slice(start, stop)
    offset, caplen = block.offset[cut], block.caplen[cut]
    ts = block.ts[cut].view(np.uint64)
    parts = [_spread(np.diff(ts, prepend=ts.dtype.type(0)), "<u8"), _spread(caplen, "<u4"),
             _spread(block.wirelen[cut], "<u4")]  # fmt: skip
    if tagged:
        parts.append(_spread(block.vlan[cut], "<i4"))
    words = _words(block.data, offset, caplen) if len(offset) >= _MANY else None
    flags = tagged
    if words is not None:
        flags |= _WORDS | (int(offset[0]) & 7) << _LEAD
        parts.append(words)
    else:
        parts += _runs(block.data, offset, offset + caplen)
    raw = b"".join(parts)
    small = _compress(method, raw)
    enough = len(small) < len(raw) if ratio >= 100 else len(small) * 100 <= len(raw) * ratio
    if not enough:
        method, small = "none", raw
    head = HEAD.pack(METHODS.index(method), flags, block.linktype, stop - start, len(raw), min(drops, 0xFFFFFFFF))
    return Packed(stop - start, HEAD.size + len(raw), method, head + small)


def _words(data: np.ndarray, offset: np.ndarray, caplen: np.ndarray) -> memoryview | None:
    """The packets' bytes as whole words of eight, where all begin at the same place of one, as in the kernel's ring:
    four times as fast as piece by piece. None where they do not."""
    lead = int(offset[0]) & 7
    if (offset & 7 != lead).any() or data.ctypes.data & 7:
        return None
    count = (caplen + (lead + 7)) >> 3
    ends = np.cumsum(count)
    whole = len(data) >> 3
    if int(((offset >> 3) + count).max()) > whole or whole >= 1 << 31:
        return None
    index = np.repeat(((offset >> 3) - (ends - count)).astype(np.int32), count)
    index += np.arange(len(index), dtype=np.int32)
    return memoryview(np.take(data[: whole << 3].view(np.uint64), index, mode="clip").view(np.uint8))


def _runs(data: np.ndarray, start: np.ndarray, end: np.ndarray) -> list[memoryview]:
    """The packets' bytes, as few pieces as possible: packets that follow each other directly are one."""
    if not len(start):
        return []
    breaks = np.flatnonzero(start[1:] != end[:-1])
    view = memoryview(np.ascontiguousarray(data))
    starts, ends = [int(start[0]), *start[breaks + 1].tolist()], [*end[breaks].tolist(), int(end[-1])]
    return [view[a:b] for a, b in zip(starts, ends, strict=True)]


def _spread(values: np.ndarray, kind: str) -> bytes:
    """First the lowest bytes of all values, then the next ones."""
    return np.ascontiguousarray(values.astype(kind).view(np.uint8).reshape(-1, int(kind[-1])).T).tobytes()


def _column(rest: np.ndarray, at: int, count: int, kind: str) -> np.ndarray:
    width = np.dtype(kind).itemsize
    return np.ascontiguousarray(rest[at : at + width * count].reshape(width, count).T).view(kind)[:, 0]


def _compress(method: str, raw: bytes) -> bytes:
    if method == "lz4":
        return lz4.block.compress(raw, mode="fast", acceleration=ACCELERATION, store_size=False)
    return zstandard.ZstdCompressor(level=1).compress(raw) if method == "zstd" else raw


def _expand(method: str, body: memoryview, size: int) -> bytes | memoryview:
    """Exactly `size` bytes; what would be more is refused without being made."""
    try:
        if method == "lz4":
            out = lz4.block.decompress(body, uncompressed_size=size)
        elif method == "zstd":
            reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(body)
            out = reader.read(size) if size else b""
            if reader.read(1):
                raise PackedError(f"a packed block that is longer than the {size} bytes it names")
        else:
            out = body
    except (lz4.block.LZ4BlockError, zstandard.ZstdError, MemoryError) as error:
        raise PackedError(f"a packed block that does not unpack ({error})") from None
    if len(out) != size:
        raise PackedError(f"a packed block of {len(out)} bytes that names {size}")
    return out
