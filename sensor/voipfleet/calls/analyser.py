"""Blocks in, call records out: SIP dialogs joined with RTP streams in any order of arrival. No I/O."""

from collections.abc import Callable, Collection, Iterator
from functools import partial

import numpy as np

from voipfleet.calls import ending
from voipfleet.calls.checkpoints import Checkpoints, News
from voipfleet.calls.clocks import Clocks
from voipfleet.calls.dialog import Dialog, Endpoint, show
from voipfleet.calls.keeping import Keeper
from voipfleet.calls.left import Left
from voipfleet.calls.making import Maker
from voipfleet.calls.media import Media
from voipfleet.calls.record import CallRecord
from voipfleet.calls.registrations import Registrations
from voipfleet.calls.repeats import Repeats
from voipfleet.calls.reports import Reports
from voipfleet.calls.settings import AnalyserSettings
from voipfleet.calls.signalling import Signalling
from voipfleet.calls.unclaimed import Unclaimed
from voipfleet.capture.block import Block
from voipfleet.decode import frames, rtp, sip
from voipfleet.decode.columns import Packets

SECOND = 1_000_000_000
PATIENCE = 2 * SECOND  # how often all open calls are looked at: their timeouts are minutes
KEEP = 300 * SECOND  # for which streams wait for the call that they are of, where SIP comes from other hosts
COUNTERS = ("packets", "ignored", "held", "made", "sip", "sip_errors", "rtp", "rtcp", "other", "drops", "calls",
            "calls_evicted", "streams_refused", "streams_evicted", "span_duplicates")  # fmt: skip


def _clock(packets: Packets, index: np.ndarray) -> np.ndarray:
    """The times of the packets at `index`, none earlier than the one before."""
    return np.maximum.accumulate(packets.ts[index]) if len(index) else packets.ts[:0]


