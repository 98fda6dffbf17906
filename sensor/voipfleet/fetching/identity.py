"""What of a packet is the same wherever it was seen: from the IP header on, but for what a router changes. No I/O.

Left out: the link header with its VLAN tags, TTL or hop limit, the checksums of IP, UDP and TCP (a host that leaves
them to its network card sees others than the wire), and what pads a short frame behind the end of the packet.
"""

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np

from voipfleet.capture.block import ETHERNET, LINUX_SLL, LINUX_SLL2, MAX_BLOCK, NULL, RAW, Block
from voipfleet.decode.columns import be

TAGS, MAX_TAGS = (0x8100, 0x88A8, 0x9100), 4
TCP, UDP = 6, 17
BEHIND = 20  # bytes behind an IPv4 header, and behind IPv6's, that tell one packet from another: UDP and RTP
_TYPED = {ETHERNET: (12, 14), LINUX_SLL: (14, 16), LINUX_SLL2: (0, 20)}  # where the protocol stands, the header's bytes


def whole(capture: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(a mark of everything that was kept of each packet, 0 for nothing; bytes kept from the IP header on; whether that
    is less than the packet had). Packets with one mark are the same packet, or were sent twice."""
    marks, size = np.zeros(len(capture), np.uint64), np.zeros(len(capture), np.int64)
    cut = np.zeros(len(capture), bool)
    for rows, view, at, end, wire, _ in _parts(capture):
        marks[rows] = _marks(view, at, end, wire)
        size[rows], cut[rows] = end - at, end - at < wire
    return marks, size, cut


def heads(capture: Block) -> np.ndarray:
    """A mark of the headers of each packet up to RTP's, and its size: all that is left where only headers are kept. 0
    where less was kept."""
    marks = np.zeros(len(capture), np.uint64)
    for rows, view, at, end, wire, front in _parts(capture):
        marks[rows] = _marks(view, at, np.where(at + front <= end, at + front, at), wire)
    return marks


def _marks(view: memoryview, at: np.ndarray, end: np.ndarray, wire: np.ndarray) -> list[int]:
    return [
        int.from_bytes(blake2b(view[low:high], digest_size=8, salt=size.to_bytes(8, "little")).digest(), "little")
        if low < high else 0
        for low, high, size in zip(at.tolist(), end.tolist(), wire.tolist(), strict=True)
    ]  # fmt: skip


def _parts(capture: Block) -> Iterator[tuple]:
    """The packets, MAX_BLOCK bytes at a time: which rows, their bytes without what varies, and their bounds there."""
    ends, low = capture.offset + capture.caplen, 0
    while low < len(capture):
        high = max(int(np.searchsorted(ends, ends[low] + MAX_BLOCK)), low + 1)
        rows, base = slice(low, high), int(capture.offset[low])
        data = capture.data[base : int(ends[high - 1])].copy()
        yield rows, memoryview(data), *_bounds(data, capture, capture.offset[rows] - base, ends[rows] - base,
                                               capture.wirelen[rows])  # fmt: skip
        low = high


def _bounds(data: np.ndarray, capture: Block, start: np.ndarray, end: np.ndarray,
            wirelen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """(where the packets begin, where what was kept of them ends, their bytes on the wire, those of their headers) from
    the IP header on; what varies on the way becomes 0 in `data`. What is not IP is a packet from its first byte on."""
    at, wire = start.copy(), wirelen.copy()
    front = np.full(len(at), 60, np.int64)
    kind, place = _network(data, capture.linktype, start, end)
    for family, low in ((_ipv4, 20), (_ipv6, 40)):
        mine = np.nonzero((kind == (4 if low == 20 else 6)) & (end - place >= low))[0]
        if not len(mine):
            continue
        here, kept = place[mine], end[mine]
        size, head = family(data, here, kept)
        size = np.where(size, size, wirelen[mine] - (here - start[mine]))  # 0: more than 16 bits can say
        at[mine], wire[mine], front[mine] = here, size, head + BEHIND
        end[mine] = np.minimum(kept, here + size)
    return at, np.maximum(end, at), wire, np.minimum(front, wire)


def _network(data: np.ndarray, linktype: int, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(version of IP, 0 for another protocol; where its header begins)."""
    version = np.zeros(len(start), np.int64)
    if linktype in _TYPED:
        where, head = _TYPED[linktype]
        room = end - start > head
        kind = np.zeros(len(start), np.uint64)
        kind[room] = be(data, start[room] + where, 2)
        at = start + head
        for _ in range(MAX_TAGS):
            tagged = np.isin(kind, TAGS) & (end - at >= 8)
            kind[tagged] = be(data, at[tagged] + 2, 2)
            at = at + 4 * tagged
        good = np.isin(kind, (0x0800, 0x86DD)) & (at < end)
    else:
        at = start + (4 if linktype == NULL else 0)
        good = np.full(len(at), linktype in (NULL, RAW)) & (at < end)
    version[good] = data[at[good]] >> 4
    return version, at


def _ipv4(data: np.ndarray, at: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bytes that the packet has by its header, bytes of that header)."""
    head = (data[at] & 15).astype(np.int64) * 4
    total = be(data, at + 2, 2).astype(np.int64)
    first = be(data, at + 6, 2).astype(np.int64) & 0x1FFF == 0
    protocol = data[at + 9].copy()
    data[at + 8] = data[at + 10] = data[at + 11] = 0
    _checksum(data, at + head, end, np.where(first, protocol, 0))
    return total, head


def _ipv6(data: np.ndarray, at: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    payload = be(data, at + 4, 2).astype(np.int64)
    data[at + 7] = 0
    _checksum(data, at + 40, end, data[at + 6])
    return np.where(payload, payload + 40, 0), np.full(len(at), 40, np.int64)


def _checksum(data: np.ndarray, at: np.ndarray, end: np.ndarray, protocol: np.ndarray) -> None:
    for number, place in ((UDP, 6), (TCP, 16)):
        mine = (protocol == number) & (at + place + 2 <= end)
        data[at[mine] + place] = data[at[mine] + place + 1] = 0
