"""Block -> columns: UDP datagrams, and SIP messages out of TCP, however they were wrapped. No I/O.

Nearly all packets take the common path (common.py); the others the long way (walk.py). Fragments and TCP go one by one.
"""

from collections.abc import Callable

import numpy as np

from voipfleet.capture.block import RAW, Block
from voipfleet.decode import common
from voipfleet.decode.columns import COLUMNS, Packets, be
from voipfleet.decode.fragments import Fragments
from voipfleet.decode.tcp import Connections
from voipfleet.decode.walk import MAX_TUNNELS, Walk

TCP = 6


class Decoder:
    """The decoding of one instance, with the fragments and connections that are open, each of the sensor that saw them.

    `streams` (bool, one a port) says which TCP ports carry SIP; `count(name, by)` is told what happened to packets that
    are neither ignored nor passed on as they are.
    """

    def __init__(self, streams: np.ndarray, count: Callable[..., None]):
        self._ports, self._count = streams, count
        self._fragments = Fragments(count)
        self._connections = Connections(count)

    def parse(self, block: Block) -> Packets:
        """The datagrams and messages of `block`, in its order.

        A packet is in the result, or counted in `ignored`, or taken for later (`held`): a fragment, a TCP segment.
        What was put together of such packets stands where the last of them was, in `made`.
        """
        found, handled = common.parse(block)
        if found is not None and handled.all():
            return found
        left = np.nonzero(~handled)[0]
        ignored: dict[str, int] = {}
        walk = Walk(block.data, ignored)
        at = block.offset[left].astype(np.int64)
        walk.link(block.linktype, left, at, at + block.caplen[left])
        gather = _Gather(block, ignored)
        if found is not None:
            gather.common(np.nonzero(handled)[0], found)
        segments = self._take(block, walk, gather)
        for _ in range(MAX_TUNNELS + 1):
            whole = self._whole(block, walk, gather)
            if not whole:
                break
            sizes = np.array([len(packet) for _, packet in whole], np.int64)
            starts = np.cumsum(sizes) - sizes
            walk = Walk(np.frombuffer(b"".join(packet for _, packet in whole), np.uint8), ignored)
            before = sum(ignored.values())
            walk.link(RAW, np.array([index for index, _ in whole], np.int64), starts, starts + sizes)
            gather.lost += sum(ignored.values()) - before
            segments += self._take(block, walk, gather, made=True)
        self._streams(sorted(segments, key=lambda segment: segment[0]), block, gather)
        return gather.packets()

    def _take(self, block: Block, walk: Walk, gather: "_Gather", made: bool = False) -> list[tuple]:
        """What a walk found; its TCP segments, one by one."""
        base = gather.add(walk.data) if made else 0
        for columns in walk.udp:
            gather.datagrams(columns, base)
            gather.made += len(columns[0]) if made else 0
        segments = []
        for index, src_hi, src_lo, dst_hi, dst_lo, at, end in walk.tcp:
            ports = [be(walk.data, at + place, 2).astype(np.int64) for place in (0, 2)]
            head = (walk.data[at + 12] >> 4).astype(np.int64) * 4
            mine = self._ports[ports[0]] | self._ports[ports[1]]
            sound = mine & (head >= 20) & (at + head <= end)
            gather.drop("tcp", int(np.count_nonzero(~mine)), made)
            gather.drop("bad_tcp", int(np.count_nonzero(mine & ~sound)), made)
            gather.held += 0 if made else int(np.count_nonzero(sound))
            columns = (index, src_hi, src_lo, dst_hi, dst_lo, *ports, be(walk.data, at + 4, 4), walk.data[at + 13],
                       at + head, end)  # fmt: skip
            for row in zip(*(column[sound].tolist() for column in columns), strict=True):
                segments.append((*row[:-2], walk.data[row[-2] : row[-1]].tobytes()))
        return segments

    def _whole(self, block: Block, walk: Walk, gather: "_Gather") -> list[tuple[int, bytes]]:
        """(place, packet) of every datagram that a fragment of this walk completes."""
        rows = sorted(row for columns in walk.fragments for row in zip(*(c.tolist() for c in columns), strict=True))
        gather.held += len(rows) if walk.data is block.data else 0
        whole = []
        for index, ip, start, end in rows:
            packet = self._fragments.take(
                int(block.ts[index]), walk.data[ip:start].tobytes(), walk.data[start:end].tobytes(), block.sensor
            )
            if packet is not None:
                whole.append((index, packet))
        return whole

    def _streams(self, segments: list[tuple], block: Block, gather: "_Gather") -> None:
        for index, *key, seq, flags, data in segments:
            for message in self._connections.take(int(block.ts[index]), (block.sensor, *key), seq, flags, data):
                gather.message(index, key, message)


class _Gather:
    """Columns from several walks, put in the order of the block."""

    def __init__(self, block: Block, ignored: dict[str, int]):
        self._block, self._ignored = block, ignored
        self._data = [block.data]
        self._size = len(block.data)
        self._index: list[np.ndarray] = []
        self._columns: list[tuple] = []
        self._messages: list[tuple] = []
        self.held = self.made = self.lost = 0

    def add(self, data: np.ndarray) -> int:
        """More bytes; where they begin in the data of all."""
        self._data.append(data)
        self._size += len(data)
        return self._size - len(data)

    def drop(self, reason: str, number: int, made: bool) -> None:
        if number:
            self._ignored[reason] = self._ignored.get(reason, 0) + number
            self.lost += number if made else 0

    def common(self, index: np.ndarray, found: Packets) -> None:
        self._index.append(index)
        self._columns.append(tuple(getattr(found, name) for name in COLUMNS))

    def datagrams(self, columns, base: int) -> None:
        index, ip, start, *rest = columns
        self._index.append(index)
        self._columns.append((self._block.ts[index], ip + base, start + base, *rest, np.zeros(len(index), np.int64)))

    def message(self, index: int, key: list[int], message: bytes) -> None:
        start = self.add(np.frombuffer(message, np.uint8))
        self._messages.append((index, (int(self._block.ts[index]), -1, start, len(message), *key, TCP)))
        self.made += 1

    def packets(self) -> Packets:
        if self._messages:
            self._index.append(np.array([index for index, _ in self._messages], np.int64))
            columns = zip(*(row for _, row in self._messages), strict=True)
            self._columns.append(tuple(
                np.array(column, np.uint64 if name[3:] in ("_hi", "_lo") else np.int64)
                for name, column in zip(COLUMNS, columns, strict=True)
            ))  # fmt: skip
        if not self._columns:
            none = (np.zeros(0, np.uint64 if name[3:] in ("_hi", "_lo") else np.int64) for name in COLUMNS)
            return Packets(self._block.data, *none, self._ignored, self.held, self.made, self.lost)
        order = np.argsort(np.concatenate(self._index), kind="stable")
        columns = (np.concatenate(parts)[order] for parts in zip(*self._columns, strict=True))
        data = self._data[0] if len(self._data) == 1 else np.concatenate(self._data)
        return Packets(data, *columns, self._ignored, self.held, self.made, self.lost)
