"""What strangers may cost an open port: places before the welcome, and tries a minute. Pure; times are monotonic s."""

import collections
import ipaddress
from collections.abc import Callable, Hashable

SILENT, STRANGER, CALLER = 0, 1, 2  # ranks: has said nothing yet; does not know our key; knows it


class Room:
    """Places for connections that have not proven anything yet.

    Whoever comes when all `places` are taken gets that of the one that has waited longest among those of the lowest
    rank: a caller that speaks at once is silent for one round trip, so silent ones cannot keep it out. A caller that
    knows our key keeps its place for `grace` seconds; `reserved` further places are for addresses that were let in
    before.
    """

    def __init__(self, places: int, reserved: int, grace: float = 1.0):
        self._places, self._reserved, self._grace = places, reserved, grace
        self._ranks: list[dict[Hashable, tuple[float, Callable[[], None]]]] = [{}, {}, {}]
        self._known: set[Hashable] = set()

    def __len__(self) -> int:
        return sum(map(len, self._ranks)) + len(self._known)

    def enter(self, who: Hashable, known: bool, now: float, leave: Callable[[], None]) -> bool:
        """Whether there is a place for `who`; another may have been told to `leave` for it."""
        if known and len(self._known) < self._reserved:
            self._known.add(who)
            return True
        if sum(map(len, self._ranks)) >= self._places and not self._make_place(now):
            return False
        self._ranks[SILENT][who] = now, leave
        return True

    def advance(self, who: Hashable, rank: int, now: float) -> None:
        """`who` has said something."""
        for waiting in self._ranks:
            if found := waiting.pop(who, None):
                self._ranks[rank][who] = now, found[1]
                return

    def leave(self, who: Hashable) -> None:
        self._known.discard(who)
        for waiting in self._ranks:
            waiting.pop(who, None)

    def _make_place(self, now: float) -> bool:
        for rank, waiting in enumerate(self._ranks):
            if waiting:
                who, (since, leave) = next(iter(waiting.items()))
                if rank == CALLER and now - since < self._grace:
                    return False
                del waiting[who]
                leave()
                return True
        return False


class Buckets:
    """A token bucket for each of at most `most` names: `burst` at once, then `per_minute`."""

    def __init__(self, burst: int, per_minute: float, most: int = 4096):
        self._burst, self._rate, self._most = burst, per_minute / 60, most
        self._left: collections.OrderedDict[Hashable, tuple[float, float]] = collections.OrderedDict()

    def empty(self, name: Hashable, now: float) -> bool:
        return self._now(name, now) < 1

    def take(self, name: Hashable, now: float) -> bool:
        """One token; False where there is none."""
        left = self._now(name, now)
        self._left[name] = max(left - 1, 0), now
        self._left.move_to_end(name)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return left >= 1

    def _now(self, name: Hashable, now: float) -> float:
        left, at = self._left.get(name, (self._burst, now))
        return min(self._burst, left + (now - at) * self._rate)


class Recent:
    """The `most` names that were added last."""

    def __init__(self, most: int = 4096):
        self._most, self._names = most, collections.OrderedDict()

    def add(self, name: Hashable) -> None:
        self._names[name] = None
        self._names.move_to_end(name)
        if len(self._names) > self._most:
            self._names.popitem(last=False)

    def __contains__(self, name: Hashable) -> bool:
        return name in self._names


def network(address: str) -> str:
    """What limits count as one source: an IPv4 address, or an IPv6 network of 64 bits, which one host may own."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 6 and found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return address if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))
