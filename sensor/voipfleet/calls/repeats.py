"""SIP datagrams that a mirror port delivers twice, in and out. No I/O."""

from collections.abc import Callable

from voipfleet.calls.dialog import Endpoint

MAX_RECENT = 4_096


class Repeats:
    """`window_ns`: how far apart two such datagrams may be (negative: none are looked for)."""

    def __init__(self, window_ns: int, count: Callable[..., None]):
        self._window, self._count = window_ns, count
        self._recent: dict[tuple, int] = {}

    def twice(self, ts: int, src: Endpoint, dst: Endpoint, ident: int, sensor: str, data: bytes) -> bool:
        """Whether this is the datagram that came just now, once more.

        `ident`: the third word of its IP header, IPv4's identification; -1 for a message out of TCP.
        """
        if self._window < 0 or ident < 0:
            return False
        key = (src, dst, ident, sensor, hash(data))
        before = self._recent.pop(key, None)
        self._recent[key] = ts
        if len(self._recent) > MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        if before is None or not 0 <= ts - before <= self._window:
            return False
        self._count("span_duplicates")
        return True
