"""The packets of several sensors as one capture, in the order of time, each once. No I/O.

A packet that two sensors saw is in both stores. It is the same when all of it is the same but for what a router changes
(identity.py) and the times, corrected, are within WINDOW. Each copy that one sensor has is matched with at most one of
another: what one sensor saw twice was there twice. Of what is matched, the copy of which most was kept stays; of equal
ones the first.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from voipfleet.capture.block import MAX_BLOCK, Block
from voipfleet.fetching import identity
from voipfleet.packetstore.segment import MAX_NS

WINDOW = 2_000_000_000  # ns
DEADBAND = 50.0  # ms: a clock that is nearer than this is right, as far as can be known (relay/shifts.py)


@dataclass(slots=True)
class Source:
    """What one sensor sent. `offset_ms`: by how much its clock is ahead of ours; None where nobody knows."""

    name: str
    captures: list[Block]
    offset_ms: float | None = None

    @property
    def shift(self) -> int:
        """What is taken off its times, ns."""
        offset = self.offset_ms or 0.0
        return min(max(round(offset * 1_000_000), -MAX_NS), MAX_NS) if abs(offset) > DEADBAND else 0


@dataclass(slots=True)
class Merged:
    """Packets in the order of time: `which` of `captures`, their times (ns, corrected) and their row there."""

    sources: list[Source]
    captures: list[Block]
    owner: list[int]  # of each capture: its place in `sources`
    which: np.ndarray
    ts: np.ndarray
    row: np.ndarray
    copies: int = 0  # packets left out, because another sensor has them too
    _joined: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def linktypes(self) -> list[int]:
        """Of the packets that are in it."""
        return sorted({self.captures[number].linktype for number in np.unique(self.which).tolist()})

    def column(self, name: str) -> np.ndarray:
        """A column of the captures, for each packet."""
        if not self.captures:
            return np.zeros(0, np.int64)
        if name not in self._joined:
            first = np.cumsum([0, *map(len, self.captures)])[:-1]
            self._joined[name] = np.concatenate([getattr(c, name) for c in self.captures])[first[self.which] + self.row]
        return self._joined[name]

    def blocks(self) -> Iterator[Block]:
        """The packets as Blocks of about MAX_BLOCK bytes, in their order."""
        caplen, offset, wirelen = (self.column(name) for name in ("caplen", "offset", "wirelen"))
        links = np.array([capture.linktype for capture in self.captures], np.int64)[self.which]
        low = 0
        for high in _cuts(links, caplen):
            parts = [self.captures[number].data[at : at + size] for number, at, size in
                     zip(self.which[low:high].tolist(), offset[low:high].tolist(), caplen[low:high].tolist(),
                         strict=True)]  # fmt: skip
            sizes = caplen[low:high]
            yield Block(data=np.concatenate(parts), ts=self.ts[low:high], offset=np.cumsum(sizes) - sizes,
                        caplen=sizes, wirelen=wirelen[low:high], linktype=int(links[low]))  # fmt: skip
            low = high


def _cuts(links: np.ndarray, caplen: np.ndarray) -> list[int]:
    """Where blocks end: at another link type, and when they are full."""
    ends, cuts, low = np.cumsum(caplen), [], 0
    changes = [*(np.nonzero(np.diff(links))[0] + 1).tolist(), len(links)]
    for change in changes:
        while low < change:
            full = int(np.searchsorted(ends, (ends[low - 1] if low else 0) + MAX_BLOCK, "right"))
            low = min(max(full, low + 1), change)
            cuts.append(low)
    return cuts


def merge(sources: list[Source]) -> Merged:
    """All packets of all sources, corrected by their clocks."""
    captures = [capture for source in sources for capture in source.captures]
    owner = [number for number, source in enumerate(sources) for _ in source.captures]
    sizes = np.array([len(capture) for capture in captures], np.int64)
    which = np.repeat(np.arange(len(captures)), sizes)
    row = np.arange(len(which)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    times = [np.clip(capture.ts - sources[number].shift, 0, MAX_NS)
             for capture, number in zip(captures, owner, strict=True)]  # fmt: skip
    ts = np.concatenate(times) if times else np.zeros(0, np.int64)
    keep = np.ones(len(ts), bool)
    if len(set(owner)) > 1:
        keep = ~_copies(captures, ts, np.repeat(np.array(owner, np.int64), sizes))
    order = np.nonzero(keep)[0]
    order = order[np.argsort(ts[order], kind="stable")]
    return Merged(sources, captures, owner, which[order], ts[order], row[order], copies=int(np.count_nonzero(~keep)))


def _copies(captures: list[Block], ts: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Which packets are in the merged capture by another copy."""
    marks, size, cut = (np.concatenate(column) for column in zip(*map(identity.whole, captures), strict=True))
    left_out = np.zeros(len(ts), bool)
    seen_by: dict[int, set[int]] = {}  # sensors of a packet that stays and is not whole, where they are several
    pairs, groups = _shared(marks, ts, owner)
    stay, go = pairs[:, ts[pairs[1]] - ts[pairs[0]] <= WINDOW]
    left_out[go] = True
    for row, other in zip(stay[cut[stay]].tolist(), go[cut[stay]].tolist(), strict=True):
        seen_by[row] = {int(owner[row]), int(owner[other])}
    for rows in groups:
        for stays, *others in _matched(rows, ts, owner):
            left_out[others] = True
            if others and cut[stays]:
                seen_by[stays] = {int(owner[row]) for row in (stays, *others)}
    if cut.any():
        heads = np.where(left_out, 0, np.concatenate([identity.heads(capture) for capture in captures]))
        pairs, groups = _shared(heads, ts, owner)
        for rows in (*pairs.T.tolist(), *groups):
            left_out[_shortened(rows, ts, size, lambda row: seen_by.get(row, {int(owner[row])}))] = True
    return left_out


