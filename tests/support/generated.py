"""Calls of every kind, made up from a seed, with what a correct analysis must say of each.

The truth is written down while the packets are made, and by counting what was put on the wire, never by the code under
test. Hosts and ports are used again by later calls, as on a real PBX.
"""

import random
import struct
from dataclasses import dataclass, field

from support.wire import Wire

START, SECOND, MS = 1_700_000_000_000_000_000, 1_000_000_000, 1_000_000
WAVE, PAIRS = 250, 25  # calls at about the same time, pairs of hosts that they run between
# rtpmap name, clock rate, payload type, ms a packet, bytes of payload
CODECS = (("PCMU", 8000, 0, 20, 160), ("PCMA", 8000, 8, 20, 160), ("PCMA", 8000, 8, 10, 80), ("G729", 8000, 18, 20, 20),
          ("G722", 8000, 9, 20, 160), ("GSM", 8000, 3, 20, 33), ("opus", 48000, 96, 20, 60), ("iLBC", 8000, 97, 30, 50),
          ("AMR-WB", 16000, 98, 20, 61))  # fmt: skip
KINDS = ("plain", "plain", "plain", "faults", "faults", "faults", "faults", "auth", "busy", "failed", "cancel", "early",
         "repeated", "one_way", "moved", "hold", "open", "dead", "crossing", "tail")  # fmt: skip


@dataclass
class Stream:
    """Truth of a stream; the names are those of a StreamRecord."""

    direction: str
    src: str
    dst: str
    ssrc: int
    codec: str
    payload_types: list[int]
    first: int = 0
    last: int = 0
    expected: int = 0
    received: int = 0
    lost: int = 0
    discarded: int = 0
    duplicates: int = 0
    reordered: int = 0
    loss_bursts: list[int] = field(default_factory=lambda: [0] * 10)
    dtmf: str = ""


@dataclass
class Call:
    """Truth of a call; the names are those of a CallRecord."""

    call_id: str
    caller: str
    callee: str
    setup_time: int
    ring_time: int = 0
    answer_time: int = 0
    end_time: int = 0
    pdd: float | None = None
    final_response: int = 0
    hung_up_by: str | None = None
    end_reason: str = "bye"
    retransmissions: int = 0
    transport: str = "udp"
    holds: int = 0
    one_way: bool = False
    partial: bool = False
    streams: list[Stream] = field(default_factory=list)


