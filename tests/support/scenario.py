"""A capture written as a play: SIP messages and RTP streams at given seconds, then what the analyser makes of it."""

import json
import struct

import numpy as np
from support.packets import frame, ip, udp
from voipfleet.calls import record
from voipfleet.calls.analyser import Analyser, AnalyserSettings
from voipfleet.capture.block import Block

START = 1_700_000_000_000_000_000
A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def sdp(host: str, port: int, *lines: str, types: str = "0", kind: str = "audio", protocol: str = "RTP/AVP") -> str:
    rest = "".join(f"{line}\r\n" for line in lines)
    media = f"m={kind} {port} {protocol} {types}\r\n"
    return f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n{media}{rest}"


class Play:
    """Times are seconds from the start."""

    def __init__(self, call: str = "call-1"):
        self.packets: list[tuple[int, bytes]] = []
        self.call = call
        self._branch = 0

    def raw(self, at: float, packet: bytes, copies: tuple[float, ...] = ()) -> None:
        for later in (0.0, *copies):
            self.packets.append((START + round((at + later) * 1e9), frame(packet)))

    def sip(self, at: float, src: str, dst: str, line: str, cseq: str, *headers: str, body: str = "", to: str = "",
            sender: str = "a", branch: str = "", call: str = "", content: str = "application/sdp",
            copies: tuple[float, ...] = ()) -> None:  # fmt: skip
        """`to` and `sender`: the tags; a new branch for each message unless given."""
        self._branch += 1
        first = f"SIP/2.0 {line}" if line[0].isdigit() else f"{line} sip:x SIP/2.0"
        lines = [first, f"Via: SIP/2.0/UDP {src};branch=z9hG4bK{branch or self._branch}",
                 f"From: <sip:alice@a>;tag={sender}", "To: <sip:bob@b>" + (f";tag={to}" if to else ""),
                 f"Call-ID: {call or self.call}", f"CSeq: {cseq}", *headers,
                 *([f"Content-Type: {content}"] if body else []), f"Content-Length: {len(body)}", "", body]  # fmt: skip
        packet = ip(udp("\r\n".join(lines).encode(), 5060, 5060), src=src, dst=dst, ident=self._branch)
        self.raw(at, packet, copies)

    def rtp(self, at: float, src: tuple[str, int], dst: tuple[str, int], count: int, ssrc: int = 1, pt: int = 0,
            seq: int = 100, stamp: int = 0, step: float = 0.02, ticks: int = 160, lost=(), payload: bytes = bytes(160),
            copies: tuple[float, ...] = (), marker: bool = False) -> None:  # fmt: skip
        """`count` packets every `step` s with `ticks` between their time stamps; the numbers in `lost` are left out."""
        for n in range(count):
            if n in lost:
                continue
            head = struct.pack("!BBHII", 0x80, pt | (128 if marker and not n else 0), (seq + n) & 0xFFFF,
                               (stamp + n * ticks) & 0xFFFFFFFF, ssrc)  # fmt: skip
            packet = ip(udp(head + payload, src[1], dst[1]), src=src[0], dst=dst[0], ident=(ssrc * 7 + n) & 0xFFFF)
            self.raw(at + n * step, packet, copies)

    def answered(self, at: float = 0.0, a=(A, 4000), b=(B, 5000), offer: str = "", answer: str = "", **names) -> None:
        """INVITE, 180 after 0.1 s, 200 after 0.2 s, ACK."""
        self.sip(at, A, B, "INVITE", "1 INVITE", body=offer or sdp(*a), **names)
        self.sip(at + 0.1, B, A, "180 Ringing", "1 INVITE", to="b", **names)
        self.sip(at + 0.2, B, A, "200 OK", "1 INVITE", to="b", body=answer or sdp(*b), **names)
        self.sip(at + 0.21, A, B, "ACK", "1 ACK", to="b", **names)

    def bye(self, at: float, **names) -> None:
        """From the caller, answered."""
        self.sip(at, A, B, "BYE", "2 BYE", to="b", **names)
        self.sip(at + 0.01, B, A, "200 OK", "2 BYE", to="b", **names)

    def calls(self, block: int = 1 << 20, until: float = 0.0, counters: dict | None = None, **settings):
        """The records, by blocks of `block` packets; `until`: the clock goes on to there."""
        analyser = Analyser(AnalyserSettings(dtmf2db=True, **settings), sensor="s")
        out = self.into(analyser, block)
        if until:
            out += analyser.tick(START + round(until * 1e9))
        out += analyser.finish()
        if counters is not None:
            counters.update(analyser.counters)
        return sorted(out, key=lambda call: (call.setup_time, call.call_id, call.revision))

    def into(self, analyser, block: int = 1 << 20) -> list:
        """Feed an analyser with it; the records of calls that ended."""
        out, packets = [], sorted(self.packets, key=lambda packet: packet[0])
        for at in range(0, len(packets), block):
            part = packets[at : at + block]
            sizes = np.array([len(packet) for _, packet in part], np.int64)
            out += analyser.feed(Block(
                data=np.frombuffer(b"".join(packet for _, packet in part), np.uint8), caplen=sizes, wirelen=sizes,
                ts=np.array([ts for ts, _ in part], np.int64), offset=np.cumsum(sizes) - sizes))  # fmt: skip
        return out

    def the_call(self, **arguments):
        """The one record; the same for every size of block."""
        (call,) = self.calls(**arguments)
        for size in (1, 7):
            (other,) = self.calls(**{**arguments, "counters": None, "block": size})
            assert plain(other) == plain(call), f"blocks of {size} packets give another record"
        return call


def plain(call) -> dict:
    """A record without what is drawn at random."""
    return {**json.loads(record.to_json(call)), "uuid": None}
