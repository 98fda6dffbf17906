"""The packets of a pcapng file (IETF draft-ietf-opsawg-pcapng) as Blocks, by columns: no object a packet."""

import itertools
import struct
from collections.abc import Iterator

import numpy as np

from voipfleet.capture import chain
from voipfleet.capture.block import Block
from voipfleet.capture.source import UNFINISHED, Source
from voipfleet.errors import VoipfleetError

MAGIC = b"\n\r\r\n"
SECTION, INTERFACE, OLD_PACKET, PACKET = 0x0A0D0D0A, 1, 2, 6
HEAD = 28  # of a packet block, with type and length
MAX_INTERFACES = 65_536  # of one section
MIXED, TOGETHER = 64, 256  # runs of one link type in what is in hand; beyond it, packets that may change places
LATEST = (1 << 63) // 1_000_000_000 - 1  # s
RAW_TYPES = {12: 101, 14: 101, 228: 101, 229: 101}  # LINKTYPE_RAW under its other numbers


class Section:
    """What the interfaces of a section say: columns with one element an interface."""

    def __init__(self):
        self._known: list[tuple[int, int, int]] = []  # link type, ticks a second, s to add
        self._columns: list[np.ndarray] = []

    def interface(self, body: bytes, order: str) -> bool:
        """One more; whether it could be read."""
        if len(body) < 8 or len(self._known) >= MAX_INTERFACES:
            return False
        ticks, shift = 1_000_000, 0
        for code, value in _options(body[8:], order):
            if code == 9 and value:
                ticks = 2 ** (value[0] & 127) if value[0] & 128 else 10 ** value[0]
            elif code == 14 and len(value) == 8:
                shift = struct.unpack(order + "q", value)[0]
        link = struct.unpack_from(order + "H", body)[0]
        self._known.append((RAW_TYPES.get(link, link), ticks, min(max(shift, -LATEST), LATEST)))
        self._columns = []
        return True

    def columns(self) -> list[np.ndarray]:
        """Link types, ticks a second (0: more than 64 bits can reckon with), seconds to add."""
        if not self._columns:
            links, ticks, shifts = zip(*self._known, strict=True) if self._known else ((), (), ())
            ticks = [number if number <= 1_000_000_000 else 0 for number in ticks]
            self._columns = [np.array(column, np.int64) for column in (links, ticks, shifts)]
        return self._columns

    def times(self, which: np.ndarray, stamps: np.ndarray) -> np.ndarray:
        """Nanoseconds since the epoch of `stamps` (uint64 ticks) of the interfaces `which`."""
        ticks, shift = (column[which] for column in self.columns()[1:])
        fine = ticks == 0
        per = np.where(fine, 1, ticks).astype(np.uint64)
        seconds, rest = stamps // per, stamps % per
        part = (rest * np.uint64(1_000_000_000) // per).astype(np.int64)
        seconds = np.minimum(seconds, LATEST).astype(np.int64)
        for at in np.nonzero(fine)[0].tolist():
            ns = int(stamps[at]) * 1_000_000_000 // self._known[int(which[at])][1]
            seconds[at], part[at] = divmod(min(ns, LATEST * 1_000_000_000), 1_000_000_000)
        return np.clip(seconds + shift, 0, LATEST) * 1_000_000_000 + part


def read(source: Source, max_bytes: int) -> Iterator[Block]:
    """Blocks of about `max_bytes`; raises VoipfleetError for what is damaged, after what came before."""
    order, section, skip = "<", Section(), 0
    rest = np.frombuffer(MAGIC, np.uint8)  # which was read to know the format
    while True:
        data, got = source.after(rest, max(max_bytes, chain.HEAD))
        if skip:
            skip, data = max(skip - len(data), 0), data[skip:]
        while True:
            order = _order(data, order, source.name)
            starts, end = chain.starts(data, order, chain.PCAPNG)
            for part in _sections(data, starts, order):
                if len(part) and _kind(data, part[0], order) == SECTION:
                    if _order(data[part[0] :], order, source.name) != order:
                        end = int(part[0])
                        break
                    section = Section()
                yield from _blocks(data, part, order, section, source)
            data = data[end:]
            if len(data) < 12 or _kind(data, 0, order) != SECTION or _order(data, order, source.name) == order:
                break
        rest = data
        if len(rest) >= 12:
            skip = _beyond(rest, order, source.name)
            rest = rest[:0] if skip else rest
        if not got:
            break
    if len(rest) or skip:
        source.fault = source.fault or UNFINISHED


def _beyond(rest: np.ndarray, order: str, name: str) -> int:
    """How much of a block that is not kept is still to come; raises where `rest` begins with none at all."""
    kind, size = struct.unpack_from(order + "II", rest)
    if size < 12 or size % 4 or (size > chain.PCAPNG.most and kind in (SECTION, INTERFACE, OLD_PACKET, PACKET)):
        raise _broken(name)
    return max(size - len(rest), 0) if size > chain.PCAPNG.most else 0


def _broken(name: str) -> VoipfleetError:
    return VoipfleetError(f"{name}: a damaged pcapng block; write the file again")


def _kind(data: np.ndarray, at: int, order: str) -> int:
    return struct.unpack_from(order + "I", data, at)[0]


def _order(data: np.ndarray, order: str, name: str) -> str:
    """The order of bytes from here on."""
    if len(data) < 12 or _kind(data, 0, order) != SECTION:
        return order
    magic = data[8:12].tobytes()
    if magic not in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"):
        raise _broken(name)
    return "<" if magic[0] == 0x4D else ">"


def _sections(data: np.ndarray, starts: np.ndarray, order: str) -> Iterator[np.ndarray]:
    """`starts`, parted before each that begins a section."""
    if not len(starts):
        return
    kinds = _words(data, starts, 4, order)[:, 0]
    cuts = [0, *np.nonzero(kinds == SECTION)[0].tolist(), len(starts)]
    for low, high in itertools.pairwise(cuts):
        yield starts[low:high]


def _words(data: np.ndarray, starts: np.ndarray, size: int, order: str) -> np.ndarray:
    """The first `size` bytes of each record as a row of 32-bit words."""
    return np.lib.stride_tricks.sliding_window_view(data, size)[starts].view(order + "u4")


def _blocks(data: np.ndarray, starts: np.ndarray, order: str, section: Section, source: Source) -> Iterator[Block]:
    """The packets of one section."""
    if not len(starts):
        return
    kind, size = _words(data, starts, 8, order).T
    damaged = False
    for number in np.nonzero(kind == INTERFACE)[0].tolist():
        at = int(starts[number])
        if not section.interface(data[at + 8 : at + int(size[number]) - 4].tobytes(), order):
            damaged, starts, kind, size = True, starts[:number], kind[:number], size[:number]
            break
    packets = ((kind == PACKET) | (kind == OLD_PACKET)) & (size >= HEAD + 4)
    if packets.any():
        links, columns = _packets(data, starts[packets], size[packets].astype(np.int64), order, section)
        damaged |= len(links) < np.count_nonzero(packets)
        if len(links):
            yield from _by_link(data, links, columns)
    if damaged:
        raise _broken(source.name)


def _packets(data: np.ndarray, starts: np.ndarray, size: np.ndarray, order: str,
             section: Section) -> tuple[np.ndarray, dict[str, np.ndarray]]:  # fmt: skip
    """Link types and columns of the packets, up to the first one that is damaged."""
    columns = (column.astype(np.int64) for column in _words(data, starts, HEAD, order).T)
    kind, _, which, high, low, caplen, wire = columns
    if (kind == OLD_PACKET).any():  # its interface has 16 bits, and a count of drops has the others
        which = np.where(kind == OLD_PACKET, which & 0xFFFF if order == "<" else which >> 16, which)
    links = section.columns()[0]
    bad = (which >= len(links)) | (caplen > size - HEAD - 4)
    if bad.any():
        good = int(np.argmax(bad))
        which, high, low, caplen, wire, starts = (column[:good] for column in (which, high, low, caplen, wire, starts))
    stamps = high.astype(np.uint64) << np.uint64(32) | low.astype(np.uint64)
    times = section.times(which, stamps)
    return links[which], {"ts": times, "offset": starts + HEAD, "caplen": caplen, "wirelen": wire}


def _by_link(data: np.ndarray, links: np.ndarray, columns: dict[str, np.ndarray]) -> Iterator[Block]:
    """A block has one link type. Where they alternate, TOGETHER packets at a time are sorted by it."""
    cuts = np.nonzero(np.diff(links))[0] + 1
    if len(cuts) > MIXED:
        order = np.lexsort((np.arange(len(links)), links, np.arange(len(links)) // TOGETHER))
        links, columns = links[order], {name: column[order] for name, column in columns.items()}
        cuts = np.nonzero(np.diff(links))[0] + 1
    for low, high in zip([0, *cuts.tolist()], [*cuts.tolist(), len(links)], strict=True):
        part = {name: column[low:high] for name, column in columns.items()}
        yield Block(data=data, linktype=int(links[low]), **part)


def _options(body: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(body):
        code, size = struct.unpack_from(order + "HH", body, at)
        yield code, body[at + 4 : at + 4 + size]
        at += 4 + (size + 3) // 4 * 4
