"""Which session leads to which host: those connected here, and those behind them. Pure but for the sessions' names.

The newest session of a host counts; when it ends, an older one that still lives. Of a host that is connected nowhere
any more it is kept when that was.
"""

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from voipfleet.asking.asker import Asker
from voipfleet.asking.messages import MAX_HOPS, Behind

STALE = 30.0  # s without a word of a host that is behind another; it says something every five
MAX_KNOWN = 4096  # hosts; whoever has the password may come under any number of names, or tell of any


@dataclass(slots=True, eq=False)
class Way:
    """To a host: over the session of `asker`, whose other end is `peer`; `hops` instances between."""

    asker: Asker
    peer: bytes
    hops: int
    heard: float = field(default_factory=lambda: time.time())  # s since the epoch, where there are hops

    @property
    def open(self) -> bool:
        return not self.hops or abs(time.time() - self.heard) < STALE


@dataclass(slots=True, eq=False)
class Known:
    """A host. `since`: it is connected, or no more so, since then (s since the epoch)."""

    uuid: bytes
    name: str
    ways: list[Way]
    changed: float

    def way(self, besides: bytes = b"") -> Way | None:
        """The shortest, of several the newest; none that leads to the host `besides`."""
        ways = [way for way in reversed(self.ways) if way.open and not (besides and way.peer == besides)]
        return min(ways, key=lambda way: way.hops, default=None)

    @property
    def since(self) -> float:
        return self.changed if not self.ways or self.way() else max(way.heard for way in self.ways)


class Routes:
    """Of the instance `own`."""

    def __init__(self, own: bytes):
        self._own = own
        self._known: OrderedDict[bytes, Known] = OrderedDict()

    def remember(self, uuid: bytes, name: str, since: float) -> None:
        """A host that was known before this instance was started; it has not been heard of since then."""
        if uuid not in self._known and len(self._known) < MAX_KNOWN and uuid != self._own:
            self._known[uuid] = Known(uuid, name, [], since)

    def opened(self, uuid: bytes, name: str, asker: Asker) -> None:
        """A session with that host has begun."""
        self._add(uuid, name, Way(asker, uuid, 0))

    def closed(self, asker: Asker) -> None:
        """A session has ended, and with it all that was behind."""
        for known in self._known.values():
            left = [way for way in known.ways if way.asker is not asker]
            if len(left) < len(known.ways) and not left:
                known.changed = time.time()
            known.ways = left

    def behind(self, peer: bytes, asker: Asker, told: Behind) -> bool:
        """A session says who is behind it; False where that cannot be or is too far."""
        if self._own in (told.uuid, *told.hops) or told.uuid == peer or len(told.hops) >= MAX_HOPS:
            return False
        known = self._known.get(told.uuid)
        way = next((way for way in known.ways if way.asker is asker), None) if known else None
        if way is None:
            self._add(told.uuid, told.name, Way(asker, peer, len(told.hops)))
        elif way.hops:
            if not known.way():
                known.changed = time.time()
            way.hops, way.heard = len(told.hops), time.time()
        return True

    def find(self, uuid: bytes, *, besides: bytes = b"") -> Asker | None:
        """The session that leads there; never back to the host `besides`, from which the question came."""
        known = self._known.get(uuid)
        way = known.way(besides) if known else None
        return way.asker if way else None

    def get(self, uuid: bytes) -> Known | None:
        return self._known.get(uuid)

    def __iter__(self) -> Iterator[Known]:
        return iter(list(self._known.values()))

    def _add(self, uuid: bytes, name: str, way: Way) -> None:
        known = self._known.get(uuid)
        if known is None:
            known = self._known[uuid] = Known(uuid, name, [], time.time())
        elif not known.way():
            known.changed = time.time()
        known.name = name
        known.ways.append(way)
        self._known.move_to_end(uuid)
        if len(self._known) > MAX_KNOWN:
            self._forget()

    def _forget(self) -> None:
        """One that is gone, else one that others tell of, else the oldest."""
        for unwanted in (lambda known: not known.way(), lambda known: known.way().hops, lambda known: True):
            if uuid := next((uuid for uuid, known in self._known.items() if unwanted(known)), None):
                del self._known[uuid]
                return
