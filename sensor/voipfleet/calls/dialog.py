"""One call while it is open: what its SIP messages said so far. Times ns. No I/O."""

import functools
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from voipfleet.calls import transitions
from voipfleet.calls.record import OTHER
from voipfleet.decode import sdp, sip

MAX_ENDPOINTS, MAX_MARKS, MAX_LEGS, MAX_DIGITS = 32, 256, 16, 64

Endpoint = tuple[int, int, int]  # address high, low, port
Host = tuple[int, int]  # address high, low

_SIGNAL = re.compile(rb"(?:^|\n)[ \t]*signal[ \t]*=[ \t]*([0-9A-D*#])", re.I)
_SECONDS = re.compile(rb"[ \t]*([0-9]{1,9})")


@functools.lru_cache(32768)  # from the first packet of a call to its record
def show(endpoint: Endpoint) -> str:
    """`address:port`, IPv6 in brackets."""
    high, low, port = endpoint
    if not high and low >> 32 == 0xFFFF:
        return f"{ipaddress.IPv4Address(low & 0xFFFFFFFF)}:{port}"
    return f"[{ipaddress.IPv6Address(high << 64 | low)}]:{port}"


@dataclass(slots=True)
class Dialog:
    """State of one Call-ID.

    `media`: where each side receives; `seen`: messages, to tell retransmissions; `legs`: tags of those that answered,
    and whether they are still up; `alias`: hosts as the SDP names them -> as their packets do (`natalias`).
    """

    first: sip.Message
    setup: int
    src: str
    dst: str
    transport: str = "udp"
    sensor: str = ""  # who saw it first; empty for this instance
    alias: Mapping[Host, Host] = field(default_factory=dict)
    uuid: bytes = field(default_factory=lambda: os.urandom(16))  # of its record
    state: str = "calling"
    cseq: int = 0
    ring: int = 0
    answer: int = 0
    end: int = 0
    progress: int = 0
    final: int = 0
    reason: str = ""
    hung_up_by: str | None = None
    bye_cseq: int = -1
    cancelled: bool = False
    heard: bool = False  # a response to the last INVITE, be it 100
    retransmissions: int = 0
    strange: int = 0
    holds: int = 0
    fax: bool = False
    session_expires: int = 0  # s; 0: no session timer (RFC 4028)
    referred_to: str = ""
    replaces: bytes = b""
    last: int = 0
    told: int = 0  # when its end came here, if that was from another host
    wake: int = 0  # ns: it cannot time out before
    drops: int = 0
    agents: dict[str, str] = field(default_factory=dict)
    media: dict[Endpoint, tuple[str, sdp.Media]] = field(default_factory=dict)
    digits: dict[str, str] = field(default_factory=dict)  # by SIP INFO
    legs: dict[bytes, bool] = field(default_factory=dict)
    branches: set[bytes] = field(default_factory=set)  # tags of all who responded beyond 100
    callers: set[bytes] = field(default_factory=set)  # tags of the caller: one that asks again may take another
    methods: set[tuple[str, str]] = field(default_factory=set)  # (side, method or "response") that were seen
    held: dict[str, bool] = field(default_factory=dict)
    sends: dict[str, set[str]] = field(default_factory=dict)  # directions (RFC 3264) that a side named
    seen: dict[tuple, str] = field(default_factory=dict)  # message -> the sensor that saw it first
    views: set[str] = field(default_factory=set)  # sensors that saw it

    def _move(self, event: str) -> bool:
        state = transitions.TABLE.get((self.state, event))
        self.strange += state is None
        if state is not None:
            self.state = state
        return state is not None

    def side(self, message: sip.Message) -> str:
        """Who sent the message: caller or callee."""
        if message.method == "INVITE" and not message.to_tag and len(self.callers) < MAX_LEGS:
            self.callers.add(message.from_tag)
        return "caller" if (message.from_tag in self.callers) == (message.status == 0) else "callee"

    def take(self, message: sip.Message, ts: int, path: tuple = (), sensor: str = "") -> list[Endpoint]:
        """One message that `sensor` saw from and to the ends of `path`; the media endpoints that it names.

        Raises ParseError for a bad body.
        """
        self.last, self.wake = max(self.last, ts), 0
        mark = (message.method, message.cseq, message.status, message.to_tag, message.headers.get(b"via"),
                path, hash(message.body))  # fmt: skip
        self.views.add(sensor)
        if mark in self.seen:  # from another sensor it is the same message once more, and no retransmission
            self.retransmissions += message.method != "ACK" and self.seen[mark] == sensor
            return []
        if len(self.seen) < MAX_MARKS:
            self.seen[mark] = sensor
        side = self.side(message)
        self.methods.add((side, "response" if message.status else message.method))
        if agent := message.text(b"user-agent") or message.text(b"server"):
            self.agents.setdefault(side, agent)
        if (reason := message.text(b"reason")) and not self.reason:
            self.reason = reason
        if message.status:
            self._response(message, ts)
        else:
            self._request(message, ts, side)
        return self._media(message, side)

    def _request(self, message: sip.Message, ts: int, side: str) -> None:
        method = message.method
        if method == "INVITE":
            again = self.answer or self.state == "auth" or message.cseq > self.cseq
            if message is not self.first and again and self._move("invite"):
                self.heard = False
                if not self.answer:
                    self.end, self.cancelled, self.hung_up_by = 0, False, None
            if not self.answer and not message.to_tag:
                self.cseq = max(self.cseq, message.cseq)
            self.replaces = self.replaces or message.headers.get(b"replaces", b"").split(b";")[0].strip()
        elif method == "CANCEL":
            if self._move("cancel"):  # only the caller can (RFC 3261 section 9)
                self.cancelled, self.hung_up_by = True, "caller"
        elif method == "BYE":
            self._bye(message, ts, side)
        elif method == "REFER" and not self.referred_to:
            self.referred_to = sip.party(message.headers.get(b"refer-to", b""))[1]
        elif method == "INFO":
            self._info(message, side)

    def _bye(self, message: sip.Message, ts: int, side: str) -> None:
        tag = message.to_tag if side == "caller" else message.from_tag
        if tag in self.legs:
            self.legs[tag] = False
            if any(self.legs.values()):  # of a branch that answered, too; the call goes on
                return
        if self.state not in ("closing", "ended") and self._move("bye"):
            self.end, self.hung_up_by, self.bye_cseq = ts, side, message.cseq

    def _response(self, message: sip.Message, ts: int) -> None:
        status = message.status
        challenge = status in (401, 407)  # of a proxy, mostly
        if status > 100 and message.method == "INVITE" and not challenge and len(self.branches) < MAX_LEGS:
            self.branches.add(message.to_tag)
        if message.method in ("INVITE", "UPDATE") and 200 <= status < 300:
            timer = _SECONDS.match(message.headers.get(b"session-expires", b""))
            self.session_expires = int(timer[1]) if timer else self.session_expires
        over = message.method == "BYE" and message.cseq == self.bye_cseq and status >= 200
        if over and self.state == "closing" and status not in (401, 407):
            self._move("done")
        if message.method != "INVITE" or message.cseq != self.cseq or message.from_tag not in self.callers:
            return
        self.heard = True
        if status < 200:
            if status > 100 and not self.answer:
                self._move("1xx")
                self.progress = self.progress or ts
                if status == 180 or (status == 183 and not self.ring):
                    self.ring = self.ring or ts
        elif status < 300:
            if len(self.legs) < MAX_LEGS:
                self.legs.setdefault(message.to_tag, True)
            if not self.answer and self._move("2xx"):
                self.final, self.answer, self.end = status, ts, 0
                self.cancelled, self.hung_up_by = False, None  # the CANCEL came too late
        elif not self.answer and ((status in (401, 407) and self._move("auth")) or self._move("final")):
            self.final, self.end = status, ts

    def _info(self, message: sip.Message, side: str) -> None:
        """A digit: application/dtmf-relay, or application/dtmf with nothing but the digit."""
        kind = message.headers.get(b"content-type", b"").lower()
        digit = b""
        if kind.startswith(b"application/dtmf-relay"):
            match = _SIGNAL.search(message.body[:256])
            digit = match[1] if match else b""
        elif kind.startswith(b"application/dtmf") and re.fullmatch(rb"[0-9A-Da-d*#]", message.body.strip()):
            digit = message.body.strip()
        if digit and len(self.digits.get(side, "")) < MAX_DIGITS:
            self.digits[side] = self.digits.get(side, "") + digit.decode("ascii").upper()

    def _media(self, message: sip.Message, side: str) -> list[Endpoint]:
        named = []
        body = sdp.extract(message.headers.get(b"content-type", b""), message.body)
        if not body:
            return named
        found = sdp.parse(body)
        audio = [media for media in found if media.kind == "audio"]
        self.fax = self.fax or any(media.kind == "image" for media in found)
        if audio:
            held = all(media.held for media in audio)
            self.holds += held and not self.held.get(side, False)
            self.held[side] = held
            self.sends.setdefault(side, set()).update(media.direction for media in audio)
        for media in found:
            for host in {media.address, self.alias.get(media.address, media.address)}:
                endpoint = (*host, media.port)
                known = self.media.get(endpoint)
                if not media.reachable or (known is None and len(self.media) >= MAX_ENDPOINTS):
                    continue
                if known and known[0] == side:  # what its streams were before a change stays known
                    media.codecs = {**known[1].codecs, **media.codecs}
                    media.ptime = media.ptime or known[1].ptime
                self.media[endpoint] = (side, media)
                named.append(endpoint)
        return named

    def may_send(self, side: str) -> bool:
        """Whether the other side has reason to expect media of this one (RFC 3264)."""
        mine, theirs = (self.sends.get(name, {"sendrecv"}) for name in (side, OTHER[side]))
        return bool(mine & {"sendrecv", "sendonly"}) and bool(theirs & {"sendrecv", "recvonly"})

    def one_sided(self) -> bool:
        """SIP of one side only was seen, and the call went on as if there had been more."""
        sides = {side for side, _ in self.methods}
        return len(sides) == 1 and bool({("caller", "ACK"), ("caller", "BYE"), ("callee", "response")} & self.methods)
