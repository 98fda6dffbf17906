"""UDP packets of a block as columns, and how fields are gathered from the block's bytes."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from voipfleet.arrays import each

MAPPED = np.uint64(0xFFFF << 32)  # ::ffff:0:0/96, the upper half of the low word


class Piece(NamedTuple):
    """A captured frame that holds a part of a datagram or message: `ts` ns, `wirelen` bytes on the wire, what was
    captured, and which part of that is payload (of IP where it is a fragment, of TCP where it is a segment)."""

    ts: int
    wirelen: int
    frame: bytes
    start: int
    length: int


@dataclass(slots=True)
class Packets:
    """Datagrams and messages of a block, one element each.

    `data` uint8 of the block and of what was put together; `ts` ns; `ip` where the innermost IP header starts, -1 for
    a message out of TCP; `start`/`length` the payload (as captured); addresses are two uint64 (high, low), IPv4 mapped
    to ::ffff:0:0/96; `transport` 0 for UDP, 6 for TCP. `ignored` counts packets of no use by reason, `held` those kept
    to be put together, `made` the rows that came of such, `lost` what of these was ignored, so that
    len(block) + made + lost == len(self) + sum(ignored.values()) + held.

    `frame`: which packet of the block each is, of what was put together the last one (None: each its own); `pieces`: of
    rows that were put together, the frames they came in (only where the decoder was asked for them).
    """

    data: np.ndarray
    ts: np.ndarray
    ip: np.ndarray
    start: np.ndarray
    length: np.ndarray
    src_hi: np.ndarray
    src_lo: np.ndarray
    dst_hi: np.ndarray
    dst_lo: np.ndarray
    sport: np.ndarray
    dport: np.ndarray
    transport: np.ndarray
    ignored: dict[str, int]
    held: int = 0
    made: int = 0
    lost: int = 0
    frame: np.ndarray | None = None
    pieces: dict[int, list[Piece]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ts)

    def ends(self, row: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """From and to where (high, low, port) a row was sent."""
        return ((int(self.src_hi[row]), int(self.src_lo[row]), int(self.sport[row])),
                (int(self.dst_hi[row]), int(self.dst_lo[row]), int(self.dport[row])))  # fmt: skip


COLUMNS = ("ts", "ip", "start", "length", "src_hi", "src_lo", "dst_hi", "dst_lo", "sport", "dport", "transport")


def be(data: np.ndarray, at: np.ndarray, size: int) -> np.ndarray:
    """Big-endian unsigned integers of `size` (1, 2, 4, 8) bytes at `at`, as uint64."""
    if len(data) < size:
        return np.zeros(len(at), np.uint64)
    # Every position as an integer: a view, not a copy, so that one gather takes all bytes of a field.
    return np.ndarray(len(data) - size + 1, f">u{size}", data, strides=(1,))[at].astype(np.uint64)


def rows(data: np.ndarray, at: np.ndarray, fields: np.dtype) -> np.ndarray:
    """`fields` (a structured type) at `at`: one copy a row, then every field is a strided column of the result.

    All of `at` + itemsize must lie within `data`.
    """
    size = fields.itemsize
    if len(data) < size or not len(at):
        return np.zeros(0, fields)
    return each(data, size)[at].view(fields)


def fields(width: int, /, **places: tuple[str, int]) -> np.dtype:
    """A structured type of `width` bytes: name=(format, offset)."""
    return np.dtype({"names": list(places), "formats": [place[0] for place in places.values()],
                     "offsets": [place[1] for place in places.values()], "itemsize": width})  # fmt: skip
