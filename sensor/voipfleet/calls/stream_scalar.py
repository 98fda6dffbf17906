"""The definition of every figure of an RTP stream, one packet at a time (the oracle of streams.py).

RFC 3550 A.1 without probation: a step forward below MAX_DROPOUT is taken; a packet up to MAX_MISORDER
back is a duplicate or reordered (before the first one: the base moves back); any other is a jump, held out
until the next packet continues it, then the sequence restarts. lost = expected - received, duplicates apart.
Bursts of loss are final when they leave a window of 64 packets. Jitter: the integer variant of A.8
(scaled by 16), between neighbours of one payload type whose RTP time differs (RFC 4733 events repeat it).
Discarded: later than the de-jitter buffer after the earliest packet. All integers; times in ns.
"""

from collections.abc import Iterable

FIELDS = [
    "rate", "buffer", "started", "base", "top", "bitmap", "run", "bad", "received", "duplicates", "reordered", "jumps",
    "expected_before", "first", "last", "stamp", "pt", "rel", "rel_min", "jitter", "jitter_sum", "jitter_count",
    "jitter_max", "delta_max", "discarded", "tick",
]  # fmt: skip
BURSTS = [f"burst{n}" for n in range(1, 11)]  # gaps of 1..9, 10 or more packets
MAX_DROPOUT, MAX_MISORDER, WINDOW = 3000, 63, 64
MAX_ELAPSED = 10**12  # us; beyond it a clock is broken, and 64 bits would not hold the ticks
MASK = (1 << WINDOW) - 1
MAX_TICK = 48_000  # RTP ticks between neighbours; beyond it the sender was silent
SAME, OTHER = -2, -1
RTP_CLOCKS = (8000, 11025, 12000, 16000, 24000, 32000, 44100, 48000, 90000)


def new(rate: int = 8000, buffer_ms: int = 100) -> dict[str, int]:
    """The state of a stream that has no packet yet."""
    state = dict.fromkeys([*FIELDS, *BURSTS], 0)
    state.update(rate=rate, buffer=buffer_ms, bad=-1, bitmap=MASK)
    return state


def leave(bits: int, count: int, run: int) -> tuple[int, list[int]]:
    """`count` positions leave the window, oldest in the highest bit of `bits`, after `run` positions without a packet.

    How many are without one at the end, and the lengths of the gaps that are over.
    """
    if not run and bits == (1 << count) - 1:
        return 0, []
    gaps = []
    for at in range(count - 1, -1, -1):
        if not bits >> at & 1:
            run += 1
        elif run:
            gaps.append(run)
            run = 0
    return run, gaps


def advance(bitmap: int, run: int, steps: Iterable[int]) -> tuple[int, int, list[int]]:
    """The window moves on by `steps`, each of which ends at a packet: the new bitmap, and as leave()."""
    moved = 0
    for ahead in steps:
        bitmap = bitmap << ahead | 1
        moved += ahead
    run, gaps = leave(bitmap >> WINDOW, moved, run)
    return bitmap & MASK, run, gaps


def _close(s: dict[str, int]) -> None:
    run, gaps = leave(s["bitmap"], WINDOW, s["run"])
    _count(s, [*gaps, run] if run else gaps)
    s["run"] = 0


def _count(s: dict[str, int], gaps: list[int]) -> None:
    for gap in gaps:
        s[BURSTS[min(gap, 10) - 1]] += 1


def step(s: dict[str, int], ts: int, seq: int, stamp: int, pt: int, rate: int = SAME) -> bool:
    """One packet: capture time (ns), sequence number, RTP time, payload type, and the clock of that type (ticks/s), or
    SAME as before, or OTHER: not that of the stream (events). Whether its time counts (see clock()).
    """
    if not s["started"]:
        s.update(started=1, base=65536 + seq, top=65536 + seq, received=1, first=ts, last=ts, stamp=stamp, pt=pt)
        return False
    ahead = (seq - s["top"]) & 0xFFFF
    if 0 < ahead < MAX_DROPOUT:
        s["bitmap"], s["run"], gaps = advance(s["bitmap"], s["run"], (ahead,))
        _count(s, gaps)
        s["top"] += ahead
        s["received"] += 1
        s["delta_max"] = max(s["delta_max"], ts - s["last"])
        sent = (stamp - s["stamp"]) & 0xFFFFFFFF
        if ahead == 1 and pt == s["pt"] and 0 < sent < MAX_TICK and (not s["tick"] or sent < s["tick"]):
            s["tick"] = sent
    elif (back := -ahead & 0xFFFF) <= MAX_MISORDER:
        early = s["top"] - back
        if early < s["base"]:
            for at in range(s["top"] - s["base"] + 1, back):
                s["bitmap"] &= ~(1 << at)
            s["base"] = early
        elif s["bitmap"] >> back & 1:
            s["duplicates"] += 1
            return False
        s["bitmap"] |= 1 << back
        s["received"] += 1
        s["reordered"] += 1
    elif seq == s["bad"]:
        _close(s)
        s["expected_before"] += s["top"] - s["base"] + 1
        s.update(base=65536 + seq, top=65536 + seq, bitmap=MASK, bad=-1, stamp=stamp, pt=pt, last=ts)
        s["received"] += 1
        return False
    else:
        s["bad"] = (seq + 1) & 0xFFFF
        s["jumps"] += 1
        return False
    before = s["last"], s["stamp"], s["pt"]
    s.update(last=ts, stamp=stamp, pt=pt)
    return clock(s, *before, ts, stamp, pt, rate)


