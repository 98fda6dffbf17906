"""A Block as bytes and back: packets back to back, columns beside them, compressed where that helps. No I/O.

    u8 format | u8 method | u16 link type | u32 packets | u32 bytes of columns and packets | these, perhaps compressed

Columns: ts int64 ns; captured length, wire length uint32; with FORMAT_TAGGED the 802.1Q tag int32. All little endian.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import lz4.block
import numpy as np
import zstandard

from voipfleet.capture.block import Block

FORMAT_PLAIN, FORMAT_TAGGED = 1, 2
METHODS = {"none": 0, "lz4": 1, "zstd": 2}
MAX_RAW = 1 << 20  # bytes of packets in one of them; a single packet may be longer
MAX_PLAIN = 2 << 20  # bytes that one may have when it is unpacked
ZSTD_LEVEL = 1
_HEAD = struct.Struct("<BBHII")


class CodecError(ValueError):
    """The bytes are no block."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A block as it travels: its `body`, how many packets are in it, and the bytes that it has unpacked."""

    body: bytes
    packets: int
    raw: int


def pack(block: Block, method: str = "lz4", ratio: int = 100) -> Iterator[Packed]:
    """The block in parts of about MAX_RAW bytes of packets.

    Compressed only where that leaves at most `ratio` percent (packetbuffer_compress_ratio), and less than before.
    """
    ends = np.cumsum(block.caplen)
    start = 0
    while start < len(block):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + MAX_RAW, side="right")))
        yield _pack(block, slice(start, stop), method, ratio)
        start = stop


def _pack(block: Block, part: slice, method: str, ratio: int) -> Packed:
    caplen = block.caplen[part]
    tagged = block.vlan is not None and bool((block.vlan[part] >= 0).any())
    columns = [block.ts[part].astype("<i8"), caplen.astype("<u4"), block.wirelen[part].astype("<u4")]
    if tagged:
        columns.append(block.vlan[part].astype("<i4"))
    view = memoryview(block.data)
    packets = [view[at : at + size] for at, size in zip(block.offset[part].tolist(), caplen.tolist(), strict=True)]
    plain = b"".join([*(column.tobytes() for column in columns), *packets])
    squeezed = _compress(method, plain)
    if len(squeezed) >= len(plain) or len(squeezed) * 100 > len(plain) * ratio:
        method, squeezed = "none", plain
    head = _HEAD.pack(
        FORMAT_TAGGED if tagged else FORMAT_PLAIN, METHODS[method], block.linktype, len(caplen), len(plain)
    )
    return Packed(head + squeezed, len(caplen), len(plain))


def _compress(method: str, plain: bytes) -> bytes:
    if method == "lz4":
        return lz4.block.compress(plain, store_size=False)
    if method == "zstd":
        return zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_content_size=False).compress(plain)
    return plain


def unpack(body: bytes, sensor: str = "", source: str = "") -> Block:
    """The block; `sensor` captured it. Raises CodecError; takes no more memory than MAX_PLAIN and the block itself."""
    if len(body) < _HEAD.size:
        raise CodecError("it is cut short")
    kind, method, linktype, count, size = _HEAD.unpack_from(body)
    if kind not in (FORMAT_PLAIN, FORMAT_TAGGED) or method not in METHODS.values():
        raise CodecError(f"format {kind} with method {method} is not known; another release may have sent it")
    width = 16 + (4 if kind == FORMAT_TAGGED else 0)
    if size > MAX_PLAIN or count * width > size:
        raise CodecError(f"{count} packets in {size} bytes")
    plain = _expand(method, body[_HEAD.size :], size)
    if len(plain) != size:
        raise CodecError(f"it has {len(plain)} bytes and says {size}")
    octets = np.frombuffer(plain, np.uint8)
    at, columns = 0, []
    for form in ("<i8", "<u4", "<u4", "<i4")[: 4 if kind == FORMAT_TAGGED else 3]:
        column = np.frombuffer(plain, form, count, at)
        columns.append(column.astype(np.int64))
        at += column.nbytes
    caplen = columns[1]
    if int(caplen.sum()) != size - at:
        raise CodecError("the lengths of its packets do not add up")
    return Block(data=octets, ts=columns[0], offset=at + np.cumsum(caplen) - caplen, caplen=caplen, wirelen=columns[2],
                 linktype=linktype, source=source, vlan=columns[3] if len(columns) > 3 else None,
                 sensor=sensor)  # fmt: skip


def _expand(method: int, squeezed: bytes, size: int) -> bytes:
    """At most `size` bytes and a few: what a length says is never believed."""
    try:
        if method == METHODS["lz4"]:
            return lz4.block.decompress(squeezed, uncompressed_size=size)
        if method == METHODS["zstd"]:
            with zstandard.ZstdDecompressor(max_window_size=MAX_PLAIN * 4).stream_reader(squeezed) as reader:
                return reader.read(size + 1)
    except (lz4.block.LZ4BlockError, zstandard.ZstdError, MemoryError, ValueError) as error:
        raise CodecError(f"it does not decompress ({error})") from None
    return squeezed
