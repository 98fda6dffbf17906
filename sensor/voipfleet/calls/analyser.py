"""Blocks in, call records out: SIP dialogs joined with RTP streams in any order of arrival. No I/O."""

import ipaddress
import os
from dataclasses import dataclass

import numpy as np

from voipfleet.calls import emodel
from voipfleet.calls.dialog import Dialog, Endpoint
from voipfleet.calls.media import Media, Stream
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.calls.reports import Reports
from voipfleet.capture.block import Block
from voipfleet.decode import frames, rtcp, rtp, sdp, sip
from voipfleet.decode.columns import Packets

SECOND = 1_000_000_000
LINGER = SECOND // 2  # late RTP after the end of a call
RETRY = 60 * SECOND  # a caller who is asked for a password may have to ask a person for it
PATIENCE = 2 * SECOND  # how often all open calls are looked at: their timeouts are minutes
GRID = SECOND // 10  # records leave at these times, so that the cut into blocks changes nothing
MAX_CALLS, MAX_CALL_STREAMS = 20_000, 64
COUNTERS = ("packets", "ignored", "held", "made", "sip", "sip_errors", "rtp", "rtcp", "other", "drops", "calls",
            "calls_evicted", "streams_refused")  # fmt: skip


@dataclass(frozen=True)
class AnalyserSettings:
    """Keys of the configuration that the analysis reads (seconds; `jitterbuffer` ms)."""

    sipport: tuple[int, ...] = (5060,)
    absolute_timeout: int = 14400
    rtptimeout: int = 300
    sipwithoutrtptimeout: int = 3600
    onewaytimeout: int = 15
    bye_timeout: int = 1200
    jitterbuffer: int = 100
    dtmf2db: bool = False

    @classmethod
    def from_config(cls, config) -> "AnalyserSettings":
        values = {name: getattr(config, name) for name in cls.__dataclass_fields__}
        return cls(**{**values, "sipport": tuple(values["sipport"])})


def _clock(packets: Packets, index: np.ndarray) -> np.ndarray:
    """The times of the packets at `index`, none earlier than the one before."""
    return np.maximum.accumulate(packets.ts[index]) if len(index) else packets.ts[:0]


def _show(endpoint: Endpoint) -> str:
    ip = ipaddress.IPv6Address(endpoint[0] << 64 | endpoint[1])
    return f"{ip.ipv4_mapped}:{endpoint[2]}" if ip.ipv4_mapped else f"[{ip}]:{endpoint[2]}"


