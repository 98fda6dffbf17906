"""Which streams without a call are of which call, and which records are views of one call. Pure.

All times here are corrected by what is known of the sensors' clocks.
"""

from dataclasses import dataclass

from voipfleet.calls.record import CallRecord
from voipfleet.central import merging
from voipfleet.central.merging import ENDS, ahead

SECOND = 1_000_000_000
SLACK = 5 * SECOND  # by which streams may begin before a call or end after it: clocks that nobody measured, late media
NEAR = 2 * SECOND  # likewise two views of one call
LONGEST = 24 * 3600 * SECOND  # a call whose end nobody saw may have gone on for so long


@dataclass(frozen=True)
class Candidate:
    """A call (`key`) that streams may be of: who takes media where and until when; `end` as told, `open`: at most."""

    key: bytes
    until: dict[str, int]
    begin: int
    end: int
    open: int
    ssrcs: frozenset[int]


def candidate(key: bytes, views: list[CallRecord]) -> Candidate:
    """`views`: its records without those of method RTP, so that what was joined before does not matter."""
    views = merging.order(views)
    until: dict[str, int] = {}
    for view in views:
        for address, media in merging.endpoints([view]).items():
            limit = media.until - ahead(view) if media.until else 0
            until[address] = 0 if not limit or until.get(address) == 0 else max(limit, until.get(address, limit))
    begin = min(view.setup_time - ahead(view) for view in views)
    end = max(begin, *(view.end_time - ahead(view) for view in views))
    seen = any(view.end_reason in ENDS for view in views)
    return Candidate(key, until, begin, end, end if seen else begin + LONGEST,
                     frozenset(stream.ssrc for view in views for stream in view.streams))  # fmt: skip


def span(part: CallRecord) -> tuple[int, int]:
    """(begin, end) of a record."""
    begin = part.setup_time - ahead(part)
    return begin, max(begin, part.end_time - ahead(part))


def claimants(part: CallRecord, candidates: list[Candidate]) -> set[bytes]:
    """Keys of the calls that a record of method RTP is of: none, one, or the legs of one that share their media.

    Calls that had the same address one after the other compete: it goes to the one that was up for most of its time,
    where that is equal to the one that has its SSRC already, then to the later one.
    """
    first, last = span(part)
    ssrcs = {stream.ssrc for stream in part.streams}
    able = {}
    for call in candidates:
        until = [call.until[end] for stream in part.streams for end in (stream.dst, stream.src) if end in call.until]
        shared = min(last, call.open) - max(first, call.begin)
        if shared >= -SLACK and any(not limit or first <= limit + SLACK for limit in until):
            able[call.key] = shared, call
    if not able:
        return set()
    best = max(able.values(), key=lambda one: (one[0] // SECOND, bool(ssrcs & one[1].ssrcs), one[1].begin, one[1].key))
    return {
        key for key, (overlap, call) in able.items() if call is best[1] or (overlap > 0 and _at_once(call, best[1]))
    }


def _at_once(one: Candidate, other: Candidate) -> bool:
    """Up at the same time for most of the shorter one: legs, and not one after the other."""
    shorter = min(one.end - one.begin, other.end - other.begin)
    return 2 * (min(one.end, other.end) - max(one.begin, other.begin)) > shorter


def overlap(one: CallRecord, other: CallRecord) -> int | None:
    """ns for which two records of one Call-ID were up together; None where they are not views of one call."""
    (begin, end), (start, stop) = span(one), span(other)
    together = min(end, stop) - max(begin, start)
    if one.call_id != other.call_id or one.method != other.method or abs(begin - start) > LONGEST:
        return None
    return together if together >= -NEAR else None
