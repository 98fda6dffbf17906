"""RTP statistics of all streams of a block at once: one column a field, packets sorted by stream.

A stream whose packets of the block are in order takes one vector pass over its segment, losses included; recurrences
that are sequential by definition (jitter) go over the n-th packet of every segment. A segment with anything else in it
(disorder, duplicates, a jump, a clock that restarts) goes through stream_scalar.step(), the definition. Equal to
it bit for bit, however the packets are cut into blocks.
"""

import numpy as np

from voipfleet.arrays import run_starts
from voipfleet.calls import stream_scalar as scalar

NAMES = [*scalar.FIELDS, *scalar.BURSTS]
FEW = 24  # segments below which the jitter of one after the other is faster than the n-th of all
MAX_WAITING, MAX_WAITING_ALL = 500, 100_000  # packets of a stream, and of all, that wait for their clock to be known
_SIGN = 1 << 63
_ONES = np.uint64(scalar.MASK)
_SPAN = 1 << 62


class StreamTable:
    """State of up to `limit` streams; a row is a stream's number, reused after `free`."""

    def __init__(self, limit: int = 65536, buffer_ms: int = 100):
        self.limit, self.buffer_ms = limit, buffer_ms
        self._hold(np.zeros((len(NAMES), 1024), np.int64))
        self.vacant: list[int] = []
        self._waiting: dict[int, list[tuple]] = {}  # times of streams whose clock is not known yet
        self._waiting_all = 0
        self.used = 0

    def allot(self, rate: int = 8000) -> int | None:
        """A row for a new stream of `rate` ticks/s (0: not known yet); None where the table is full."""
        if self.vacant:
            row = self.vacant.pop()
        elif self.used < self.limit:
            row, self.used = self.used, self.used + 1
            if row == len(self.columns["base"]):
                self._hold(np.concatenate([self._table, np.zeros_like(self._table)], axis=1))
        else:
            return None
        self._store(row, scalar.new(rate, self.buffer_ms))
        return row

    def free(self, row: int) -> None:
        self._forget(row)
        self.vacant.append(row)

    def _hold(self, table: np.ndarray) -> None:
        self._table = table  # a row a field, a column a stream
        self.columns = dict(zip(NAMES, table, strict=True))
        self.columns["bitmap"] = self.columns["bitmap"].view(np.uint64)

    def state(self, row: int) -> dict[str, int]:
        state = dict(zip(NAMES, self._table[:, row].tolist(), strict=True))
        state["bitmap"] &= scalar.MASK
        return state

    def _store(self, row: int, state: dict[str, int]) -> None:
        values = {**state, "bitmap": (state["bitmap"] ^ _SIGN) - _SIGN}  # the same bits as a signed number
        self._table[:, row] = [values[name] for name in NAMES]

    def rate(self, row: int) -> int:
        """RTP ticks a second."""
        return int(self.columns["rate"][row])

    def result(self, row: int) -> dict:
        if not self.rate(row):
            self.set_rate(row, scalar.guess(self._waiting.get(row, [])))
        return scalar.result(self.state(row))

    def order(self, rows: np.ndarray) -> np.ndarray:
        """How packets stand stream by stream, those of one stream in their order."""
        return np.argsort(rows.astype(np.uint16) if self.limit <= 65536 else rows, kind="stable")

    def feed(self, rows: np.ndarray, *columns: np.ndarray) -> None:
        """Packets in capture order: ts, seq, stamp, pt (int64), perhaps rate; `rows` from `allot`."""
        order = self.order(rows)
        self.feed_sorted(rows[order], *(column[order] for column in columns))

    def feed_sorted(self, rows, ts, seq, stamp, pt, rate=None, starts=None) -> None:
        """The same, stream by stream. `rate`: as stream_scalar.step() takes it, SAME for all where it is not given.

        `starts`: where the streams begin, if that is known.
        """
        if not len(rows):
            return
        if starts is None:
            starts = run_starts(rows)
        counts = np.diff(np.r_[starts, len(rows)])
        fresh = self.columns["started"][rows[starts]] == 0
        if fresh.any():
            first = starts[fresh]
            self._begin(rows[first], ts[first], seq[first], stamp[first], pt[first])
            keep = np.ones(len(rows), bool)
            keep[first] = False
            rows, ts, seq, stamp, pt = rows[keep], ts[keep], seq[keep], stamp[keep], pt[keep]
            rate = rate if rate is None else rate[keep]
            counts = counts - fresh
            counts = counts[counts > 0]
            starts = np.cumsum(counts) - counts
            if not len(rows):
                return
        ahead = self._ahead(rows[starts], seq, starts)
        easy = np.logical_and.reduceat((ahead > 0) & (ahead < scalar.MAX_DROPOUT), starts)
        easy &= self.columns["rate"][rows[starts]] > 0
        if rate is not None:
            easy &= np.logical_and.reduceat(rate == scalar.SAME, starts)
        if not easy.all():
            odd = ~easy
            more = () if rate is None else (rate,)
            self._scalar(rows[starts[odd]], starts[odd], counts[odd], ts, seq, stamp, pt, *more)
            keep = np.repeat(easy, counts)
            rows, ts, seq, stamp, pt, ahead = (column[keep] for column in (rows, ts, seq, stamp, pt, ahead))
            counts = counts[easy]
            starts = np.cumsum(counts) - counts
        if len(rows):
            self._segments(rows, ts, seq, stamp, pt, ahead, starts, counts)

    def _begin(self, rows, ts, seq, stamp, pt) -> None:
        """The first packets of new streams, as step() takes them."""
        c = self.columns
        c["started"][rows] = c["received"][rows] = 1
        c["base"][rows] = c["top"][rows] = 65536 + seq
        c["first"][rows] = c["last"][rows] = ts
        c["stamp"][rows], c["pt"][rows] = stamp, pt

    def _one(self, row: int, *columns: list[int]) -> None:
        state = self.state(row)
        if state["rate"]:
            for packet in zip(*columns, strict=True):
                scalar.step(state, *packet)
        else:
            waiting = self._waiting.setdefault(row, [])
            for packet in zip(*columns, strict=True):
                before = state["last"], state["stamp"], state["pt"]
                if scalar.step(state, *packet) and not state["rate"]:
                    waiting.append((*before, packet[0], packet[2], packet[3]))
                    self._waiting_all += 1
        self._store(row, state)
        if state["rate"]:
            self._forget(row)
        elif len(self._waiting[row]) > MAX_WAITING or self._waiting_all > MAX_WAITING_ALL:
            self.set_rate(row, scalar.guess(self._waiting[row]))

    def set_rate(self, row: int, rate: int) -> None:
        """The clock of a stream is known now; the times that waited for it are taken."""
        state = self.state(row)
        if not state["rate"] and rate > 0:
            self._store(row, scalar.known(state, rate, self._forget(row)))

    def _forget(self, row: int) -> list[tuple]:
        waiting = self._waiting.pop(row, [])
        self._waiting_all -= len(waiting)
        return waiting

    def _scalar(self, rows, starts, counts, *columns) -> None:
        for row, start, count in zip(rows.tolist(), starts.tolist(), counts.tolist(), strict=True):
            self._one(row, *(column[start : start + count].tolist() for column in columns))

    def _ahead(self, rows, seq, starts) -> np.ndarray:
        """How far each packet is ahead of the one before it, or of what was its stream's newest."""
        before = np.empty_like(seq)
        before[1:] = seq[:-1]
        before[starts] = self.columns["top"][rows]
        return (seq - before) & 0xFFFF

    def _windows(self, u, ahead, starts, counts) -> None:
        """Move the windows of segments on. Only where something is missing, one packet after the other."""
        c = self.columns
        moved = np.add.reduceat(ahead, starts)
        leaving = np.where(counts < 64, ~(_ONES >> np.minimum(counts, 63).astype(np.uint64)), _ONES)
        whole = ((c["bitmap"][u] & leaving) == leaving) & (c["run"][u] == 0) & (moved == counts)
        for at in np.nonzero(~whole)[0].tolist():
            row = int(u[at])
            bitmap, run = int(c["bitmap"][row]), int(c["run"][row])
            steps = ahead[starts[at] : starts[at] + counts[at]].tolist()
            bitmap, run, gaps = scalar.advance(bitmap, run, steps)
            for gap in gaps:
                c[scalar.BURSTS[min(gap, 10) - 1]][row] += 1
            c["bitmap"][row], c["run"][row] = bitmap, run
        v, shift = u[whole], np.minimum(counts[whole], 63).astype(np.uint64)
        grown = (c["bitmap"][v] << shift) | ((np.uint64(1) << shift) - np.uint64(1))
        c["bitmap"][v] = np.where(counts[whole] >= 64, _ONES, grown)
        c["top"][u] += moved

    def _segments(self, rows, ts, seq, stamp, pt, ahead, starts, counts) -> None:
        """Segments of packets in order: everything but what depends on the packet before is one pass."""
        c, u = self.columns, rows[starts]

        def before(column: np.ndarray, name: str) -> np.ndarray:
            shifted = np.empty_like(column)
            shifted[1:] = column[:-1]
            shifted[starts] = c[name][u]
            return shifted

        last, old = before(ts, "last"), before(stamp, "stamp")
        timed = (pt == before(pt, "pt")) & (stamp != old)
        first, rate = np.repeat(c["first"][u], counts), np.repeat(c["rate"][u], counts)
        now = np.clip((ts - first) // 1000, 0, scalar.MAX_ELAPSED) * rate // 1_000_000
        then = np.empty_like(now)
        then[1:] = now[:-1]
        then[starts] = (
            np.clip((c["last"][u] - c["first"][u]) // 1000, 0, scalar.MAX_ELAPSED) * c["rate"][u] // 1_000_000
        )
        sent = ((stamp - old + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
        d = now - then - sent
        d[~timed] = 0
        rel = np.cumsum(d)
        rel += np.repeat(c["rel"][u] - rel[starts] + d[starts], counts)
        span = int(rel.max() - rel.min()) + int(np.abs(c["rel_min"][u]).max()) + 1
        odd = np.logical_or.reduceat(timed & (np.abs(d) > 2 * rate), starts)
        if odd.any() or span * (len(u) + 1) >= _SPAN:  # a clock that restarted, or one that ran away
            odd |= span * (len(u) + 1) >= _SPAN
            self._scalar(u[odd], starts[odd], counts[odd], ts, seq, stamp, pt)
            keep, left = np.repeat(~odd, counts), counts[~odd]
            if len(left):
                columns = (column[keep] for column in (rows, ts, seq, stamp, pt, ahead))
                self._segments(*columns, np.cumsum(left) - left, left)
            return
        # The running minimum of every segment in one accumulate: each lies far below the one before.
        depth = np.arange(len(u)) * span
        lowered = rel - np.repeat(depth, counts)
        lowered[starts] = np.minimum(lowered[starts], c["rel_min"][u] - depth)
        low = np.minimum.accumulate(lowered)
        late = timed & (rel - low > np.repeat(c["buffer"][u] * c["rate"][u] // 1000 + depth, counts))
        ends = starts + counts - 1
        self._windows(u, ahead, starts, counts)
        c["received"][u] += counts
        c["delta_max"][u] = np.maximum(c["delta_max"][u], np.maximum.reduceat(ts - last, starts))
        ticks = np.where((ahead == 1) & timed & (sent > 0) & (sent < scalar.MAX_TICK), sent, scalar.MAX_TICK)
        ticks = np.minimum(
            np.minimum.reduceat(ticks, starts), np.where(c["tick"][u] > 0, c["tick"][u], scalar.MAX_TICK)
        )
        c["tick"][u] = np.where(ticks < scalar.MAX_TICK, ticks, 0)
        c["discarded"][u] += np.add.reduceat(late, starts, dtype=np.int64)
        c["rel"][u], c["rel_min"][u] = rel[ends], low[ends] + depth
        c["last"][u], c["stamp"][u], c["pt"][u] = ts[ends], stamp[ends], pt[ends]
        self._jitter(u, np.abs(d), timed, starts, counts)

    def _jitter(self, u, change, timed, starts, counts) -> None:
        """The recurrence of RFC 3550 A.8: the n-th packet of all segments, or segment by segment where they are few."""
        c = self.columns
        if not timed.all():  # only what counts, so that every step below is a step of the recurrence
            counts = np.add.reduceat(timed, starts, dtype=np.int64)
            change, some = change[timed], counts > 0
            u, counts = u[some], counts[some]
            starts = np.cumsum(counts) - counts
        order = np.argsort(-counts, kind="stable")
        u, starts, counts = u[order], starts[order], counts[order]
        jitter, total, most = c["jitter"][u], c["jitter_sum"][u], c["jitter_max"][u]
        c["jitter_count"][u] += counts
        nth, left = 0, len(u)
        while left >= FEW:
            now = jitter[:left]
            now += change[starts[:left] + nth] - ((now + 8) >> 4)
            total[:left] += now
            np.maximum(most[:left], now, out=most[:left])
            nth += 1
            left = int(np.searchsorted(-counts, -nth, side="left"))
        for at in range(left):
            now, add, top = int(jitter[at]), 0, int(most[at])
            for step in change[starts[at] + nth : starts[at] + counts[at]].tolist():
                now += step - ((now + 8) >> 4)
                add += now
                top = max(top, now)
            jitter[at], most[at] = now, top
            total[at] += add
        c["jitter"][u], c["jitter_sum"][u], c["jitter_max"][u] = jitter, total, most
