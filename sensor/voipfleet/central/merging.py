"""One call out of what several sensors told of it. Pure, and the same whatever the order of the parts.

Parts are call records (views: the same Call-ID seen at several places) and records of streams without a call (method
RTP). What a call says of its signalling is said by one view, the primary one: that which saw it answered, then that
which saw its end, then that which saw most, then the earliest (nearest to the caller). Others fill in what it lacks.
"""

import msgspec

from voipfleet.calls import emodel
from voipfleet.calls.record import OTHER, SEEN, CallRecord, MediaRecord, StreamRecord
from voipfleet.decode import sdp

RTP = "RTP"
MAX_STREAMS = 64  # of one call, as an analyser has it (voipfleet.calls.making)
NO_AUDIO = ("CN", "TELEPHONE-EVENT")
ENDS = ("bye", "cancel", "rejected")  # that were seen, and did not only fail to go on
_FILLED = (
    "caller", "caller_name", "caller_domain", "callee", "callee_name", "callee_domain", "pdd", "final_response",
    "reason", "hung_up_by", "user_agent_caller", "user_agent_callee", "dtmf", "dtmf_callee", "referred_to", "replaces",
)  # fmt: skip
_OF_RTCP = ("rtcp_lost", "rtcp_jitter_ms", "rtcp_mos", "rtcp_rtt_ms", "rtcp_delay_ms")


def ahead(part: CallRecord) -> int:
    """ns by which its times are ahead of the central's: what another instance analysed has times that it set right."""
    return 0 if part.analysed_by else round((part.clock_offset_ms or 0) * 1e6)


def order(views: list[CallRecord]) -> list[CallRecord]:
    """Views of one call, the primary one first."""
    return sorted(views, key=lambda v: (not v.answer_time, v.end_reason not in ENDS, -len(v.seen),
                                        len(v.partial_reasons), v.setup_time - ahead(v), v.sensor, v.uuid))  # fmt: skip


def endpoints(views: list[CallRecord]) -> dict[str, MediaRecord]:
    """Where the call of these views (the primary one first) has its media, by address.

    What SDP named and no stream went to comes as it was told; of a stream, both its ends are endpoints of the call.
    """
    found: dict[str, MediaRecord] = {}
    for view in views:
        for media in view.media:
            found.setdefault(media.address, media)
        for stream in view.streams:
            if stream.direction not in OTHER:
                continue
            said = {"codecs": dict.fromkeys(stream.payload_types, (stream.codec, 0)) if stream.codec else {},
                    "ptime": stream.ptime, "secure": stream.srtp}  # fmt: skip
            there = MediaRecord(side=OTHER[stream.direction], address=stream.dst, **said)
            found.setdefault(stream.dst, there)
            found.setdefault(stream.src, MediaRecord(side=stream.direction, address=stream.src, **said))
    return found


def merge(parts: list[CallRecord]) -> CallRecord:
    """The call; its uuid and revision are those of the primary view. At least one part is no RTP record.

    Times are in the clock of the primary view's sensor. `media` keeps what no stream of any part went to.
    """
    views = order([part for part in parts if part.method != RTP])
    heard = sorted((part for part in parts if part.method == RTP), key=lambda p: (p.setup_time, p.sensor, p.uuid))
    primary, ends = views[0], endpoints(views)
    streams = [_shifted(stream, view, primary) for view in views for stream in view.streams]
    for part in heard:
        named = [_named(_shifted(stream, part, primary), ends) for stream in part.streams]
        streams += [stream for stream in named if not any(_again(stream, other) for other in streams)]
    reasons = _reasons(views, heard, len(streams) > MAX_STREAMS)
    del streams[MAX_STREAMS:]
    changes = _filled(views) | _times(views, streams)
    answered = changes.get("answer_time", primary.answer_time)
    return msgspec.structs.replace(
        primary, **changes, streams=streams, seen=_seen(views, streams), views=_count(parts),
        one_way=bool(answered) and _one_way(views, streams), partial=bool(reasons), partial_reasons=reasons,
        t38=any(view.t38 for view in views), drops=max(part.drops for part in parts),
        media=_silent(views, streams),
    )  # fmt: skip


def _shifted(stream: StreamRecord, part: CallRecord, primary: CallRecord) -> StreamRecord:
    by = ahead(primary) - ahead(part)
    return msgspec.structs.replace(stream, sensor=stream.sensor or part.sensor,
                                   first=_moved(stream.first, by), last=_moved(stream.last, by))  # fmt: skip


