"""The rules that concern one instance: used by the gate for each host and by the daemon at its own start.

Each takes the typed settings of one instance (key -> value, None where not set) and yields (key, `fault;
what to do`).
"""

from collections.abc import Iterator, Mapping

Finding = tuple[str, str]


def check(settings: Mapping) -> list[Finding]:
    """Everything that is wrong, in a stable order."""
    return [finding for rule in RULES for finding in rule(settings)]


def server_and_client(settings: Mapping) -> Iterator[Finding]:
    if settings["server_bind"] and settings["server_destination"]:
        yield "server_bind", "cannot stand with server_destination in one instance; remove one of them"


def sender_without_destination(settings: Mapping) -> Iterator[Finding]:
    if settings["packetbuffer_sender"] and not settings["server_destination"]:
        yield "packetbuffer_sender", "needs server_destination, where the packets go; set it or remove this"


def nothing_to_do(settings: Mapping) -> Iterator[Finding]:
    if not any(settings[key] for key in ("interface", "server_bind", "mirror_bind")):
        yield "interface", "is missing, and neither server_bind nor mirror_bind is set; this instance has nothing to do"


def source_without_interface(settings: Mapping) -> Iterator[Finding]:
    if settings["mirror_destination"] and not (settings["interface"] or settings["mirror_bind"]):
        yield "mirror_destination", "needs an interface to capture on; set interface"


def two_listeners(settings: Mapping) -> Iterator[Finding]:
    """On different addresses it would work; whoever reads the configuration, or a firewall, would be misled."""
    taken: dict[int, str] = {}
    switches = {"server_bind_port": "server_bind", "mirror_bind_port": "mirror_bind", "manager_port": "manager_port",
                "metrics_port": "metrics_port"}  # fmt: skip
    for key, switch in switches.items():
        if settings[switch] and (first := taken.setdefault(settings[key], key)) != key:
            yield key, f"is also {first}; give each listener a port of its own"


RULES = (server_and_client, sender_without_destination, nothing_to_do, source_without_interface, two_listeners)
