"""RTP statistics of all streams at once: one column a field, the n-th packet of every stream in one pass.

Equal, bit for bit, to stream_scalar, whose step() also takes the rare packets: out of order, jumps, loss.
"""

import numpy as np

from voipfleet.calls import stream_scalar as scalar

NAMES = [*scalar.FIELDS, *scalar.BURSTS]
FEW = 24  # streams a pass below which the scalar class is faster


class StreamTable:
    """State of up to `limit` streams; a row is a stream's number, reused after `free`."""

    def __init__(self, limit: int = 65536, buffer_ms: int = 100):
        self.limit, self.buffer_ms = limit, buffer_ms
        self.columns = {name: np.zeros(1024, np.uint64 if name == "bitmap" else np.int64) for name in NAMES}
        self.vacant: list[int] = []
        self.used = 0

    def allot(self, rate: int = 8000) -> int | None:
        """A row for a new stream; None where the table is full."""
        if self.vacant:
            row = self.vacant.pop()
        elif self.used < self.limit:
            row, self.used = self.used, self.used + 1
            if row == len(self.columns["base"]):
                self.columns = {name: np.concatenate([c, np.zeros_like(c)]) for name, c in self.columns.items()}
        else:
            return None
        self._store(row, scalar.new(rate, self.buffer_ms))
        return row

    def free(self, row: int) -> None:
        self.vacant.append(row)

    def state(self, row: int) -> dict[str, int]:
        return {name: int(self.columns[name][row]) for name in NAMES}

    def _store(self, row: int, state: dict[str, int]) -> None:
        for name in NAMES:
            self.columns[name][row] = state[name]

    def result(self, row: int) -> dict:
        return scalar.result(self.state(row))

    def feed(self, rows: np.ndarray, ts: np.ndarray, seq: np.ndarray, stamp: np.ndarray, pt: np.ndarray) -> None:
        """Packets in capture order; columns of int64, `rows` from `allot`."""
        if not len(rows):
            return
        order = np.argsort(rows, kind="stable")
        rows, ts, seq, stamp, pt = rows[order], ts[order], seq[order], stamp[order], pt[order]
        starts = np.nonzero(np.r_[True, rows[1:] != rows[:-1]])[0]
        counts = np.diff(np.r_[starts, len(rows)])
        nth = 0
        while len(starts) >= FEW:
            at = starts + nth
            self._pass(rows[at], ts[at], seq[at], stamp[at], pt[at])
            nth += 1
            left = counts > nth
            starts, counts = starts[left], counts[left]
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            self._one(int(rows[start]), *(c[start + nth : start + count].tolist() for c in (ts, seq, stamp, pt)))

    def _one(self, row: int, ts: list[int], seq: list[int], stamp: list[int], pt: list[int]) -> None:
        state = self.state(row)
        for packet in zip(ts, seq, stamp, pt, strict=True):
            scalar.step(state, *packet)
        self._store(row, state)

    def _pass(self, rows, ts, seq, stamp, pt) -> None:
        """At most one packet a stream."""
        c = self.columns
        top_bit = c["bitmap"][rows] >> np.uint64(63)
        easy = (c["started"][rows] == 1) & (((seq - c["top"][rows]) & 0xFFFF) == 1) & (c["run"][rows] == 0)
        easy &= top_bit == 1
        for at in np.nonzero(~easy)[0].tolist():
            self._one(int(rows[at]), [int(ts[at])], [int(seq[at])], [int(stamp[at])], [int(pt[at])])
        rows, ts, stamp, pt = rows[easy], ts[easy], stamp[easy], pt[easy]
        last, old, rate = c["last"][rows], c["stamp"][rows], c["rate"][rows]
        c["bitmap"][rows] = (c["bitmap"][rows] << np.uint64(1)) | np.uint64(1)
        c["top"][rows] += 1
        c["received"][rows] += 1
        c["delta_max"][rows] = np.maximum(c["delta_max"][rows], ts - last)
        timed = (pt == c["pt"][rows]) & (stamp != old)
        first = c["first"][rows]
        now, before = (np.clip((t - first) // 1000, 0, scalar.MAX_ELAPSED) * rate // 1_000_000 for t in (ts, last))
        d = now - before - (((stamp - old + (1 << 31)) & 0xFFFFFFFF) - (1 << 31))
        c["last"][rows], c["stamp"][rows], c["pt"][rows] = ts, stamp, pt
        restart = timed & (np.abs(d) > 2 * rate)
        c["rel"][rows[restart]] = 0
        c["rel_min"][rows[restart]] = 0
        timed &= ~restart
        rows, d, rate = rows[timed], d[timed], rate[timed]
        rel = c["rel"][rows] + d
        low = np.minimum(c["rel_min"][rows], rel)
        c["rel"][rows], c["rel_min"][rows] = rel, low
        c["discarded"][rows] += (rel - low) * 1000 > c["buffer"][rows] * rate
        jitter = c["jitter"][rows]
        jitter = jitter + np.abs(d) - ((jitter + 8) >> 4)
        c["jitter"][rows] = jitter
        c["jitter_sum"][rows] += jitter
        c["jitter_count"][rows] += 1
        c["jitter_max"][rows] = np.maximum(c["jitter_max"][rows], jitter)