def _moved(ns: int, by: int) -> int:
    return ns + by if ns else 0


def _again(one: StreamRecord, other: StreamRecord) -> bool:
    """Whether they are the same: their sensor claimed for a call what it had told apart before. What it tells after a
    restart, or a long pause, is more of that stream."""
    names = ((s.sensor, s.src, s.dst, s.ssrc) for s in (one, other))
    return len(set(names)) == 1 and one.first <= other.last and other.first <= one.last


def _named(stream: StreamRecord, ends: dict[str, MediaRecord]) -> StreamRecord:
    """With direction, codec and what follows from them, as voipfleet.calls.making says it of its own streams."""
    here, there = ends.get(stream.dst), ends.get(stream.src)
    media = here or there
    if media is None:
        return stream
    direction = OTHER[here.side] if here else there.side
    if here and there and here.side == there.side:
        direction = ""
    names = ((media.codecs.get(pt) or sdp.STATIC.get(pt) or ("", 0))[0] for pt in sorted(stream.payload_types))
    codec = next((name for name in names if name and name.upper() not in NO_AUDIO), "")
    r, mos = emodel.quality(codec, stream.expected, stream.lost, stream.loss_bursts, stream.discarded)
    hidden = {"dtmf": "", **dict.fromkeys(_OF_RTCP)} if media.secure else {}
    return msgspec.structs.replace(
        stream, direction=direction, codec=codec, r_factor=r, mos=mos, srtp=media.secure,
        ptime=stream.ptime or media.ptime, **hidden,
    )  # fmt: skip


def _filled(views: list[CallRecord]) -> dict:
    """What the primary view lacks and another one has."""
    primary, more = views[0], {}
    for name in _FILLED:
        if getattr(primary, name) in (None, "", 0):
            more[name] = next((found for view in views if (found := getattr(view, name)) not in (None, "", 0)),
                              getattr(primary, name))  # fmt: skip
    return more


def _times(views: list[CallRecord], streams: list[StreamRecord]) -> dict:
    """Its ringing as anybody saw it; its end, where nobody saw it, not before its last packet."""
    primary, more = views[0], {}
    if not primary.ring_time:
        seen = [_moved(view.ring_time, ahead(primary) - ahead(view)) for view in views if view.ring_time]
        more["ring_time"] = min(seen, default=0)
    end = max([primary.end_time, *(stream.last for stream in streams)])
    if primary.end_reason not in ENDS and end > primary.end_time:
        since = primary.answer_time
        more.update(end_time=end, duration=round(max(end - primary.setup_time, 0) / 1e9, 6),
                    connect_duration=round(max(end - since, 0) / 1e9, 6) if since else 0.0)  # fmt: skip
    return more


def _reasons(views: list[CallRecord], heard: list[CallRecord], many: bool) -> list[str]:
    signalled = {name for view in views for name in view.seen}
    found = set(views[0].partial_reasons) | {reason for part in heard for reason in part.partial_reasons}
    if {"caller_sip", "callee_sip"} <= signalled:
        found.discard("sip_one_sided")
    return sorted(found | ({"streams"} if many else set()))


def _seen(views: list[CallRecord], streams: list[StreamRecord]) -> list[str]:
    found = {name for view in views for name in view.seen} | {f"{stream.direction}_rtp" for stream in streams}
    return [name for name in SEEN if name in found]


def _one_way(views: list[CallRecord], streams: list[StreamRecord]) -> bool:
    """One side is heard, and the other had agreed to send."""
    silent = set(OTHER) - {stream.direction for stream in streams}
    if len(silent) != 1:
        return False
    (side,) = silent
    told = [media.awaited for view in views for media in view.media if media.side == OTHER[side]]
    return any(told) if told else any(view.one_way for view in views)


def _count(parts: list[CallRecord]) -> int:
    """How many sensors saw it; a part that is of several itself counts as so many."""
    names, unnamed = set(), 0
    for part in parts:
        own = {part.sensor, *(stream.sensor or part.sensor for stream in part.streams)}
        unnamed += max(part.views - len(own), 0)
        names |= own
    return len(names) + unnamed


def _silent(views: list[CallRecord], streams: list[StreamRecord]) -> list[MediaRecord]:
    reached = {stream.dst for stream in streams}
    left = {media.address: media for view in reversed(views) for media in view.media if media.address not in reached}
    return [left[address] for address in sorted(left)]