@dataclass
class Side:
    """An end of a call: its role, host and the port where it takes media."""

    role: str
    host: str
    port: int

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Maker:
    """One call: puts its packets into `wire` and its truth into `call`."""

    def __init__(self, number: int, wire: list[tuple[int, bytes]], seed: int):
        self.rng = random.Random(seed * 1_000_003 + number)
        self.number = number
        self.kind = KINDS[number % len(KINDS)]
        self.wire = Wire(number, self.rng, wire, datagrams=self.kind in ("repeated", "dead"))
        slot = number % WAVE
        pair, port = slot % PAIRS, 20_000 + 8 * (slot // PAIRS)
        hosts = [f"2001:db8::{n}:{pair}" if number % 4 == 2 else f"10.{n}.0.{pair + 1}" for n in (1, 2)]
        self.a, self.b = Side("caller", hosts[0], port), Side("callee", hosts[1], port + 2)
        self.codec = self.rng.choice(CODECS)
        self.now = START + number // WAVE * 40 * SECOND + self.rng.randrange(10 * SECOND // 1000) * 1000
        self.call = Call(f"{number}-{seed}@generated", f"10{number}", f"20{number}", self.now)
        self.call.transport = "tcp" if self.wire.carrier == "tcp" else "udp"
        self.cseq, self.ssrc = 1, number * 16 + 1

    def later(self, least: int = 2, most: int = 300) -> int:
        """The clock goes on by some ms, with microseconds."""
        self.now += self.rng.randrange(least * 1000, most * 1000) * 1000
        return self.now

    def sip(self, sender: Side, line: str, cseq: str, tag: bool = True, sdp: str = "", copies: int = 0) -> int:
        """One message (and `copies` retransmissions, 500 ms apart); when it was sent."""
        request, ends = not line.startswith("SIP/2.0"), ["caller", "callee"]
        if (sender.role == "callee") == request:  # a request of the callee, or a response of the caller
            ends.reverse()
        numbers = {"caller": self.call.caller, "callee": self.call.callee}
        tags = {"caller": ";tag=a", "callee": ";tag=b" if tag else ""}
        people = [f"<sip:{numbers[end]}@example.net>{tags[end]}" for end in ends]
        lines = [
            line,
            f"Via: SIP/2.0/UDP h;branch=z9hG4bK{self.number}-{cseq}".replace(" ", ""),
            f"From: {people[0]}",
            f"To: {people[1]}",
            f"Call-ID: {self.call.call_id}",
            f"CSeq: {cseq}",
            f"Content-Length: {len(sdp)}",
        ]
        text = "\r\n".join([*lines, *(["Content-Type: application/sdp"] if sdp else []), "", sdp]).encode()
        at, other = self.later(), self.b if sender is self.a else self.a
        for copy in range(copies + 1):
            self.wire.message(at + copy * 500 * MS, sender.host, other.host, sender is self.a, text)
        self.now += copies * 500 * MS
        self.call.retransmissions += copies
        return at

    def sdp(self, side: Side, direction: str = "sendrecv") -> str:
        name, rate, pt, ptime, _ = self.codec
        family = "IP6" if ":" in side.host else "IP4"
        return "\r\n".join(["v=0", f"o=- 1 {self.cseq} IN {family} {side.host}", "s=-", f"c=IN {family} {side.host}",
                            "t=0 0", f"m=audio {side.port} RTP/AVP {pt} 101", f"a=rtpmap:{pt} {name}/{rate}",
                            "a=rtpmap:101 telephone-event/8000", f"a=ptime:{ptime}", f"a={direction}", ""])  # fmt: skip

    def invite(self, copies: int = 0) -> int:
        line = f"INVITE sip:{self.call.callee}@b SIP/2.0"
        return self.sip(self.a, line, f"{self.cseq} INVITE", False, self.sdp(self.a), copies)

    def answer(self, status: int, sdp: bool = False, copies: int = 0) -> int:
        return self.sip(
            self.b, f"SIP/2.0 {status} x", f"{self.cseq} INVITE", True, self.sdp(self.b) if sdp else "", copies
        )

    def ack(self) -> None:
        self.sip(self.a, "ACK sip:b SIP/2.0", f"{self.cseq} ACK")

    def setup(self, early: bool = False) -> None:
        """INVITE to ACK; with `early`, media from the callee before the answer."""
        call = self.call
        call.setup_time = self.invite(2 if self.kind == "repeated" else 0)
        if self.kind == "auth":
            self.answer(407)
            self.ack()
            self.cseq += 1
            self.invite()
        self.answer(100)
        call.ring_time = self.answer(183 if early else 180, early)
        call.pdd = (call.ring_time - call.setup_time) / 1e9
        if early:
            self.media([(self.b, self.a)], self.rng.randrange(20, 60))
        if self.kind == "cancel":
            return
        call.final_response = 200
        call.answer_time = self.answer(200, True, 1 if self.kind == "repeated" else 0)
        self.ack()

    def media(self, ways, packets: int, faulty: bool = False, digits: str = "", overlap: int = 0) -> None:
        """One new stream for every (sender, receiver), at the same time; the clock stops `overlap` before their end."""
        begin, ends = self.now, []
        for sender, receiver in ways:
            self.now = begin
            ends.append(self.stream(sender, receiver, packets, faulty, digits))
        self.now = max(ends) - overlap

    def stream(self, sender: Side, receiver: Side, packets: int, faulty: bool, digits: str) -> int:
        rng, (name, rate, pt, ptime, size) = self.rng, self.codec
        self.ssrc += 1
        truth = Stream(sender.role, sender.address, receiver.address, self.ssrc, name, [pt], dtmf=digits)
        self.call.streams.append(truth)
        seq = rng.choice([rng.randrange(65536), 65536 - rng.randrange(1, packets)])
        stamp = rng.choice([rng.randrange(1 << 32), (1 << 32) - rng.randrange(1, packets * ptime * rate // 1000)])
        begin, lost, late, twice = self.later(1, 40), set(), {}, set()
        if faulty:
            lost, late, twice = self.faults(packets, ptime)
        arrivals = []  # (time, number, payload type, RTP time, payload)
        for n in range(packets):
            at = begin + n * ptime * MS + rng.randrange(2000) * 1000 + late.get(n, 0)
            if n not in lost:
                arrivals.append((at, n, pt, stamp + n * ptime * rate // 1000, bytes(size)))
            if n in twice:
                arrivals.append((at + rng.randrange(5, 15) * MS, n, pt, stamp + n * ptime * rate // 1000, bytes(size)))
        for digit in digits:
            truth.payload_types = sorted({pt, 101})
            when = stamp + packets * ptime * rate // 1000
            for copy in range(4):
                event = struct.pack("!BBH", "0123456789*#".index(digit), 0x80 if copy == 3 else 0, 160 * (copy + 1))
                arrivals.append((begin + packets * ptime * MS, packets, 101, when, event))
                packets += 1
        arrivals.sort()
        for at, n, kind, when, payload in arrivals:
            head = struct.pack("!BBHII", 0x80, kind, (seq + n) & 0xFFFF, when & 0xFFFFFFFF, truth.ssrc)
            self.wire.datagram(at, sender.host, receiver.host, sender.port, receiver.port, head + payload)
        self.count(truth, arrivals)
        truth.discarded = sum(delay > 100 * MS for delay in late.values())
        return arrivals[-1][0]

    def faults(self, packets: int, ptime: int) -> tuple[set[int], dict[int, int], set[int]]:
        """Numbers of packets that are lost, late (by ns), and there twice; the first two and last two always come."""
        rng = self.rng
        lost = {n for n in range(2, packets - 2) if rng.random() < 0.02}
        at = rng.randrange(2, packets // 2)
        lost |= set(range(at, min(at + rng.choice([1, 2, 3, 5, 9, 10, 15]), packets - 2)))
        there = [n for n in range(4, packets - 20) if n not in lost]
        late = {n: (rng.choice([1, 2]) * ptime + 5) * MS for n in rng.sample(there, 2)}
        late[rng.choice(there)] = 150 * MS
        if rng.random() < 0.2:
            late[0] = (ptime + 5) * MS  # the first one is overtaken
        return lost, late, set(rng.sample(there, 3))

    def count(self, truth: Stream, arrivals: list) -> None:
        seen: set[int] = set()
        for at, n, *_ in arrivals:
            if n in seen:
                truth.duplicates += 1
                continue
            truth.first, truth.last = truth.first or at, at
            truth.reordered += bool(seen) and n < max(seen)
            seen.add(n)
        truth.received, truth.expected = len(seen), max(seen) - min(seen) + 1
        truth.lost = truth.expected - truth.received
        gap = 0
        for n in range(min(seen), max(seen) + 1):
            if n in seen and gap:
                truth.loss_bursts[min(gap, 10) - 1] += 1
            gap = 0 if n in seen else gap + 1

    def bye(self) -> None:
        sender, other = (self.a, self.b) if self.number % 3 else (self.b, self.a)
        self.cseq += 1
        self.call.hung_up_by = sender.role
        copies = int(self.kind == "repeated")
        self.call.end_time = self.sip(sender, "BYE sip:x SIP/2.0", f"{self.cseq} BYE", copies=copies)
        if self.kind == "crossing":
            self.sip(other, "BYE sip:x SIP/2.0", f"{self.cseq + 40} BYE")
            self.sip(sender, "SIP/2.0 200 OK", f"{self.cseq + 40} BYE")
        self.sip(other, "SIP/2.0 200 OK", f"{self.cseq} BYE")

    def reinvite(self, direction: str = "sendrecv") -> None:
        self.cseq += 1
        self.sip(self.a, "INVITE sip:x SIP/2.0", f"{self.cseq} INVITE", True, self.sdp(self.a, direction))
        self.sip(self.b, "SIP/2.0 200 OK", f"{self.cseq} INVITE", True, self.sdp(self.b))
        self.ack()

    def make(self) -> Call:
        call, both = self.call, [(self.a, self.b), (self.b, self.a)]
        packets = self.rng.randrange(60, 110)
        if self.kind in ("busy", "failed"):
            return self.refused()
        if self.kind == "dead":
            call.setup_time = self.invite(4)
            call.end_time, call.end_reason = self.now, "timeout"
            return call
        self.setup(early=self.kind in ("cancel", "early"))
        if self.kind == "cancel":
            self.sip(self.a, "CANCEL sip:b SIP/2.0", f"{self.cseq} CANCEL", False)
            self.sip(self.b, "SIP/2.0 200 OK", f"{self.cseq} CANCEL")
            call.end_time, call.final_response = self.answer(487), 487
            call.hung_up_by, call.end_reason = "caller", "cancel"
            self.ack()
            return call
        call.one_way = self.kind == "one_way"
        digits = "".join(self.rng.choice("0123456789*#") for _ in range(3)) if self.kind == "tail" else ""
        self.media(
            both[:1] if call.one_way else both, packets, self.kind == "faults", digits, 400 * MS if digits else 0
        )
        if self.kind == "moved":
            self.a.port += 4
            self.reinvite()
            self.media(both, packets)
        if self.kind == "hold":
            call.holds = 1
            self.reinvite("sendonly")
            self.later(1000, 2000)
            self.reinvite()
            self.media(both, packets)
        if self.kind == "open":
            call.end_time, call.end_reason, call.partial = self.now, "end_of_capture", True
            return call
        self.bye()
        return call

    def refused(self) -> Call:
        call, ringing = self.call, self.kind == "failed" and self.number % 40 < 20
        call.setup_time = self.invite()
        self.answer(100)
        call.ring_time = self.answer(180) if ringing else 0
        call.final_response = 486 if self.kind == "busy" else self.rng.choice([403, 404, 480, 503, 600, 603])
        call.end_time, call.end_reason = self.answer(call.final_response), "rejected"
        call.pdd = ((call.ring_time or call.end_time) - call.setup_time) / 1e9
        self.ack()
        return call


def make(calls: int, seed: int = 1) -> tuple[list[tuple[int, bytes]], list[Call]]:
    """(ns, frame) of all packets in the order of time, and the truth of every call."""
    wire: list[tuple[int, bytes]] = []
    truth = [Maker(number, wire, seed).make() for number in range(calls)]
    wire.sort(key=lambda packet: packet[0])
    return wire, truth
