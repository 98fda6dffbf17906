"""Which open calls are to be written down now, so that a process that is killed does not take them along. No I/O.

A call is due FIRST seconds after it began, then every EVERY seconds, each at a time of its own; at most RATE are given
a second, since a record costs about 100 us: with more calls up than that allows, each simply waits longer. A call of
which nothing new was seen is passed over. Times are seconds of a clock that only goes forward.
"""

from collections import deque
from collections.abc import Callable, Iterator

from voipfleet.calls.dialog import Dialog

FIRST, EVERY = 0.5, 10.0  # s
RATE, BURST = 500, 50  # calls a second, and at once
MAX_KNOWN = 40_000  # entries of each kind: twice the calls that can be up, since those that left go when they are due
News = tuple[int, ...]


class Checkpoints:
    """`find(key)` gives the open call of a Call-ID; `news(key, call)` differs when something new is known of it."""

    def __init__(self, find: Callable[[bytes], Dialog | None], news: Callable[[bytes, Dialog], News]):
        self._find, self._news = find, news
        self._new: deque[tuple[bytes, bytes]] = deque(maxlen=MAX_KNOWN)  # key, uuid
        self._first: deque[tuple[float, bytes, bytes, News]] = deque(maxlen=MAX_KNOWN)  # due, key, uuid, known
        self._again: deque[tuple[float, bytes, bytes, News]] = deque(maxlen=MAX_KNOWN)
        self._credit, self._now = 0.0, 0.0

    def opened(self, key: bytes, call: Dialog) -> None:
        """A call has begun."""
        self._new.append((key, call.uuid))

    def begun(self, now: float) -> Iterator[tuple[bytes, Dialog]]:
        """To be asked after each turn: of the calls that began in it, those that another host's packets began. Once
        that host is told that these are safe it does not send them again; so they are due before it is told."""
        self._credit, self._now = min(BURST, self._credit + (now - self._now) * RATE), now
        while self._new:
            key, uuid = self._new.popleft()
            call = self._call(key, uuid)
            if call is None:
                continue
            if call.sensor and self._credit >= 1:
                yield self._take(key, call)
            else:
                self._first.append((now + FIRST, key, uuid, ()))

    def due(self) -> Iterator[tuple[bytes, Dialog]]:
        """The calls that are due at the `now` that was told last; new ones and others in turn, so that a flood of new
        ones does not starve those that are talking."""
        turn = 0
        while self._credit >= 1:
            ready = [waiting for waiting in (self._first, self._again) if waiting and waiting[0][0] <= self._now]
            if not ready:
                return
            turn += 1
            _, key, uuid, known = ready[turn % len(ready)].popleft()
            call = self._call(key, uuid)
            if call is None:
                continue
            if known and known == self._news(key, call):
                self._again.append((self._now + EVERY, key, uuid, known))
            else:
                yield self._take(key, call)

    def _call(self, key: bytes, uuid: bytes) -> Dialog | None:
        call = self._find(key)
        return call if call is not None and call.uuid == uuid else None

    def _take(self, key: bytes, call: Dialog) -> tuple[bytes, Dialog]:
        self._credit -= 1
        self._again.append((self._now + EVERY, key, call.uuid, self._news(key, call)))
        return key, call
