"""The rules about who sends to whom: destinations, ports, cycles, and whether every record reaches a store."""

from voipfleet.config import nearest
from voipfleet.topology.fleet import DESTINATIONS, Fleet, Host
from voipfleet.topology.rules import Found, rule

MAX_HOPS = 8  # as relay/messages.py has it, which needs more than the standard library
SUGGESTIONS = 20  # different wrong names that are worth a search for the right one
_WANTED = {"server_destination": ("central", "a central", "centrals"),
           "mirror_destination": ("mirror", "a mirror receiver", "mirrors")}  # fmt: skip


def links(fleet: Fleet):
    """(host, key, destination's name) of everything that somebody sends somewhere, in a stable order."""
    for host in fleet.hosts.values():
        for key in DESTINATIONS:
            for name in host.destinations(key):
                yield host, key, name


@rule("T06")
def destination_is_nowhere(fleet: Fleet) -> Found:
    meant: dict[str, str] = {}  # each search looks at every host
    for host, key, name in links(fleet):
        if name not in fleet.known:
            if name not in meant and len(meant) < SUGGESTIONS:
                meant[name] = nearest(name, sorted(fleet.known))
            yield host.name, (f"voipfleet_{key} is {name}, which is not in the inventory{meant.get(name, '')};"
                              " name a host of the inventory")  # fmt: skip


@rule("T07")
def destination_does_not_listen(fleet: Fleet) -> Found:
    for host, key, name in links(fleet):
        part, what, group = _WANTED[key]
        if name in fleet.known and name != host.name and not _listens(fleet, name, part):
            yield (
                host.name,
                f"voipfleet_{key} is {name}, which is not {what}; put it into group {group} or name another",
            )


@rule("T08")
def destination_is_itself(fleet: Fleet) -> Found:
    for host, key, name in links(fleet):
        if name == host.name:
            yield host.name, f"voipfleet_{key} is the host itself; name another"


@rule("T09")
def cycle(fleet: Fleet) -> Found:
    for names in _cycles(fleet):
        way = " -> ".join([*names, names[0]])
        yield names[0], f"what it sends comes back to it ({way}); remove one of these destinations"


@rule("T11")
def ports_do_not_match(fleet: Fleet) -> Found:
    for host, key, name in links(fleet):
        bind = DESTINATIONS[key]
        if name != host.name and _listens(fleet, name, _WANTED[key][0]):
            ours, theirs = host.values[f"{key}_port"], fleet.hosts[name].values[f"{bind}_port"]
            if ours != theirs:
                yield host.name, (f"sends to port {ours} of {name}, which listens on {theirs}; make"
                                  f" voipfleet_{key}_port here and voipfleet_{bind}_port there the same")  # fmt: skip


@rule("T21")
def no_store_at_the_end(fleet: Fleet) -> Found:
    """Hosts upstream of a fault: their own variables are right and yet nothing of theirs is kept."""
    for host in fleet.hosts.values():
        if host.captures and not _broken_here(fleet, host) and (where := _dead_end(fleet, host)):
            yield host.name, f"its calls reach no store: the way ends at {where}; correct what is said about {where}"


@rule("T29")
def too_many_hops(fleet: Fleet) -> Found:
    """Packets name the hosts that they have passed, so that a loop ends; the list has an end, too."""
    for host in fleet.hosts.values():
        way, waiting = [host.name], [(host.name, [host.name])]
        while waiting and len(way) <= MAX_HOPS:
            name, path = waiting.pop()
            way = max(way, path, key=len)
            here = fleet.hosts[name]
            keys = ["mirror_destination"] + ["server_destination"] * bool(here.values["packetbuffer_sender"])
            for further in {other for key in keys for other in here.destinations(key)}:
                if further in fleet.hosts and further not in path and len(path) <= MAX_HOPS:
                    waiting.append((further, [*path, further]))
        if len(way) > MAX_HOPS and host.captures:
            yield host.name, (f"its packets pass more than {MAX_HOPS} hosts ({' -> '.join(way)}); let some of them send"
                              " to a host further on")  # fmt: skip


@rule("N01")
def hybrid_chain(fleet: Fleet) -> Found:
    for host in fleet.hosts.values():
        if host.values["mirror_bind"] and host.values["server_destination"]:
            sends = "packets" if host.values["packetbuffer_sender"] else "records"
            yield (
                host.name,
                f"is the middle of a hybrid chain: packets come in by mirroring, {sends} go on to a central",
            )


def _listens(fleet: Fleet, name: str, part: str) -> bool:
    return name in fleet.hosts and part in fleet.hosts[name].parts


def onward(fleet: Fleet, host: Host) -> list[str]:
    """Where the host's records, or the packets they are made of, go next. Nowhere: it is a store itself."""
    return [name for key in DESTINATIONS for name in host.destinations(key)]


def _broken_here(fleet: Fleet, host: Host) -> bool:
    return any(name not in fleet.hosts or name == host.name for name in onward(fleet, host))


def _dead_end(fleet: Fleet, host: Host) -> str:
    """The host at which the way of `host` ends without a store; empty where every way has one."""
    seen, waiting, end = {host.name}, [host.name], ""
    while waiting:
        here = fleet.hosts[waiting.pop()]
        if here.stores:
            return ""
        for name in onward(fleet, here):
            if name not in fleet.hosts or name == here.name:
                end = here.name
            elif name in seen:
                end = end or name
            else:
                seen.add(name)
                waiting.append(name)
    return "" if end == host.name else end


def _cycles(fleet: Fleet) -> list[list[str]]:
    """Each cycle of more than one host once, beginning with its first name; iterative, so that depth is no limit."""
    state: dict[str, int] = {}  # 1: on the path, 2: done
    found = []
    for start in fleet.hosts:
        if state.get(start):
            continue
        path: list[str] = []
        stack = [iter([start])]
        while stack:
            name = next(stack[-1], None)
            if name is None:
                stack.pop()
                if path:
                    state[path.pop()] = 2
            elif state.get(name) == 1:
                ring = path[path.index(name) :]
                least = ring.index(min(ring))
                if len(ring) > 1:
                    found.append(ring[least:] + ring[:least])
            elif name in fleet.hosts and not state.get(name):
                state[name] = 1
                path.append(name)
                stack.append(iter(onward(fleet, fleet.hosts[name])))
    return sorted(found)
