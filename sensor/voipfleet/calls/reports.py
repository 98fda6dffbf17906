"""What RTCP said of streams, kept beside our own figures until a call claims them."""

from dataclasses import dataclass

from voipfleet.decode import rtcp
from voipfleet.decode.columns import Packets
from voipfleet.decode.rtcp import Metrics, Received, Sent
from voipfleet.decode.sip import ParseError

MAX_STREAMS = 16_384  # with reports at one time; beyond it the oldest go, counted
KEEP_SENT = 16  # sender reports of a stream that a receiver may still answer


@dataclass(slots=True)
class Report:
    """The last word on one stream. `rtt_ns`: from here to its receiver and back, the mean of `answers`."""

    lost: int | None = None
    jitter: int | None = None  # RTP ticks
    mos: float | None = None
    delay_ms: int | None = None
    rtt_ns: int = 0
    answers: int = 0
    seen: int = 0  # ns


class Reports:
    """By (the hosts between which a stream runs, its SSRC): ports differ between RTP and RTCP."""

    def __init__(self, count):
        self._count = count
        self._reports: dict[tuple, Report] = {}
        self._sent: dict[tuple, dict[int, int]] = {}  # of a stream: ntp -> when its sender report passed here

    def read(self, packets: Packets, at: int) -> int | None:
        """The RTCP packet in a row of the packets; the SSRC that it is about. None, and counted: it is none."""
        start = int(packets.start[at])
        data = packets.data[start : start + int(packets.length[at])].tobytes()
        try:
            found = rtcp.parse(data)
        except ParseError as error:
            self._count("rtcp_errors")
            self._count(f"rtcp_error_{error}")
            return None
        src, dst = packets.ends(at)
        self.take(int(packets.ts[at]), src[:2], dst[:2], found)
        return found[0].ssrc if found else int.from_bytes(data[4:8], "big")

    def take(self, ts: int, src: tuple[int, int], dst: tuple[int, int], found: list[Sent | Received | Metrics]) -> None:
        """One compound packet from host `src` to host `dst`, seen at `ts` (ns)."""
        for part in found:
            if isinstance(part, Sent):
                sent = self._sent.setdefault((src, dst, part.ssrc), {})
                sent[part.ntp] = ts
                if len(sent) > KEEP_SENT:
                    del sent[next(iter(sent))]
                continue
            # A report about a stream goes against it: from its receiver to its sender.
            key = (dst, src, part.ssrc)
            report = self._reports.setdefault(key, Report())
            report.seen = ts
            if isinstance(part, Metrics):
                report.mos = part.mos if part.mos is not None else report.mos
                report.delay_ms = part.delay_ms if part.delay_ms is not None else report.delay_ms
            else:
                report.lost, report.jitter = part.lost, part.jitter
                passed = self._sent.get(key, {}).get(part.ntp) if part.ntp else None
                if passed is not None and (rtt := ts - passed - part.delay * 1_000_000_000 // 65536) >= 0:
                    report.rtt_ns += rtt
                    report.answers += 1
        for kept in (self._reports, self._sent):
            while len(kept) > MAX_STREAMS:
                del kept[next(iter(kept))]
                self._count("rtcp_forgotten")

    def of(self, src: tuple[int, int], dst: tuple[int, int], ssrc: int, rate: int) -> dict:
        """The fields of a StreamRecord about the stream from host `src` to host `dst`."""
        report = self._reports.get((src, dst, ssrc))
        if report is None:
            return {}
        return {
            "rtcp_lost": report.lost,
            "rtcp_jitter_ms": None if report.jitter is None else round(report.jitter * 1000 / rate, 3),
            "rtcp_mos": report.mos,
            "rtcp_rtt_ms": round(report.rtt_ns / report.answers / 1e6, 3) if report.answers else None,
            "rtcp_delay_ms": report.delay_ms,
        }

    def drop(self, src: tuple[int, int], dst: tuple[int, int], ssrc: int) -> None:
        """The stream is over."""
        self._sent.pop((src, dst, ssrc), None)
        self._reports.pop((src, dst, ssrc), None)

    def forget(self, before: int) -> None:
        """Drop reports about streams that nobody has claimed, and sender reports that nobody can answer any more."""
        self._reports = {key: report for key, report in self._reports.items() if report.seen >= before}
        self._sent = {key: sent for key, sent in self._sent.items() if max(sent.values()) >= before}
