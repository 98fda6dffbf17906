"""The record of a call that has ended, out of its dialog, its streams and what RTCP said of them. No I/O."""

from voipfleet.calls import emodel
from voipfleet.calls.dialog import Dialog, show
from voipfleet.calls.endpoints import OPEN
from voipfleet.calls.media import Media, Stream
from voipfleet.calls.record import OTHER, CallRecord, MediaRecord, StreamRecord
from voipfleet.calls.reports import Reports
from voipfleet.decode import sdp, sip
from voipfleet.masking.records import mask_record

MAX_STREAMS = 64  # of one call
NO_AUDIO = ("CN", "TELEPHONE-EVENT")


class Maker:
    """Makes the records of one sensor; with `digits` the keys that were pressed are in them. `keep`: how many digits of
    a telephone number are not masked (None: nothing is)."""

    def __init__(self, sensor: str, site: str, digits: bool, media: Media, reports: Reports, keep: int | None = None):
        self._sensor, self._site, self._digits, self._media, self._reports = sensor, site, digits, media, reports
        self._keep = keep
        self.offsets: dict[str, float] = {}  # ms by which other sensors' clocks are ahead of ours

    def make(self, call: Dialog, claimed: list[Stream], end_reason: str, why: list[str]) -> CallRecord:
        """The record; `why` it is partial for other reasons than those found here."""
        streams = [self._stream(stream, call) for stream in claimed[:MAX_STREAMS]]
        end = call.end or max([call.last, *(stream.last for stream in streams)])
        names = [sip.party(call.first.headers[h]) for h in (b"from", b"to")]
        heard = {stream.direction for stream in streams} - {""}
        first = call.progress or (call.end if call.final >= 300 else call.answer)
        reasons = [*why, *(name for name, true in (("drops", call.drops), ("sip_one_sided", call.one_sided()),
                                                   ("streams", len(claimed) > MAX_STREAMS)) if true)]  # fmt: skip
        silent = {"caller", "callee"} - heard
        record = CallRecord(
            uuid=call.uuid, call_id=sip.show(call.first.call_id), sensor=call.sensor or self._sensor,
            analysed_by=self._sensor if call.sensor else "", site="" if call.sensor else self._site,
            caller_name=names[0][0], caller=names[0][1], caller_domain=names[0][2],
            callee_name=names[1][0], callee=names[1][1], callee_domain=names[1][2],
            setup_time=call.setup, ring_time=call.ring, answer_time=call.answer, end_time=end,
            duration=round(max(end - call.setup, 0) / 1e9, 6),
            connect_duration=round(max(end - call.answer, 0) / 1e9, 6) if call.answer else 0.0,
            pdd=round((first - call.setup) / 1e9, 6) if first else None, final_response=call.final,
            reason=call.reason, hung_up_by=call.hung_up_by, end_reason=end_reason,
            retransmissions=call.retransmissions, user_agent_caller=call.agents.get("caller", ""),
            user_agent_callee=call.agents.get("callee", ""), src=call.src, dst=call.dst, transport=call.transport,
            one_way=bool(call.answer and heard and silent and call.may_send(*silent)), partial=bool(reasons),
            partial_reasons=reasons, seen=self._seen(call, heard), legs=len(call.branches), holds=call.holds,
            t38=call.fax, dtmf=call.digits.get("caller", "") if self._digits else "",
            dtmf_callee=call.digits.get("callee", "") if self._digits else "",
            referred_to=call.referred_to, replaces=sip.show(call.replaces), drops=call.drops,
            views=len(call.views | {stream.sensor for stream in claimed}) or 1, streams=streams,
            media=self._silent(call, call.first.call_id, streams),
            clock_offset_ms=self.offsets.get(call.sensor),
        )  # fmt: skip
        return record if self._keep is None else mask_record(record, self._keep)

    @staticmethod
    def _seen(call: Dialog, heard: set[str]) -> list[str]:
        signalled = {side for side, _ in call.methods}
        return [f"{side}_{kind}" for kind, sides in (("sip", signalled), ("rtp", heard))
                for side in ("caller", "callee") if side in sides]  # fmt: skip

    def _silent(self, call: Dialog, key: bytes, streams: list[StreamRecord]) -> list[MediaRecord]:
        """Where it takes media and none of the streams went: another sensor may have seen it there."""
        reached, found = {stream.dst for stream in streams}, []
        for endpoint, (side, media) in call.media.items():
            if media.kind == "audio" and show(endpoint) not in reached:
                until = self._media.endpoints.until(key, endpoint)
                codecs = {pt: said for pt, said in media.codecs.items() if said != sdp.STATIC.get(pt)}
                found.append(MediaRecord(
                    side=side, address=show(endpoint), codecs=codecs, ptime=media.ptime, secure=media.secure,
                    awaited=call.may_send(OTHER[side]), until=until if until < OPEN else 0))  # fmt: skip
        return found

    def _stream(self, stream: Stream, call: Dialog) -> StreamRecord:
        """As the SDP of its receiver names it; where it has none, that of its sender."""
        side, media = call.media.get(stream.dst) or (None, None)
        direction = OTHER.get(side, "")
        if media is None:
            direction, media = call.media[stream.src]
        elif (other := call.media.get(stream.src)) and other[0] == side:
            direction = ""  # from a side to itself: a loop, or one address for both
        return self.describe(stream, direction, media)

    def blank(self, sensor: str) -> CallRecord:
        """A record of nothing yet; `sensor` saw it, empty for this instance."""
        return CallRecord(uuid=b"", call_id="", setup_time=0, sensor=sensor or self._sensor,
                          analysed_by=self._sensor if sensor else "", site="" if sensor else self._site,
                          clock_offset_ms=self.offsets.get(sensor))  # fmt: skip

    def describe(self, stream: Stream, direction: str, media: sdp.Media) -> StreamRecord:
        """Its codec is the first payload type that is audio."""
        names = {pt: media.codecs.get(pt, ("", 0))[0] or sdp.STATIC.get(pt, ("", 0))[0] for pt in stream.types}
        codec = next((name for _, name in sorted(names.items()) if name and name.upper() not in NO_AUDIO), "")
        figures = self._media.table.result(stream.row)
        r, mos = emodel.quality(codec, *(figures[n] for n in ("expected", "lost", "loss_bursts", "discarded")))
        figures["ptime"] = figures["ptime"] or media.ptime
        reported = self._reports.of(stream.src[:2], stream.dst[:2], stream.ssrc, self._media.table.rate(stream.row))
        return StreamRecord(
            direction=direction, sensor=stream.sensor or self._sensor, src=show(stream.src), dst=show(stream.dst),
            ssrc=stream.ssrc, codec=codec, payload_types=sorted(stream.types), r_factor=r, mos=mos,
            dtmf=stream.digits if self._digits else "", markers=self._media.markers(stream), srtp=media.secure,
            **figures, **({} if media.secure else reported),
        )  # fmt: skip
