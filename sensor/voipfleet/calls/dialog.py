"""One call while it is open: what its SIP messages said so far. Times ns. No I/O."""

from dataclasses import dataclass, field

from voipfleet.calls import transitions
from voipfleet.decode import sdp, sip

MAX_ENDPOINTS = 32

Endpoint = tuple[int, int, int]  # address high, low, port


@dataclass(slots=True)
class Dialog:
    """State of one Call-ID. `media`: where each side receives; `seen`: messages, to tell retransmissions."""

    first: sip.Message
    setup: int
    src: str
    dst: str
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
    last: int = 0
    drops: int = 0
    agents: dict[str, str] = field(default_factory=dict)
    media: dict[Endpoint, tuple[str, sdp.Media]] = field(default_factory=dict)
    seen: set = field(default_factory=set)

    def _move(self, event: str) -> bool:
        state = transitions.TABLE.get((self.state, event))
        self.strange += state is None
        if state is not None:
            self.state = state
        return state is not None

    def side(self, message: sip.Message) -> str:
        """Who sent the message: caller or callee."""
        same = sip.tag(message.headers[b"from"]) == sip.tag(self.first.headers[b"from"])
        return "caller" if same == (message.status == 0) else "callee"

    def take(self, message: sip.Message, ts: int) -> list[Endpoint]:
        """One message; the media endpoints that are new with it. Raises ParseError for a bad body."""
        self.last = max(self.last, ts)
        mark = (message.method, message.cseq, message.status, sip.tag(message.headers[b"to"]),
                message.headers.get(b"via"), hash(message.body))  # fmt: skip
        if mark in self.seen:
            self.retransmissions += message.method != "ACK"
            return []
        if len(self.seen) < 256:
            self.seen.add(mark)
        side = self.side(message)
        if agent := message.text(b"user-agent") or message.text(b"server"):
            self.agents.setdefault(side, agent)
        if (reason := message.text(b"reason")) and not self.reason:
            self.reason = reason
        if message.status:
            self._response(message, ts)
        elif message.method == "INVITE":
            if message is not self.first and self._move("invite"):
                self.heard = False
            if not self.answer:
                self.cseq = message.cseq
        elif message.method == "CANCEL":
            if self._move("cancel"):  # only the caller can (RFC 3261 section 9)
                self.cancelled, self.hung_up_by = True, "caller"
        elif message.method == "BYE" and self._move("bye"):
            self.end, self.hung_up_by, self.bye_cseq = ts, side, message.cseq
        return self._media(message, side)

    def _response(self, message: sip.Message, ts: int) -> None:
        status = message.status
        if message.method == "BYE" and status >= 200 and message.cseq == self.bye_cseq and status not in (401, 407):
            self._move("done")
        if message.method != "INVITE" or message.cseq != self.cseq:
            return
        self.heard = True
        if status < 200:
            if status > 100:
                self._move("1xx")
                self.progress = self.progress or ts
                if status == 180 or (status == 183 and not self.ring):
                    self.ring = self.ring or ts
        elif status < 300:
            if self._move("2xx"):
                self.final, self.answer, self.end = status, ts, 0
                self.cancelled, self.hung_up_by = False, None  # the CANCEL came too late
        elif (status in (401, 407) and self._move("auth")) or self._move("final"):
            self.final, self.end = status, ts

    def _media(self, message: sip.Message, side: str) -> list[Endpoint]:
        fresh = []
        if body := sdp.extract(message.headers.get(b"content-type", b""), message.body):
            for media in sdp.parse(body):
                endpoint = (*media.address, media.port)
                if media.reachable and (endpoint in self.media or len(self.media) < MAX_ENDPOINTS):
                    self.media[endpoint] = (side, media)
                    fresh.append(endpoint)
        return fresh
