"""Which call has named which port, as what, and until when it is theirs. Times ns. No I/O."""

from collections.abc import Callable, Iterable

from voipfleet.calls import stream_scalar as scalar
from voipfleet.calls.dialog import Endpoint
from voipfleet.decode import sdp

COMFORT_NOISE = 13
OPEN = 1 << 63  # no other call has taken over


class Endpoints:
    """`answered(call)`: whether a call has been answered.

    An endpoint may be of several calls: the two legs of a B2BUA that does not touch the media. A call that names the
    endpoint of one that was answered before takes it over: ports are used again.
    """

    def __init__(self, answered: Callable[[bytes], bool]):
        self._answered = answered
        self._named: dict[Endpoint, sdp.Media] = {}
        self._users: dict[Endpoint, dict[bytes, int]] = {}  # calls that named it, and until when it is theirs

    def changes(self, endpoint: Endpoint, media: sdp.Media) -> bool:
        """Whether `media` says something else of `endpoint` than what was said before."""
        known = self._named.get(endpoint)
        said = media.kind, media.codecs, media.secure
        return known is not None and (known.kind, known.codecs, known.secure) != said

    def name(self, endpoint: Endpoint, media: sdp.Media, call: bytes, ts: int) -> None:
        """A call's SDP, seen at `ts`, says what is sent to `endpoint`."""
        self._named[endpoint] = media
        users = self._users.setdefault(endpoint, {})
        if call not in users:
            users.update((other, min(until, ts)) for other, until in users.items() if self._answered(other))
        users[call] = OPEN

    def release(self, call: bytes, endpoints: Iterable[Endpoint]) -> None:
        """The call is over."""
        for endpoint in endpoints:
            users = self._users.get(endpoint, {})
            users.pop(call, None)
            if not users:
                self._users.pop(endpoint, None)
                self._named.pop(endpoint, None)

    def said(self, src: Endpoint, dst: Endpoint) -> sdp.Media | None:
        """What is said of media from `src` to `dst`: of its receiver, else of its sender; None: nobody named either."""
        return self._named.get(dst) or self._named.get(src)

    def clock(self, src: Endpoint, dst: Endpoint, pt: int) -> int:
        """Ticks/s of a payload type, 0 where no SDP has said it, OTHER for what is no audio (events, noise)."""
        media = self.said(src, dst)
        codec, rate = (media.codecs.get(pt) if media else None) or sdp.STATIC.get(pt, ("", 0))
        return scalar.OTHER if pt == COMFORT_NOISE or codec.lower() in ("telephone-event", "cn") else rate

    def until(self, call: bytes, *ends: Endpoint) -> int:
        """When other calls took over each of these endpoints that the call has; OPEN: they have not, or it has none."""
        return max((users[call] for end in ends if call in (users := self._users.get(end, {}))), default=OPEN)
