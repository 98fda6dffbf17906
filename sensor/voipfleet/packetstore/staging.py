"""Packets of one class and link type until they make a segment: copied in block by block, taken out sorted by key.

No I/O. Packets are held as the records that they become in the pcap, those of a block that are of one length together,
so that NumPy moves all of them at once: once into here, once into the segment.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from voipfleet.arrays import each, run_starts
from voipfleet.packetstore.keys import DROP, KEEP, WAIT
from voipfleet.packetstore.segment import ENTRY, PCAP_HEAD, RECORD_HEAD, encode_index, heads, pcap_head

FEW = 16  # packets of one length from which on they are moved together


@dataclass(slots=True)
class Sealed:
    """A segment to be written: the first `size` bytes of `memory` (uint8) are its pcap; `index`."""

    kind: str
    linktype: int
    first: int
    last: int
    packets: int
    memory: np.ndarray
    size: int
    index: bytes


@dataclass(slots=True)
class _Chunk:
    """Records of one length: `rows` as raw bytes, `numbers` which packets of the segment they are."""

    rows: np.ndarray
    numbers: np.ndarray


class Open:
    """A segment to be: `since` is when it began (s of the caller's clock), `touched` when something was added last."""

    def __init__(self, kind: str, linktype: int, since: float):
        self.kind, self.linktype, self.since, self.touched = kind, linktype, since, since
        self.first, self.last = 1 << 63, -1
        self.size = self.packets = 0  # bytes and packets
        self._keys: list[np.ndarray] = []
        self._ts: list[np.ndarray] = []
        self._sizes: list[np.ndarray] = []
        self._chunks: list[_Chunk] = []
        self._singles: list[tuple[int, bytes]] = []  # (number, record)

    def span_with(self, first: int, last: int) -> int:
        """ns that it would reach over with packets of that time."""
        return max(self.last, last) - min(self.first, first)

    def add(self, keys, ts, offset, caplen, wirelen, data: np.ndarray) -> None:
        """Copy packets in: columns of int64 (`keys` uint64), one element a packet, of which there is at least one."""
        records = heads(ts, caplen, wirelen).view(np.uint8)
        if int(caplen.min()) == int(caplen.max()):
            self._copy(int(caplen[0]), records, offset, np.arange(self.packets, self.packets + len(ts)), data)
        else:
            self._copy_by_length(records, offset, caplen, data)
        self._note(keys, ts, caplen + RECORD_HEAD)

    def add_single(self, keys: np.ndarray, ts: np.ndarray, wirelen: np.ndarray, frames: Sequence[bytes]) -> None:
        """The same for packets that are bytes of their own."""
        sizes = np.fromiter(map(len, frames), np.int64, len(frames))
        records = heads(ts, sizes, wirelen).tobytes()
        at = range(0, len(records), RECORD_HEAD)
        self._singles += [(number, records[start : start + RECORD_HEAD] + frame)
                          for number, start, frame in zip(count(self.packets), at, frames, strict=False)]  # fmt: skip
        self._note(keys, ts, sizes + RECORD_HEAD)

    def _copy_by_length(self, records: np.ndarray, offset: np.ndarray, caplen: np.ndarray, data: np.ndarray) -> None:
        order = np.argsort(caplen.astype(np.uint16) if int(caplen.max()) < 1 << 16 else caplen, kind="stable")
        lengths = caplen[order]
        starts = run_starts(lengths)
        counts = np.diff(np.r_[starts, len(order)])
        many = counts >= FEW
        for start, number in zip(starts[many].tolist(), counts[many].tolist(), strict=True):
            which = order[start : start + number]
            self._copy(int(lengths[start]), records[which], offset[which], which + self.packets, data)
        few = order[~np.repeat(many, counts)]
        raw, view = records[few].tobytes(), memoryview(data)
        at = range(0, len(raw), RECORD_HEAD)
        columns = ((few + self.packets).tolist(), at, offset[few].tolist(), caplen[few].tolist())
        self._singles += [(number, raw[head : head + RECORD_HEAD] + bytes(view[start : start + length]))
                          for number, head, start, length in zip(*columns, strict=True)]  # fmt: skip

    def _copy(self, length: int, records: np.ndarray, offset: np.ndarray, numbers: np.ndarray, data) -> None:
        rows = np.empty((len(offset), RECORD_HEAD + length), np.uint8)
        rows[:, :RECORD_HEAD] = records
        if length:
            rows[:, RECORD_HEAD:] = each(data, length)[offset].view(np.uint8).reshape(len(offset), length)
        self._chunks.append(_Chunk(rows.reshape(-1).view(f"V{RECORD_HEAD + length}"), numbers))

    def _note(self, keys: np.ndarray, ts: np.ndarray, sizes: np.ndarray) -> None:
        self._keys.append(np.array(keys, np.uint64))
        self._ts.append(np.array(ts, np.int64))
        self._sizes.append(sizes)
        self.packets += len(ts)
        self.size += int(sizes.sum())
        self.first, self.last = min(self.first, int(ts.min())), max(self.last, int(ts.max()))

    def seal(
        self, verdict: Callable[[np.ndarray], np.ndarray] | None, most_carried: int, take: Callable[[int], np.ndarray]
    ) -> tuple[Sealed | None, "Open | None", int]:
        """(the segment or None, what waits for the next one or None, packets that are dropped).

        `verdict` says of the keys (ascending, each once) which are kept, wait, or are dropped; None: all are kept. At
        most `most_carried` bytes wait, the latest. `take(size)` gives so much memory for the segment, or more.
        """
        keys, ts, sizes = (np.concatenate(column) for column in (self._keys, self._ts, self._sizes))
        order = _order(keys, ts)
        sorted_keys, sorted_sizes = keys[order], sizes[order]
        starts = run_starts(sorted_keys)
        counts = np.diff(np.r_[starts, len(order)])
        lengths = np.add.reduceat(sorted_sizes, starts)
        verdicts = np.zeros(len(starts), np.int8)
        if verdict is not None:
            verdicts = np.array(verdict(sorted_keys[starts]), np.int8)
            _bound(verdicts, lengths, ts[order][starts], most_carried)
        of_packet = np.repeat(verdicts, counts)
        kept = verdicts == KEEP
        sealed = None
        if kept.any():
            chosen = order if kept.all() else order[of_packet == KEEP]
            sealed = self._transposed(chosen, sizes[chosen], ts[chosen], sorted_keys[starts[kept]], lengths[kept], take)
        waits = order[of_packet == WAIT]
        carried = self._carried(waits, keys, ts, sizes) if len(waits) else None
        return sealed, carried, int(np.count_nonzero(of_packet == DROP))

    def _transposed(self, order, sizes, ts, keys, lengths, take) -> Sealed:
        ends = PCAP_HEAD + np.cumsum(sizes)
        memory = take(int(ends[-1]))
        image = memory[: int(ends[-1])]
        image[:PCAP_HEAD] = np.frombuffer(pcap_head(self.linktype), np.uint8)
        places = np.full(self.packets, -1)
        places[order] = ends - sizes
        for chunk in self._chunks:
            rows, at = chunk.rows, places[chunk.numbers]
            if len(order) < self.packets and (at < 0).any():
                rows, at = rows[at >= 0], at[at >= 0]
            if len(at):
                each(image, rows.itemsize)[at] = rows
        view = memoryview(image)
        for number, record in self._singles:
            if (at := int(places[number])) >= 0:
                view[at : at + len(record)] = record
        entries = np.empty(len(keys), ENTRY)
        entries["key"], entries["length"] = keys, lengths
        entries["offset"] = PCAP_HEAD + np.cumsum(lengths) - lengths
        first, last = int(ts.min()), int(ts.max())
        index = encode_index(entries, len(order), first, last)
        return Sealed(self.kind, self.linktype, first, last, len(order), memory, len(image), index)

    def _carried(self, waits: np.ndarray, keys: np.ndarray, ts: np.ndarray, sizes: np.ndarray) -> "Open":
        waits = np.sort(waits)
        carried = Open(self.kind, self.linktype, self.since)
        numbers = np.full(self.packets, -1)
        numbers[waits] = np.arange(len(waits))
        for chunk in self._chunks:
            there = numbers[chunk.numbers]
            if (there >= 0).any():
                carried._chunks.append(_Chunk(chunk.rows[there >= 0], there[there >= 0]))
        carried._singles = [(int(numbers[n]), record) for n, record in self._singles if numbers[n] >= 0]
        carried._note(keys[waits], ts[waits], sizes[waits])
        return carried


def _order(keys: np.ndarray, ts: np.ndarray) -> np.ndarray:
    """How packets stand by key, then by time, then as they came."""
    bits = np.uint64(max(1, (len(keys) - 1).bit_length()))
    # The key's upper bits and the packet's number in one word: sorting words costs a sixth of sorting numbers by key.
    words = keys >> bits << bits | np.arange(len(keys), dtype=np.uint64)
    words.sort()
    order = (words & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    by_key, by_time = keys[order], ts[order]
    if ((by_key[1:] > by_key[:-1]) | (by_key[1:] == by_key[:-1]) & (by_time[1:] >= by_time[:-1])).all():
        return order
    return np.lexsort((ts, keys))


def _bound(verdicts: np.ndarray, lengths: np.ndarray, first: np.ndarray, most: int) -> None:
    """Of runs that wait for more than `most` bytes, the earlier are dropped."""
    waits = np.nonzero(verdicts == WAIT)[0]
    if len(waits) and int(lengths[waits].sum()) > most:
        latest = waits[np.argsort(-first[waits], kind="stable")]
        verdicts[latest[np.cumsum(lengths[latest]) > most]] = DROP
