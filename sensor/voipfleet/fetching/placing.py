"""Where each packet of an RTP stream belongs in time, in samples. No I/O.

Within a stretch of steady time stamps these say where a packet belongs, so loss, order and jitter do not matter; where
the stretch as a whole belongs its least delayed packet says. A new stretch begins where time stamps and arrivals part
by more than JUMP and do not come together again: a jump of the time stamps, a pause that they do not count. A sender's
clock that runs fast or slow is followed by steps of STEP.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from voipfleet.fetching.g711 import RATE

TICK = 1_000_000_000 // RATE  # ns of a sample
JUMP, LATEST = 200_000_000, 5_000_000_000  # ns; more than networks delay voice, and than they ever hold it back
STEP = 20_000_000  # ns
MISORDER, DROPOUT = 100, 3000  # sequence numbers back and forth beyond which they begin anew (RFC 3550 A.1)
WINDOW = 500  # packets in which the least delayed one is sought
AHEAD = 8  # stretches that may be late before the stream is where it was


@dataclass(slots=True)
class _Stretch:
    """Packets `low` to before `high`; relative to its first packet: `ticks` by the time stamps, `delays` ns."""

    low: int
    high: int
    arrival: int  # of its first packet
    stamp: int
    ticks: np.ndarray
    delays: np.ndarray


def place(arrival: np.ndarray, seq: np.ndarray, stamp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(which packets, each once and in their order; where they begin, in samples since the epoch) of the packets of one
    stream: `arrival` ns, `seq` 16 and `stamp` 32 bits, in the order of arrival."""
    if not len(arrival):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    order = _order(seq.astype(np.int64), stamp)
    arrival, stamp = arrival[order], stamp[order].astype(np.int64)
    at = np.zeros(len(order), np.int64)
    stretches = _stretches(arrival, stamp)
    base: _Stretch | None = None  # that of which the others so far are a part
    shift = 0  # ns by which the present packets are later than `base` says, for the clocks
    for number, now in enumerate(stretches):
        if base is None or not (base is now or _continues(base, shift, stretches[number : number + AHEAD])):
            base, shift = now, 0
            begin = now.arrival + float(now.delays.min())
        behind = now.delays + _apart(base, now) - float(base.delays.min())
        first = round(begin / TICK) + _ticks(base.stamp, now.stamp)
        for low in range(0, len(now.ticks), WINDOW):
            part = slice(low, low + WINDOW)
            late = float(behind[part].min())
            if STEP < abs(late - shift) < JUMP:
                shift = late
            at[now.low : now.high][part] = first + now.ticks[part] + round(shift / TICK)
    return order, at


def _order(seq: np.ndarray, stamp: np.ndarray) -> np.ndarray:
    """Each packet once, by sequence number; numbers that begin anew come after those before."""
    step = (np.diff(seq) + 0x8000 & 0xFFFF) - 0x8000
    again = np.append(0, np.cumsum((step < -MISORDER) | (step > DROPOUT)))
    extended = np.append(0, np.cumsum(step))
    order = np.lexsort((np.arange(len(seq)), stamp, extended, again))
    columns = np.stack((again, extended, stamp))[:, order]
    return order[np.append(True, (np.diff(columns) != 0).any(axis=0))]


def _ticks(first: int, stamp: np.ndarray | int):
    """From one time stamp to another, over the wrap."""
    return (stamp - first + 0x80000000 & 0xFFFFFFFF) - 0x80000000


def _stretches(arrival: np.ndarray, stamp: np.ndarray) -> list[_Stretch]:
    """Parted wherever a packet is later or earlier than the one before it said by more than JUMP."""
    parts = np.abs(np.diff(arrival) - _ticks(stamp[:-1], stamp[1:]) * TICK) > JUMP
    cuts = [0, *(np.nonzero(parts)[0] + 1).tolist(), len(arrival)]
    found = []
    for low, high in itertools.pairwise(cuts):
        ticks = np.append(0, np.cumsum(_ticks(stamp[low : high - 1], stamp[low + 1 : high])))
        delays = (arrival[low:high] - arrival[low]) - ticks.astype(np.float64) * TICK
        found.append(_Stretch(low, high, int(arrival[low]), int(stamp[low]), ticks, delays))
    return found


def _apart(base: _Stretch, other: _Stretch) -> float:
    """By how much the first packet of `other` came later than the first one of `base` said, ns."""
    return float(other.arrival - base.arrival) - float(_ticks(base.stamp, other.stamp)) * TICK


def _continues(base: _Stretch, shift: float, coming: list[_Stretch]) -> bool:
    """Whether the next stretch, or after late ones another, is where `base` said that it would be."""
    least = float(base.delays.min()) + shift
    for stretch in coming:
        behind = _apart(base, stretch) + float(stretch.delays[:WINDOW].min()) - least
        if abs(behind) < JUMP:
            return True
        if not 0 < behind < LATEST:
            return False
    return False
