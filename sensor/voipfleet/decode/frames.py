"""Block -> columns: UDP datagrams, and SIP messages out of TCP, however they were wrapped. No I/O.

Nearly all packets take the common path (common.py); the others the long way (walk.py). Fragments and TCP go one by one.
"""

from collections.abc import Callable

import numpy as np

from voipfleet.capture import tags
from voipfleet.capture.block import RAW, Block
from voipfleet.decode import common
from voipfleet.decode.columns import COLUMNS, Packets, Piece, be
from voipfleet.decode.fragments import Fragments
from voipfleet.decode.tcp import Connections
from voipfleet.decode.walk import MAX_TUNNELS, Walk

TCP = 6


class Decoder:
    """The decoding of one instance, with the fragments and connections that are open, each of the sensor that saw them.

    `streams` (bool, one a port) says which TCP ports carry SIP; `count(name, by)` is told what happened to packets that
    are neither ignored nor passed on as they are. With `pieces` the frames are told of what was put together.
    """

    def __init__(self, streams: np.ndarray, count: Callable[..., None], *, pieces: bool = False):
        self._ports, self._count, self._pieces = streams, count, pieces
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
            for *row, start, stop in zip(*(column[sound].tolist() for column in columns), strict=True):
                pieces = gather.of(row[0]) if made else self._piece(block, row[0], start, stop)
                segments.append((*row, walk.data[start:stop].tobytes(), pieces))
        return segments

    def _piece(self, block: Block, index: int, start: int, stop: int) -> list[Piece]:
        """The packet at `index` of the block, whose payload is from `start` to before `stop`, if frames are wanted."""
        if not self._pieces:
            return []
        frame, more = tags.frame(block, index)
        begin = start - int(block.offset[index]) + more
        return [Piece(int(block.ts[index]), int(block.wirelen[index]) + more, frame, begin, stop - start)]

    def _whole(self, block: Block, walk: Walk, gather: "_Gather") -> list[tuple[int, bytes]]:
        """(place, packet) of every datagram that a fragment of this walk completes."""
        rows = sorted(row for columns in walk.fragments for row in zip(*(c.tolist() for c in columns), strict=True))
        gather.held += len(rows) if walk.data is block.data else 0
        whole = []
        for index, ip, start, end in rows:
            mine = walk.data is block.data
            body = start + (8 if walk.data[ip] >> 4 == 6 else 0)  # IPv6 has a header of its own for fragments
            pieces = self._piece(block, index, body, end) if mine else gather.of(index)
            header, rest = walk.data[ip:start].tobytes(), walk.data[start:end].tobytes()
            packet = self._fragments.take(int(block.ts[index]), header, rest, block.sensor, pieces)
            if packet is not None:
                whole.append((index, packet))
                gather.pieces[index] = self._fragments.pieces
        return whole

    def _streams(self, segments: list[tuple], block: Block, gather: "_Gather") -> None:
        take = self._connections.take
        for index, *key, seq, flags, data, pieces in segments:
            found = take(int(block.ts[index]), (block.sensor, *key), seq, flags, data, pieces)
            for message, came_in in zip(found, self._connections.pieces or [[]] * len(found), strict=True):
                gather.message(index, key, message, came_in)


class _Gather:
    """Columns from several walks, put in the order of the block."""

    def __init__(self, block: Block, ignored: dict[str, int]):
        self._block, self._ignored = block, ignored
        self._data = [block.data]
        self._size = len(block.data)
        self._index: list[np.ndarray] = []
        self._columns: list[tuple] = []
        self._messages: list[tuple] = []
        self._came_in: list[list[Piece]] = []  # of each message: its frames
        self._made: list[np.ndarray] = []  # of each array of `_index`: whether these were put together
        self.pieces: dict[int, list[Piece]] = {}  # frames of the datagrams that packets of the block completed
        self.held = self.made = self.lost = 0

    def of(self, index: int) -> list[Piece]:
        """The frames of the datagram that the packet at `index` completed."""
        return self.pieces.get(index, [])

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
        self._made.append(np.zeros(len(index), bool))
        self._columns.append(tuple(getattr(found, name) for name in COLUMNS))

    def datagrams(self, columns, base: int) -> None:
        index, ip, start, *rest = columns
        self._index.append(index)
        self._made.append(np.full(len(index), base > 0))
        self._columns.append((self._block.ts[index], ip + base, start + base, *rest, np.zeros(len(index), np.int64)))

    def message(self, index: int, key: list[int], message: bytes, came_in: list[Piece]) -> None:
        start = self.add(np.frombuffer(message, np.uint8))
        self._messages.append((index, (int(self._block.ts[index]), -1, start, len(message), *key, TCP)))
        self._came_in.append(came_in)
        self.made += 1

    def packets(self) -> Packets:
        if self._messages:
            self._index.append(np.array([index for index, _ in self._messages], np.int64))
            self._made.append(np.ones(len(self._messages), bool))
            columns = zip(*(row for _, row in self._messages), strict=True)
            self._columns.append(tuple(
                np.array(column, np.uint64 if name[3:] in ("_hi", "_lo") else np.int64)
                for name, column in zip(COLUMNS, columns, strict=True)
            ))  # fmt: skip
        if not self._columns:
            none = (np.zeros(0, np.uint64 if name[3:] in ("_hi", "_lo") else np.int64) for name in COLUMNS)
            return Packets(self._block.data, *none, self._ignored, self.held, self.made, self.lost)
        frame = np.concatenate(self._index)
        order = np.argsort(frame, kind="stable")
        columns = (np.concatenate(parts)[order] for parts in zip(*self._columns, strict=True))
        data = self._data[0] if len(self._data) == 1 else np.concatenate(self._data)
        return Packets(data, *columns, self._ignored, self.held, self.made, self.lost, frame[order],
                       self._pieces(frame, order))  # fmt: skip

    def _pieces(self, frame: np.ndarray, order: np.ndarray) -> dict[int, list[Piece]]:
        """Row -> frames of what was put together, which is little; before `order` messages stand last."""
        made, found = np.concatenate(self._made)[order], {}
        messages = len(frame) - len(self._messages)
        for row in np.nonzero(made)[0].tolist():
            before = int(order[row])
            found[row] = self._came_in[before - messages] if before >= messages else self.of(int(frame[before]))
        return found