class Analyser:
    """The analysis of one sensor. `feed` blocks, `tick` with the wall clock where live, `finish` once.

    `on_message(message, ts, src, dst, transport)` is told of every SIP message that could be parsed; `keep` of all
    packets that may be kept.
    """

    def __init__(self, settings: AnalyserSettings | None = None, sensor: str = "", site: str = "",
                 on_message: Callable[[sip.Message, int, str, str, str], None] | None = None,
                 keep: Keeper | None = None):  # fmt: skip
        self.settings = s = settings or AnalyserSettings()
        self.counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self._on_message, self._keep = on_message, keep
        self._sip = np.zeros(65536, bool)
        self._sip[list(s.sipport)] = True
        self._decoder = frames.Decoder(self._sip, self._count, pieces=keep is not None)
        window = round(s.deduplicate_window * 1_000_000) if s.deduplicate else -1
        self._repeats = Repeats(window, self._count)
        self._calls = Signalling(self._count, dict(s.natalias))
        of_rtp = keep if keep and keep.rtp else None
        self._media = Media(s.jitterbuffer, window, self._count, self._calls.answered, of_rtp)
        self._reports = Reports(self._count)
        self._maker = Maker(sensor, site, s.dtmf2db, self._media, self._reports, s.number_keep_last)
        self._unclaimed = Unclaimed(self._media, self._maker) if s.stream_records else None
        self._registrations = Registrations(sensor, site, self._count, s.number_keep_last)
        self._checkpoints = Checkpoints(self._calls.get, self._news) if s.checkpoints else None
        self._over: set[bytes] = set()  # calls that have ended and linger for late RTP
        self._left = Left(self._media, self._maker, self._reports, s.late, ending.GRID)
        self._now = 0
        self._clocks = Clocks()
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
            if self._unclaimed:
                self._unclaimed.dropped(block.sensor, self._now, block.drops)
            for _, call in self._calls:
                if block.sensor in call.views:
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
            self._media.feed(packets, media.only(slice(start, done)), block.sensor)
            start, told = told, max(told, int(np.searchsorted(heard, moment)))
            for at in media.control[start:told].tolist():
                ssrc = self._reports.read(packets, at)
                if ssrc is not None and self._keep:
                    self._keep.report(at, ssrc)

        if self._keep:
            self._keep.begin(block, packets)
        self._start(int(block.ts[0]))
        names = ("ts", "ip", "start", "length", "src_hi", "src_lo", "sport", "dst_hi", "dst_lo", "dport", "transport")
        columns = (getattr(packets, name)[messages].tolist() for name in names)
        for row, ts, ip, start, length, *ends, transport in zip(messages.tolist(), *columns, strict=True):
            while ts >= self._due:
                upto(self._due)
                out += self._turn(ts)
            data = packets.data[start : start + length].tobytes()
            self._count("sip")
            ident = -1 if ip < 0 else (int(packets.data[ip + 4]) << 8 | int(packets.data[ip + 5]))
            src, dst = tuple(ends[:3]), tuple(ends[3:])
            if not self._repeats.twice(ts, src, dst, ident, block.sensor, data):
                out += self._message(data, row, ts, src, dst, "tcp" if transport else "udp", block.sensor, upto)
        last = int(block.ts.max())
        while last >= self._due:
            upto(self._due)
            out += self._turn(last)
        upto(1 << 62)
        if self._keep:
            self._keep.end()
        self._now = max(self._now, last)
        self._hear(block.sensor, last)
        return out

    def clock(self, sensor: str, now_ns: int = 0, offset_ms: float | None = None) -> None:
        """What another host says of itself: all that it captured before `now_ns` was fed; how far its clock is off."""
        if offset_ms is not None:
            self._maker.offsets[sensor] = offset_ms
        self._hear(sensor, now_ns)

    def _hear(self, sensor: str, now: int) -> None:
        if gone := self._clocks.told(sensor, now):
            self._count("sensors_forgotten")
            self._maker.offsets.pop(gone, None)

    def _time(self, sensors: Collection[str]) -> int:
        return self._clocks.of(sensors, self._now)

    def _told(self, sensor: str) -> int:
        return self._time({sensor})

    def _message(self, data: bytes, row: int, ts: int, src: Endpoint, dst: Endpoint, transport: str, sensor: str,
                 upto: Callable[[int], None]) -> list[CallRecord]:  # fmt: skip
        """The message in a row of the packets; `upto` takes the media before it, where it says something else of them
        than was said so far."""
        if not data.strip(b"\r\n\0 "):
            self._count("sip_keepalives")
            return []
        out: list[CallRecord] = []
        try:
            message = sip.parse(data)
            if self._on_message:
                self._on_message(message, ts, show(src), show(dst), transport)
            if self._keep and (message.method == "REGISTER" or self._calls.concerns(message)):
                self._keep.message(row, data, message.call_id)
            if not self._calls.belongs(message):
                return self._apart(message, ts, show(src), show(dst), transport)
            key = message.call_id
            call = self._calls.get(key)
            if call is None:
                while (other := self._calls.crowded(show(src))) is not None:
                    self._count("calls_evicted")
                    out.append(self._emit(other, "evicted", ["evicted"]))
                if key in self._left:
                    out += self._left.settle(key)
                call = self._calls.open(message, ts, show(src), show(dst), transport, sensor)
                if self._checkpoints:
                    self._checkpoints.opened(key, call)
            for endpoint in self._calls.take(call, message, ts, (src, dst), sensor):
                media = call.media[endpoint][1]
                if self._media.endpoints.changes(endpoint, media):
                    upto(ts)
                self._media.name(endpoint, media, key, ts)
            if call.state == "ended":
                call.told = self._now if sensor else 0  # what comes late from another host comes in its order
                self._over.add(key)
                self._due = min(self._due, ending.leaves(call))
        except sip.ParseError as error:
            self._count("sip_errors")
            self._count(f"sip_error_{error}")
        return out

    def _apart(self, message: sip.Message, ts: int, src: str, dst: str, transport: str) -> list[CallRecord]:
        """A message of no call that is up."""
        if message.method == "REGISTER":
            return self._registrations.take(message, ts, src, dst, transport)
        return self._left.bye(message, ts) if message.method == "BYE" and not message.status else []

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
            elif ending.leaves(call) <= self._due:
                out.append(self._emit(key, ending.why(call)))
        if self._left:
            out += self._left.over(self._time(set(self._clocks)))
        if self._due >= self._look:
            for key, call in self._calls:
                if call.state != "ended" and call.wake < self._now:
                    told = self._time(call.views)
                    when, why = ending.expires(call, self.settings, partial(self._heard, key, call), told)
                    if when < told:
                        out.append(self._emit(key, why))
            out += self._registrations.expire(self._now)
            if self._unclaimed:
                out += self._unclaimed.silent(self._told)
            self._forget()
            quiet = max(self._due, min(until, self._registrations.next))
            busy = len(self._calls) or (self._unclaimed and self._unclaimed.busy)
            self._look = ((self._due if busy else quiet) // PATIENCE + 1) * PATIENCE
        self._due = min([self._look, *(ending.leaves(self._calls.get(key)) for key in self._over),
                         *self._left.after(self._due)])  # fmt: skip
        return out

    def _forget(self) -> None:
        keep = KEEP if self.settings.late else 60 * SECOND
        self._calls.forget(self._now)
        self._reports.forget(self._now - keep)
        self._media.forget({sensor: self._told(sensor) - keep for sensor in self._clocks})
        self._left.forget()

    def finish(self, end_reason: str = "end_of_capture") -> list[CallRecord]:
        """Records of all calls that are left; those still open are partial and end by `end_reason`."""
        out = []
        for key, call in self._calls:
            out.append(self._emit(key, *ending.cut(call, end_reason)))
        out += self._left.finish()
        return out + (self._unclaimed.finish(end_reason, self._told) if self._unclaimed else [])

    def checkpoints(self, now: float) -> tuple[Iterator[CallRecord], Iterator[CallRecord]]:
        """Open calls as their records would be if this process were killed now, made as they are taken: first those
        without which other hosts may not be told that their packets are safe, then those that are due at `now`
        (time.monotonic). After each turn."""
        return tuple(map(self._as_cut, (self._checkpoints.begun(now), self._checkpoints.due())))

    def look(self, uuid: bytes) -> CallRecord | None:
        """An open call as its record would be now."""
        found = ((key, call) for key, call in self._calls if call.uuid == uuid)
        return next(self._as_cut(found), None)

    def _as_cut(self, found: Iterator[tuple[bytes, Dialog]]) -> Iterator[CallRecord]:
        for key, call in found:
            streams = self._media.claim(key, call.media, call.setup)
            yield self._maker.make(call, streams, *ending.cut(call, "sensor_restart"))

    def _heard(self, key: bytes, call: Dialog) -> int:
        """When the newest packet of its streams came; 0: none has."""
        return max(map(self._media.last, self._media.claim(key, call.media, call.setup)), default=0)

    def _news(self, key: bytes, call: Dialog) -> News:
        return call.last, call.drops, self._heard(key, call)

    def _emit(self, key: bytes, end_reason: str, partial: list[str] | None = None) -> CallRecord:
        call = self._calls.remove(key, self._now)
        self._over.discard(key)
        self._count("calls")
        streams = self._media.claim(key, call.media, call.setup)
        record = self._maker.make(call, streams, end_reason, partial or [])
        until = self._left.add(key, call, record, partial or [], streams, self._now)
        if until is not None:
            self._due = min(self._due, until)
        return record
