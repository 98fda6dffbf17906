"""RTP packets that a mirror port delivers twice: the same IP packet within a few milliseconds. For a block at once."""

import numpy as np

from voipfleet.arrays import run_starts
from voipfleet.decode.columns import Packets, be

BEHIND = 64  # how far behind its stream's newest packet a copy may be
ROUNDS = 16  # copies of as many packets may come after the last of these


class Copies:
    """What is remembered of every stream's last packets. `window_ns`: how long after a packet its copy may come."""

    def __init__(self, window_ns: int):
        self.window = window_ns
        self._ts, self._seq, self._print, self._top = (np.zeros(1024, np.int64) for _ in range(4))
        self._more: dict[int, list[tuple[int, int, int]]] = {}  # (ts, seq, print) of packets just before the last one

    def open(self, row: int) -> None:
        """A new stream."""
        if row >= len(self._seq):
            more = np.zeros(len(self._seq), np.int64)
            for name in ("_ts", "_seq", "_print", "_top"):
                setattr(self, name, np.concatenate([getattr(self, name), more]))
        self._ts[row], self._seq[row], self._top[row] = 0, -1, -1
        self._more.pop(row, None)

    def find(self, packets: Packets, index: np.ndarray, rows: np.ndarray, seq: np.ndarray, ts: np.ndarray, starts):
        """Which packets (bool; None: none) are copies. Stream by stream, those of one in capture order; `index` says
        where they are among `packets`, `starts` where the streams begin."""
        if self.window < 0:
            return None
        kept = np.arange(len(rows))
        columns = index, rows, seq, ts
        for _ in range(ROUNDS):  # a packet behind a copy seems to follow it, until that is taken away
            copies = self._round(packets, *columns, starts)
            if not len(copies):
                break
            kept = np.delete(kept, copies)
            columns = tuple(column[kept] for column in (index, rows, seq, ts))
            if not len(kept):
                break
            starts = run_starts(columns[1])
        if len(kept):
            self._remember(packets, *columns, starts)
        if len(kept) == len(rows):
            return None
        found = np.ones(len(rows), bool)
        found[kept] = False
        return found

    def _behind(self, rows, seq, starts) -> np.ndarray:
        """Which packets do not go on from the one before, or the first of a stream here from its newest so far."""
        before = np.empty_like(seq)
        before[1:] = seq[:-1]
        before[starts] = self._top[rows[starts]]
        return (before - seq & 0xFFFF) < BEHIND

    def _round(self, packets: Packets, index, rows, seq, ts, starts) -> np.ndarray:
        behind = self._behind(rows, seq, starts)
        at = np.nonzero(behind)[0]
        if not len(at):
            return at
        # Nearly all come right after their original.
        first, row, last = np.isin(at, starts), rows[at], np.maximum(at - 1, 0)
        when = np.where(first, self._ts[row], ts[last])
        mark = np.where(first, self._print[row], self._prints(packets, index[last]))
        same = np.where(first, self._seq[row], seq[last]) == seq[at]
        hit = same & (ts[at] - when <= self.window) & (self._prints(packets, index[at]) == mark)
        near = np.empty(len(ts), bool)
        near[1:] = ts[1:] - ts[:-1] <= self.window
        near[starts] = ts[starts] - self._ts[rows[starts]] <= self.window
        if hit.any():
            so_far = np.cumsum(behind)
            so_far -= np.repeat(so_far[starts] - behind[starts], np.diff(np.append(starts, len(rows))))
            copies = self._of_originals(at[hit], when[hit], first[hit], ts, near & (so_far > 0))
            if len(copies):
                return copies
        # The others have at least one packet between, all of them within the window.
        if not near.any():
            return at[:0]
        begins, stops = set(starts.tolist()), np.append(starts[1:], len(rows))
        found: list[int] = []
        for segment in np.nonzero(np.logical_or.reduceat(behind, starts) & np.logical_or.reduceat(near, starts))[0]:
            part = slice(starts[segment], stops[segment])
            places = np.nonzero(near[part] & np.logical_or.accumulate(behind[part]))[0] + starts[segment]
            known: set[int] = set()
            for at in places.tolist():
                if self._is_copy(packets, index, rows, seq, ts, at, begins, known):
                    known.add(at)
            found += sorted(known)
        return np.array(found, np.int64)

    def _of_originals(self, copies, when, first, ts, perhaps) -> np.ndarray:
        """Without those that are in time for the copy before them, and not for the packet that both are copies of:
        else the cut into blocks would matter, since copies are not remembered. And without those whose original may be
        a copy itself (`perhaps`), of a packet further back: that must be known first."""
        begins = np.r_[True, copies[1:] != copies[:-1] + 1] | first
        run = np.maximum.accumulate(np.where(begins, np.arange(len(copies)), 0))
        doubtful = ~first & perhaps[np.maximum(copies - 1, 0)]
        return copies[(ts[copies] - when[run] <= self.window) & ~doubtful[run]]

    def _is_copy(self, packets: Packets, index, rows, seq, ts, at: int, begins: set[int], copies: set[int]) -> bool:
        """Whether it is a copy of any packet of its stream just before that is none itself."""
        this, other = int(self._prints(packets, index[at : at + 1])[0]), at
        while other not in begins:
            other -= 1
            if ts[at] - ts[other] > self.window:
                return False
            if (
                other not in copies
                and seq[other] == seq[at]
                and int(self._prints(packets, index[other : other + 1])[0]) == this
            ):
                return True
        row = int(rows[at])
        return any(ts[at] - when <= self.window and (number, mark) == (int(seq[at]), this)
                   for when, number, mark in (self._last(row), *self._more.get(row, ())))  # fmt: skip

    def _last(self, row: int) -> tuple[int, int, int]:
        return int(self._ts[row]), int(self._seq[row]), int(self._print[row])

    def _remember(self, packets: Packets, index, rows, seq, ts, starts) -> None:
        ends = np.append(starts[1:], len(rows)) - 1
        u = rows[ends]
        top = seq[ends]
        disorder = np.logical_or.reduceat(self._behind(rows, seq, starts), starts)
        for n in np.nonzero(disorder)[0].tolist():
            newest = int(self._top[u[n]])
            for number in seq[starts[n] : ends[n] + 1].tolist():
                newest = newest if (newest - number & 0xFFFF) < BEHIND else number
            top[n] = newest
        self._top[u] = top
        before = np.where(ends > starts, ts[np.maximum(ends - 1, 0)], self._ts[u])
        for n in np.nonzero(ts[ends] - before <= self.window)[0].tolist():
            at, row, more = int(ends[n]), int(u[n]), []
            since = int(ts[at]) - self.window
            while at > starts[n] and ts[at - 1] >= since:
                at -= 1
                more.append((int(ts[at]), int(seq[at]), int(self._prints(packets, index[at : at + 1])[0])))
            if at == starts[n]:
                more += [known for known in (self._last(row), *self._more.get(row, ())) if known[0] >= since]
            self._more[row] = more[:BEHIND]
        self._ts[u], self._seq[u], self._print[u] = ts[ends], seq[ends], self._prints(packets, index[ends])

    @staticmethod
    def _prints(packets: Packets, at: np.ndarray) -> np.ndarray:
        """The length of a packet and IPv4's identification, which a mirror port does not change and a sender does."""
        ip = packets.ip[at]
        four = packets.data[ip] >> 4 == 4
        return packets.length[at] << 17 | np.where(four, be(packets.data, ip + 4, 2).astype(np.int64) | 1 << 16, 0)
