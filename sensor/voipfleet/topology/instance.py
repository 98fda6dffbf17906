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


def masked_numbers_in_raw_packets(settings: Mapping) -> Iterator[Finding]:
    raw = settings["packetbuffer_sender"] or settings["mirror_destination"]
    if raw and settings["number_keep_last"] is not None:
        yield "number_keep_last", ("masks numbers in records and in kept packets, but this host sends raw packets with"
                                   " the whole numbers; send records, or remove it")  # fmt: skip


def part_larger_than_the_pool(settings: Mapping) -> Iterator[Finding]:
    for what, unit in (("size", "MB"), ("days", "days")):
        whole = settings[f"maxpool{what}"]
        for key in (f"maxpool{kind}{what}" for kind in ("sip", "rtp", "audio")):
            if whole is not None and settings[key] is not None and settings[key] > whole:
                yield key, (f"is {settings[key]} {unit}, more than maxpool{what} allows for all kinds together"
                            f" ({whole}); make one smaller or the other larger")  # fmt: skip


def manager_without_keys(settings: Mapping) -> Iterator[Finding]:
    if settings["manager_port"] and not settings["manager_keys"]:
        yield "manager_port", "needs manager_keys, the keys of those who may ask there; set them or remove this"


# The rollout fills in manager_keys, so the last is the daemon's alone.
RULES = (server_and_client, sender_without_destination, nothing_to_do, source_without_interface, two_listeners,
         masked_numbers_in_raw_packets, part_larger_than_the_pool, manager_without_keys)  # fmt: skip