def _shared(marks: np.ndarray, ts: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, list[list[int]]]:
    """The packets that have one mark, in the order of time, where more than one sensor has such a packet: those of
    which there are two as two rows of an array, nearly all; then the others, a list each."""
    order = np.lexsort((ts, marks))
    order = order[np.searchsorted(marks[order], 1) :]
    if not len(order):
        return np.zeros((2, 0), np.int64), []
    first = np.append(0, np.nonzero(np.diff(marks[order]))[0] + 1)
    ends = np.append(first[1:], len(order))
    several = np.minimum.reduceat(owner[order], first) != np.maximum.reduceat(owner[order], first)
    two = several & (ends - first == 2)
    more = several & ~two
    groups = [order[low:high].tolist() for low, high in zip(first[more].tolist(), ends[more].tolist(), strict=True)]
    return np.stack((order[first[two]], order[first[two] + 1])), groups


def _matched(rows: list[int], ts: np.ndarray, owner: np.ndarray) -> list[list[int]]:
    """`rows` (equal packets by time) as groups with at most one of a sensor, those of WINDOW together.

    Each goes to the oldest group that has none of its sensor; which that is only moves forward, so that a million equal
    packets cost no more than others.
    """
    groups: list[list[int]] = []
    began: list[int] = []
    oldest: dict[int, int] = {}  # sensor -> the first group that it may join
    for row in rows:
        now, sensor = int(ts[row]), int(owner[row])
        at = oldest.get(sensor, 0)
        while at < len(groups) and now - began[at] > WINDOW:
            at += 1
        if at == len(groups):
            groups.append([])
            began.append(now)
        groups[at].append(row)
        oldest[sensor] = at + 1
    return groups


def _shortened(rows: list[int], ts: np.ndarray, size: np.ndarray, seen_by: Callable[[int], set[int]]) -> list[int]:
    """Those of `rows` (equal headers, by time) of which another sensor kept more."""
    most = max(size[row] for row in rows)
    longest = [row for row in rows if size[row] == most]
    found, at = [], 0
    for row in rows:
        while at < len(longest) and ts[longest[at]] < ts[row] - WINDOW:
            at += 1
        if size[row] == most or at == len(longest):
            continue
        other = longest[at]
        if ts[other] - ts[row] <= WINDOW and not seen_by(other) & seen_by(row):
            found.append(row)
            at += 1
    return found