class Analyser:
    """The analysis of one sensor. `feed` blocks, `tick` with the wall clock where live, `finish` once."""

    def __init__(self, settings: AnalyserSettings | None = None, sensor: str = "", site: str = ""):
        self.settings = settings or AnalyserSettings()
        self.sensor, self.site = sensor, site
        self.counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self._sip = np.zeros(65536, bool)
        self._sip[list(self.settings.sipport)] = True
        self._decoder = frames.Decoder(self._sip, self._count)
        self._calls: dict[bytes, Dialog] = {}
        self._ended: dict[bytes, int] = {}  # Call-IDs of emitted calls: late messages make no second call
        self._media = Media(self.settings.jitterbuffer, self._count)
        self._reports = Reports(self._count)
        self._over: set[bytes] = set()  # calls that have ended and linger for late RTP
        self._now = 0
        self._due = self._look = 0  # when something may leave next; when all calls are looked at next

    @property
    def active_calls(self) -> int:
        return len(self._calls)

    def _count(self, name: str, by: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + by

    def feed(self, block: Block) -> list[CallRecord]:
        """One block; the records of calls that ended."""
        packets = self._decoder.parse(block)
        self._count("packets", len(block))
        self._count("held", packets.held)
        self._count("made", packets.made + packets.lost)
        self._count("drops", block.drops)
        for reason, number in packets.ignored.items():
            self._count("ignored", number)
            self._count(f"ignored_{reason}", number)
        if block.drops:
            for call in self._calls.values():
                call.drops += block.drops
        signalling = self._sip[packets.sport] | self._sip[packets.dport]
        found = rtp.parse(packets, ~signalling)
        self._count("rtp", len(found.index))
        self._count("rtcp", len(found.control))
        self._count("other", int(np.count_nonzero(~signalling)) - len(found.index) - len(found.control))
        return self._in_time(block, packets, np.nonzero(signalling)[0], found) if len(block) else []

    def _in_time(self, block: Block, packets: Packets, messages: np.ndarray, media: rtp.Rtp) -> list[CallRecord]:
        """Messages and media up to each moment at which a record may leave, then the record: as if packet by packet."""
        out: list[CallRecord] = []
        clock, heard = _clock(packets, media.index), _clock(packets, media.control)
        done = told = 0

        def upto(moment: int) -> None:
            nonlocal done, told
            start, done = done, max(done, int(np.searchsorted(clock, moment)))
            self._media.feed(packets, media.part(start, done))
            start, told = told, max(told, int(np.searchsorted(heard, moment)))
            for at in media.control[start:told].tolist():
                self._control(packets, at)

        times = packets.ts[messages].tolist()
        self._start(int(block.ts[0]))
        for at, ts in [*zip(messages.tolist(), times, strict=True), (-1, int(block.ts.max()))]:
            while ts >= self._due:
                upto(self._due)
                out += self._turn(ts)
            if at >= 0:
                out += self._message(packets, at)
        upto(1 << 62)
        self._now = max(self._now, ts)
        return out

    def _control(self, packets: Packets, at: int) -> None:
        start = int(packets.start[at])
        try:
            found = rtcp.parse(packets.data[start : start + int(packets.length[at])].tobytes())
        except sip.ParseError as error:
            self._count("rtcp_errors")
            self._count(f"rtcp_error_{error}")
            return
        hosts = [(int(high[at]), int(low[at])) for high, low in
                 ((packets.src_hi, packets.src_lo), (packets.dst_hi, packets.dst_lo))]  # fmt: skip
        self._reports.take(int(packets.ts[at]), *hosts, found)

    def _message(self, packets: Packets, at: int) -> list[CallRecord]:
        start, ts = int(packets.start[at]), int(packets.ts[at])
        data = packets.data[start : start + int(packets.length[at])].tobytes()
        self._count("sip")
        if not data.strip(b"\r\n\0 "):
            return []
        out = []
        try:
            message = sip.parse(data)
            call = self._calls.get(message.call_id)
            if call is None:
                fresh = message.method == "INVITE" and not message.status and message.call_id not in self._ended
                if not fresh or sip.tag(message.headers[b"to"]):
                    return []
                if len(self._calls) >= MAX_CALLS:
                    half_open = (k for k, c in self._calls.items() if not c.answer)
                    self._count("calls_evicted")
                    out.append(self._emit(next(half_open, next(iter(self._calls))), "evicted", partial=True))
                ends = [
                    _show((int(h[at]), int(low[at]), int(port[at])))
                    for h, low, port in (
                        (packets.src_hi, packets.src_lo, packets.sport),
                        (packets.dst_hi, packets.dst_lo, packets.dport),
                    )
                ]
                call = self._calls[message.call_id] = Dialog(message, ts, *ends)
            for endpoint in call.take(message, ts):
                self._media.name(endpoint, call.media[endpoint][1])
            if call.state == "ended":
                self._over.add(message.call_id)
                self._due = min(self._due, self._leaves(call))
        except sip.ParseError as error:
            self._count("sip_errors")
            self._count(f"sip_error_{error}")
        return out

    def _claim(self, call: Dialog) -> list[Stream]:
        return self._media.claim(call.media, call.setup, MAX_CALL_STREAMS)

    def tick(self, now_ns: int) -> list[CallRecord]:
        """Records of calls that have ended by `now_ns` (same clock as the packets)."""
        out = []
        self._start(now_ns)
        while now_ns >= self._due:
            out += self._turn(now_ns)
        self._now = max(self._now, now_ns)
        return out

    def _start(self, ts: int) -> None:
        if not self._look:
            self._look = self._due = (ts // PATIENCE + 1) * PATIENCE

    def _turn(self, until: int) -> list[CallRecord]:
        """What is due at `_due`; then the next such moment, at the latest that after `until` where no call is up."""
        self._now = max(self._now, self._due)
        out = []
        for key in list(self._over):
            call = self._calls.get(key)
            if call is None or call.state != "ended":
                self._over.discard(key)
            elif self._leaves(call) <= self._due:
                out.append(self._emit(key, self._why(call)))
        if self._due >= self._look:
            for key, call in list(self._calls.items()):
                if call.state != "ended" and (why := self._expired(call)):
                    out.append(self._emit(key, why))
            self._forget()
            self._look = ((self._due if self._calls else max(until, self._due)) // PATIENCE + 1) * PATIENCE
        self._due = min([self._look, *(self._leaves(self._calls[key]) for key in self._over)])
        return out

    def _leaves(self, call: Dialog) -> int:
        return -(-(call.last + LINGER) // GRID) * GRID

    def _why(self, call: Dialog) -> str:
        return "cancel" if call.cancelled else "bye" if call.hung_up_by else "rejected"

    def _expired(self, call: Dialog) -> str | None:
        s, age = self.settings, self._now - call.setup
        quiet = self._now - call.last
        if age > s.absolute_timeout * SECOND:
            return "timeout"
        if call.state == "auth":
            return "rejected" if quiet > RETRY else None
        if call.state == "closing":
            return "bye" if quiet > s.bye_timeout * SECOND else None
        if call.state == "calling" and not call.heard:
            return "timeout" if quiet > s.onewaytimeout * SECOND else None
        if call.state == "answered":
            last = max(map(self._media.last, self._claim(call)), default=0)
            if last and self._now - max(last, call.last) > s.rtptimeout * SECOND:
                return "rtp_timeout"
            return "timeout" if not last and quiet > s.sipwithoutrtptimeout * SECOND else None
        return "timeout" if quiet > s.sipwithoutrtptimeout * SECOND else None

    def _forget(self) -> None:
        before = self._now - 60 * SECOND
        self._ended = {k: t for k, t in self._ended.items() if t > before}
        self._reports.forget(before)
        self._media.forget(before, {endpoint for call in self._calls.values() for endpoint in call.media})

    def finish(self, end_reason: str = "end_of_capture") -> list[CallRecord]:
        """Records of all calls that are left; those still open are partial and end by `end_reason`."""
        out = []
        # The newest first: where two are still open on the same ports, what was sent since is the newer one's.
        for key, call in reversed(list(self._calls.items())):
            done = call.state in ("ended", "closing", "auth")
            out.append(self._emit(key, self._why(call) if done else end_reason, partial=not done))
        return out[::-1]

    def _emit(self, key: bytes, end_reason: str, partial: bool = False) -> CallRecord:
        call = self._calls.pop(key)
        self._over.discard(key)
        self._ended[key] = self._now
        self._count("calls")
        claimed = self._claim(call)
        streams = [self._record(stream, call) for stream in claimed]
        for stream in claimed:
            self._media.drop(stream)
        end = call.end or max([call.last, *(stream.last for stream in streams)])
        names = [sip.party(call.first.headers[h]) for h in (b"from", b"to")]
        heard = {stream.direction for stream in streams}
        first = call.progress or (call.end if call.final >= 300 else call.answer)
        return CallRecord(
            uuid=os.urandom(16), call_id=sip.show(key), sensor=self.sensor, site=self.site,
            caller_name=names[0][0], caller=names[0][1], caller_domain=names[0][2],
            callee_name=names[1][0], callee=names[1][1], callee_domain=names[1][2],
            setup_time=call.setup, ring_time=call.ring, answer_time=call.answer, end_time=end,
            duration=round(max(end - call.setup, 0) / 1e9, 6),
            connect_duration=round(max(end - call.answer, 0) / 1e9, 6) if call.answer else 0.0,
            pdd=round((first - call.setup) / 1e9, 6) if first else None, final_response=call.final,
            reason=call.reason, hung_up_by=call.hung_up_by, end_reason=end_reason,
            retransmissions=call.retransmissions, user_agent_caller=call.agents.get("caller", ""),
            user_agent_callee=call.agents.get("callee", ""), src=call.src, dst=call.dst,
            one_way=bool(call.answer and len(heard - {""}) == 1), partial=partial, drops=call.drops, streams=streams,
        )  # fmt: skip

    def _record(self, stream: Stream, call: Dialog) -> StreamRecord:
        side, media = call.media.get(stream.dst) or (None, None)
        direction = {"caller": "callee", "callee": "caller"}.get(side, "")
        if media is None:
            direction, media = call.media[stream.src]
        codec = ""
        for pt in sorted(stream.types):
            name = media.codecs.get(pt, ("", 0))[0] or sdp.STATIC.get(pt, ("", 0))[0]
            if name and name not in ("CN", "telephone-event"):
                codec = name
                break
        figures = self._media.table.result(stream.row)
        r, mos = emodel.quality(codec, *(figures[n] for n in ("expected", "lost", "loss_bursts", "discarded")))
        return StreamRecord(
            direction=direction, sensor=self.sensor, src=_show(stream.src), dst=_show(stream.dst), ssrc=stream.ssrc,
            codec=codec, payload_types=sorted(stream.types), ptime=media.ptime, r_factor=r, mos=mos,
            dtmf=stream.digits if self.settings.dtmf2db else "", **figures,
            **self._reports.of(stream.src[:2], stream.dst[:2], stream.ssrc, self._media.table.rate(stream.row)),
        )  # fmt: skip
