"""Which session leads to which host: those connected here, and those of which others tell that they are behind them.

What is told is a claim of whoever tells it, so it never touches a host that has had a session of its own with this
instance: that is reached over its own sessions only. Among those who tell of a host the first one counts, as long as it
does; when it has fallen silent, another. Of a host that is connected nowhere any more it is kept when that was.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from voipfleet.asking.asker import Asker
from voipfleet.asking.messages import MAX_HOPS, Behind

log = logging.getLogger("voipfleet.asking")
STALE = 30.0  # s without a word of a host that is behind another; it says something every five
MAX_KNOWN = 4096  # hosts; whoever has the password may come under any number of names
MAX_TOLD = 256  # hosts of which one session may tell


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
    """A host. `since`: it is connected, or no more so, since then (s since the epoch). `teller`: who told of it first,
    where others do; its ways are of one kind only."""

    uuid: bytes
    name: str
    ways: list[Way]
    changed: float
    teller: bytes = b""

    def way(self, besides: bytes = b"") -> Way | None:
        """The newest session of its own; else over the first of those who tell of it. None that leads to the host
        `besides`."""
        ways = [way for way in self.ways if way.open and not (besides and way.peer == besides)]
        if not ways or not ways[-1].hops:
            return ways[-1] if ways else None
        first = next((way.peer for way in ways if way.peer == self.teller), ways[0].peer)
        return max((way for way in ways if way.peer == first), key=lambda way: way.heard)

    @property
    def since(self) -> float:
        return self.changed if not self.ways or self.way() else max(way.heard for way in self.ways)


@dataclass(slots=True, eq=False)
class _Session:
    """What leads over one: to its other end, and to hosts of which that tells, longest silent first."""

    own: tuple[bytes, Way] | None = None
    told: OrderedDict[bytes, Way] = field(default_factory=OrderedDict)
    warned: set[str] = field(default_factory=set)


class Routes:
    """Of the instance `own`. `had_session(uuid)`: whether that host had a session here before this process was started;
    None while that is not known, and nothing that is told is believed. `refused`: what was told of such hosts, or was
    too much."""

    def __init__(self, own: bytes):
        self._own = own
        self._near: OrderedDict[bytes, Known] = OrderedDict()  # with sessions of their own
        self._gone: OrderedDict[bytes, Known] = OrderedDict()  # that had some, the one that is gone longest first
        self._told: OrderedDict[bytes, Known] = OrderedDict()  # the others, the one that is silent longest first
        self._sessions: dict[Asker, _Session] = {}
        self.had_session: Callable[[bytes], bool] | None = lambda uuid: False
        self.refused = 0

    def remember(self, uuid: bytes, name: str, since: float, had_session: bool = True) -> None:
        """A host that was known before this instance was started; it has not been heard of since then."""
        told = self._told.get(uuid)
        if had_session and told:  # it was told of before that was known
            self._drop(told)
        if self.get(uuid) or len(self) >= MAX_KNOWN or uuid == self._own:
            return
        place = self._gone if had_session else self._told
        place[uuid] = Known(uuid, name, [], since)
        if not had_session:
            place.move_to_end(uuid, last=False)

    def keep(self, uuids: Collection[bytes], since: float) -> None:
        """What else had a session that ended before `since` is forgotten: somebody wants that."""
        for known in list(self._gone.values()):
            if known.uuid not in uuids and known.changed < since:
                self._drop(known)

    def opened(self, uuid: bytes, name: str, asker: Asker) -> None:
        """A session with that host has begun."""
        known = self.get(uuid) or Known(uuid, name, [], time.time())
        if not known.way():
            known.changed = time.time()
        if uuid in self._told:
            self._drop(known)
        self._gone.pop(uuid, None)
        self._near[uuid] = known
        self._near.move_to_end(uuid)
        way = Way(asker, uuid, 0)
        known.name = name
        known.ways.append(way)
        self._sessions.setdefault(asker, _Session()).own = uuid, way
        while len(self) > MAX_KNOWN:
            self._drop(next(iter((self._told or self._gone or self._near).values())))

    def closed(self, asker: Asker) -> None:
        """A session has ended, and with it all that was behind."""
        session = self._sessions.pop(asker, _Session())
        for uuid, way in session.told.items():
            known = self._told[uuid]
            known.ways.remove(way)
            if not known.ways:
                known.changed = time.time()
                self._told.move_to_end(uuid, last=False)
        uuid, way = session.own or (b"", None)
        known = self._near.get(uuid)
        if known and way in known.ways:
            known.ways.remove(way)
            if not known.ways:
                known.changed = time.time()
                self._gone[uuid] = self._near.pop(uuid)

    def behind(self, peer: bytes, asker: Asker, told: Behind) -> bool:
        """A session says who is behind it; False where that is not believed, or another way counts."""
        if self._own in (told.uuid, *told.hops) or told.uuid == peer or len(told.hops) >= MAX_HOPS:
            return False
        session = self._sessions.setdefault(asker, _Session())
        if told.uuid in self._near or self.had_session is None:
            return False
        if told.uuid in self._gone or self.had_session(told.uuid):
            if self._refuse(session, "moved"):
                log.warning("%s tells of host %s, which has had a connection of its own here; that is not believed"
                            " (docs/link.md, Asking, says what to do where it has moved)", asker.name,
                            told.uuid.hex())  # fmt: skip
            return False
        way, known = session.told.get(told.uuid), self._told.get(told.uuid)
        if way is None:
            if not self._room(session, new=known is None):
                if self._refuse(session, "many"):
                    log.warning("%s tells of more hosts than it may (%d) or than there is room for; others are not"
                                " known here", asker.name, MAX_TOLD)  # fmt: skip
                return False
            if known is None:
                known = self._told[told.uuid] = Known(told.uuid, told.name, [], time.time())
            way = session.told[told.uuid] = Way(asker, peer, len(told.hops), 0.0)
            known.ways.append(way)
            known.teller = known.teller or peer
        if not known.way():
            known.changed = time.time()
        way.hops, way.heard = len(told.hops), time.time()
        session.told.move_to_end(told.uuid)
        self._told.move_to_end(told.uuid)
        if known.way().peer != peer:
            return False
        known.name = told.name
        return True

    def find(self, uuid: bytes, *, besides: bytes = b"") -> Asker | None:
        """The session that leads there; never back to the host `besides`, from which the question came."""
        known = self.get(uuid)
        way = known.way(besides) if known else None
        return way.asker if way else None

    def get(self, uuid: bytes) -> Known | None:
        return self._near.get(uuid) or self._gone.get(uuid) or self._told.get(uuid)

    def __iter__(self) -> Iterator[Known]:
        return iter([*self._near.values(), *self._gone.values(), *self._told.values()])

    def __len__(self) -> int:
        return len(self._near) + len(self._gone) + len(self._told)

    def _room(self, session: _Session, new: bool) -> bool:
        """For one more host of which that session tells. Those that are silent make room, and nobody else."""
        if len(session.told) >= MAX_TOLD:
            uuid, way = next(iter(session.told.items()))
            if way.open:
                return False
            del session.told[uuid]
            silent = self._told[uuid]
            silent.ways.remove(way)
            silent.changed = silent.changed if silent.ways else way.heard
        if new and len(self) >= MAX_KNOWN:
            known = next(iter(self._told.values()), None)
            if known is None or known.way():
                return False
            self._drop(known)
        return True

    def _drop(self, known: Known) -> None:
        for way in known.ways:
            if way.hops:
                del self._sessions[way.asker].told[known.uuid]
        known.ways = []
        for place in (self._near, self._gone, self._told):
            place.pop(known.uuid, None)

    def _refuse(self, session: _Session, why: str) -> bool:
        """Whether that is to be told: once a session."""
        self.refused += 1
        first = why not in session.warned
        session.warned.add(why)
        return first
