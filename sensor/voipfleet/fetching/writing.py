"""Merged packets as the bytes of a file: a classic pcap with nanoseconds, or pcapng with an interface a sensor.

No I/O.
"""

import struct
from collections.abc import Iterator

import numpy as np

from voipfleet.capture.chain import MAX_PACKET
from voipfleet.errors import VoipfleetError
from voipfleet.fetching.merging import Merged
from voipfleet.packetstore.segment import pcap_head

AT_ONCE = 16_384  # packets in one piece of the output
_COMMENT, _NAME, _RESOLUTION, _APPLICATION = 1, 2, 9, 4  # options of pcapng; the last one of a section
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6


class LinkTypes(VoipfleetError):
    """The packets are of several link types, of which a pcap can only say one."""


def pcap(merged: Merged) -> Iterator[bytes]:
    """LinkTypes where it cannot be one, before the first byte."""
    links = merged.linktypes
    if len(links) > 1:
        raise LinkTypes(f"the sensors captured in different ways (link types {', '.join(map(str, links))}), and a"
                        " pcap has room for one; give --pcapng")  # fmt: skip
    yield pcap_head(*(links or [1]))
    head = struct.Struct("<4I").pack
    for ts, _, packet, wire in _packets(merged):
        yield b"".join(
            part for at, data, size in zip(ts, packet, wire, strict=True)
            for part in (head(at // 1_000_000_000, at % 1_000_000_000, len(data), size), data)
        )  # fmt: skip


def pcapng(merged: Merged) -> Iterator[bytes]:
    """Each interface has its sensor's name, and as a comment what is known of its clock."""
    section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    yield _block(_SECTION, section + _options((_APPLICATION, b"voipfleet pcap")))
    for capture, owner in zip(merged.captures, merged.owner, strict=True):
        source = merged.sources[owner]
        yield _block(_INTERFACE, struct.pack("<HHI", capture.linktype, 0, MAX_PACKET) + _options(
            (_COMMENT, clock(source.offset_ms, source.shift).encode()), (_NAME, source.name.encode()),
            (_RESOLUTION, b"\x09")))  # fmt: skip
    head, size_again, padding = struct.Struct("<7I").pack, struct.Struct("<I").pack, (b"", b"\0\0\0", b"\0\0", b"\0")
    for ts, which, packet, wire in _packets(merged):
        parts: list = []
        for at, interface, data, size in zip(ts, which, packet, wire, strict=True):
            fill = padding[len(data) & 3]
            whole = 32 + len(data) + len(fill)
            parts += (head(_PACKET, whole, interface, at >> 32, at & 0xFFFFFFFF, len(data), size), data, fill,
                      size_again(whole))  # fmt: skip
        yield b"".join(parts)


def clock(offset_ms: float | None, shift: int) -> str:
    """What is known of a sensor's clock, and what was done about it."""
    if offset_ms is None:
        return "how far its clock is off is not known; times are its own"
    told = f"its clock is {offset_ms:+.1f} ms from the central's"
    return f"{told}; {shift / 1e6:+.1f} ms were taken off its times" if shift else f"{told}; times are its own"


def _packets(merged: Merged) -> Iterator[tuple[list[int], list[int], list[memoryview], list[int]]]:
    """Columns of AT_ONCE packets: times, captures, bytes, bytes on the wire."""
    offset, caplen, wire = (merged.column(name) for name in ("offset", "caplen", "wirelen"))
    views = [memoryview(np.ascontiguousarray(capture.data)) for capture in merged.captures]
    for low in range(0, len(merged), AT_ONCE):
        rows = slice(low, low + AT_ONCE)
        which = merged.which[rows].tolist()
        ends = (offset[rows] + caplen[rows]).tolist()
        packets = [views[number][at:end] for number, at, end in zip(which, offset[rows].tolist(), ends, strict=True)]
        yield merged.ts[rows].tolist(), which, packets, wire[rows].tolist()


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size


def _options(*options: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
                    for code, value in (*options, (0, b"")))  # fmt: skip