def clock(s: dict[str, int], last: int, old: int, before: int, ts: int, stamp: int, pt: int, rate: int) -> bool:
    """The time of a packet against that of the one before (`last`, `old`, `before`: its ts, stamp and payload type).

    False where that is no statement about the network; a stream whose clock is not known (rate 0) gets none.
    """
    if rate > 0 and rate != s["rate"]:  # another codec goes on with another clock
        for name in ("jitter", "jitter_sum", "jitter_max"):
            s[name] = s[name] * rate // max(s["rate"], 1)
        s.update(rate=rate, rel=0, rel_min=0, tick=0)
    if rate == OTHER or not s["rate"] or pt != before or stamp == old:
        return pt == before and stamp != old and rate != OTHER
    elapsed, earlier = (min(max((t - s["first"]) // 1000, 0), MAX_ELAPSED) * s["rate"] // 1_000_000 for t in (ts, last))
    sent = ((stamp - old + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
    d = elapsed - earlier - sent
    if abs(d) > 2 * s["rate"]:  # the sender's clock restarted: no statement about the network
        s["rel"] = s["rel_min"] = 0
        return True
    s["rel"] += d
    s["rel_min"] = min(s["rel_min"], s["rel"])
    if (s["rel"] - s["rel_min"]) * 1000 > s["buffer"] * s["rate"]:
        s["discarded"] += 1
    s["jitter"] += abs(d) - ((s["jitter"] + 8) >> 4)
    s["jitter_sum"] += s["jitter"]
    s["jitter_count"] += 1
    s["jitter_max"] = max(s["jitter_max"], s["jitter"])
    return True


def guess(times: list[tuple]) -> int:
    """The clock that a stream has by its own time stamps: that of RTP_CLOCKS which comes nearest; 8000 where none can.

    `times`: as clock() takes them, without the rate.
    """
    sound = [(stamp - old, ts - last) for last, old, _, ts, stamp, _ in times if ts > last and stamp > old]
    elapsed = sum(pair[1] for pair in sound)
    rate = sum(pair[0] for pair in sound) * 1_000_000_000 // elapsed if elapsed else 8000
    return min(RTP_CLOCKS, key=lambda known: abs(known - rate))


def known(state: dict[str, int], rate: int, times: list[tuple]) -> dict[str, int]:
    """The state of a stream of clock `rate` whose packets came before that was known, at `times`."""
    state = {**state, "rate": rate}
    for packet in times:
        clock(state, *packet, SAME)
    return state


def result(state: dict[str, int]) -> dict[str, int | float | list[int]]:
    """The published figures of a state: counts, and times in ms."""
    s = dict(state)
    _close(s)
    expected = s["expected_before"] + (s["top"] - s["base"] + 1 if s["started"] else 0)
    ms = 1000 / 16 / max(s["rate"], 1)
    return {
        "expected": expected, "received": s["received"], "lost": max(expected - s["received"], 0),
        "duplicates": s["duplicates"], "reordered": s["reordered"], "discarded": s["discarded"],
        "loss_bursts": [s[name] for name in BURSTS], "first": s["first"], "last": s["last"],
        "jitter_mean_ms": round(s["jitter_sum"] / max(s["jitter_count"], 1) * ms, 3),
        "jitter_max_ms": round(s["jitter_max"] * ms, 3), "delta_max_ms": round(s["delta_max"] / 1e6, 3),
        "ptime": round(s["tick"] * 1000 / s["rate"], 3) if s["rate"] else 0.0,
    }  # fmt: skip
