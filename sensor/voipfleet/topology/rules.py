"""The rules about a fleet: one function a rule, each with its code; all that is wrong is found at once.

A rule takes the Fleet and yields (host, `fault; what to do`). Rules about one instance alone are in `instance.py`,
rules about who sends to whom in `links.py`, about the password in `passwords.py`. docs/topologies.md lists them.
"""

import re
from collections.abc import Callable, Iterator

from voipfleet.topology import instance
from voipfleet.topology.fleet import DESTINATIONS, LOCAL_DATABASE, Finding, Fleet, Host

Found = Iterator[tuple[str, str]]
# Keys that say what a host keeps of the packets that it analyses.
PACKETS_KEPT = (
    *("savesip", "savertp", "savertcp", "pcap_mask"),
    *(f"maxpool{kind}{what}" for kind in ("", "sip", "rtp", "audio") for what in ("size", "days")),
)
RULES: list[tuple[str, Callable[[Fleet], Found]]] = []


def rule(code: str) -> Callable:
    """Register a rule under its code."""

    def register(function):
        RULES.append((code, function))
        return function

    return register


def check(fleet: Fleet) -> list[Finding]:
    """What every rule finds."""
    return [Finding(code, host, text) for code, function in RULES for host, text in function(fleet)]


# Rules about one instance (instance.py): code, rule, and which hosts it is asked of.
_OF_ONE = (
    ("T04", instance.server_and_client, lambda host: host.given.get("server_bind")),  # of the others T05 says it
    ("T10", instance.sender_without_destination, lambda host: True),
    ("T12", instance.two_listeners, lambda host: True),
    ("T26", instance.masked_numbers_in_raw_packets, lambda host: True),
    ("T28", instance.source_without_interface, lambda host: "sensor" not in host.parts),  # of those T19 has said it
    ("T31", instance.part_larger_than_the_pool, lambda host: True),
)


def _of_one(of_instance: Callable, asked: Callable[[Host], bool]) -> Callable[[Fleet], Found]:
    def found(fleet: Fleet) -> Found:
        for host in filter(asked, fleet.hosts.values()):
            for key, text in of_instance(host.values):
                yield host.name, f"voipfleet_{key} {text}"

    return found


RULES += [(code, _of_one(of_instance, asked)) for code, of_instance, asked in _OF_ONE]


@rule("T05")
def central_group_and_client(fleet: Fleet) -> Found:
    for host in fleet.hosts.values():
        if "central" in host.parts and host.values["server_destination"] and not host.given.get("server_bind"):
            yield host.name, ("is in group centrals, which makes it listen for sensors, and has"
                              " voipfleet_server_destination, which makes it a client; take one away")  # fmt: skip


@rule("T18")
def duplicate_id(fleet: Fleet) -> Found:
    owners: dict[int, str] = {}
    for host in fleet.hosts.values():
        number = host.values["id_sensor"]
        if number is not None and (first := owners.setdefault(number, host.name)) != host.name:
            yield (
                host.name,
                f"voipfleet_id_sensor {number} is also that of {first}; give each sensor a number of its own",
            )


@rule("T19")
def no_interface(fleet: Fleet) -> Found:
    for host in fleet.hosts.values():
        if "sensor" in host.parts and not host.captures:
            yield host.name, "is in group sensors but captures nothing; set voipfleet_interface"


@rule("T20")
def nobody_captures(fleet: Fleet) -> Found:
    if not any(host.captures for host in fleet.hosts.values()):
        yield "fleet", "no host captures; put at least one into group sensors and set its voipfleet_interface"


@rule("T22")
def failover_without_common_database(fleet: Fleet) -> Found:
    for host in fleet.hosts.values():
        centrals = [fleet.hosts[name] for name in host.destinations("server_destination") if name in fleet.hosts]
        if len({_database(central) for central in centrals}) > 1:
            names = ", ".join(central.name for central in centrals)
            yield host.name, (f"the centrals of its failover list ({names}) do not share a database; give them"
                              " the same voipfleet_mysqlhost (no local socket) and mysqldb, or name one")  # fmt: skip


def _database(host) -> tuple:
    """Equal for two hosts only if they use one and the same database."""
    values = host.values
    url, server = values["database_url"], values["mysqlhost"]
    if url and not url.startswith("sqlite") and not re.search(r"localhost|127\.0\.0\.1|unix_socket", url):
        return ("url", url)
    if not url and server and not server.startswith("/") and server not in ("localhost", "127.0.0.1", "::1"):
        return ("server", server, values["mysqlport"], values["mysqldb"])
    return ("own", host.name)


@rule("T24")
def tls_ports_not_captured(fleet: Fleet) -> Found:
    decrypted = {host.name: {int(port) for port in re.findall(r":\s*(\d{1,5})\b", str(host.given["ssl_ipport"]))}
                 for host in fleet.hosts.values() if "ssl_ipport" in host.given}  # fmt: skip
    for source in fleet.hosts.values():
        for name in dict.fromkeys(name for key in DESTINATIONS for name in source.destinations(key)):
            captured = source.values["sipport"]
            if missing := sorted(port for port in decrypted.get(name, ()) if port not in captured):
                listed = ", ".join(map(str, missing))
                yield source.name, (f"voipfleet_sipport lacks {listed}, which {name} is to decrypt"
                                    " (voipfleet_ssl_ipport); add it here")  # fmt: skip


@rule("T25")
def password_in_a_url(fleet: Fleet) -> Found:
    for host in fleet.hosts.values():
        if re.search(r"//[^/@:]*:[^/]*@|[?&]pass\w*=", host.values["database_url"] or ""):
            yield host.name, ("voipfleet_database_url holds a password, which would stand in the configuration; use"
                              " voipfleet_mysqlhost, _mysqldb, _mysqluser and _mysqlpassword instead")  # fmt: skip


@rule("T27")
def variable_without_its_group(fleet: Fleet) -> Found:
    for host in fleet.hosts.values():
        for key, group, part in (("interface", "sensors", "sensor"), ("server_bind", "centrals", "central"),
                                 ("mirror_bind", "mirrors", "mirror")):  # fmt: skip
            explained = key == "server_bind" and host.values["server_destination"]  # by T04
            if host.given.get(key) and part not in host.parts and not explained:
                yield (
                    host.name,
                    f"voipfleet_{key} is set but the host is not in group {group}; add it there or remove this",
                )


@rule("W01")
def nobody_sends_here(fleet: Fleet) -> Found:
    mirrored = {name for host in fleet.hosts.values() for name in host.destinations("mirror_destination")}
    for part, key, what in (("mirror", "mirror_destination", "mirrors to it"),
                            ("central", "server_destination", "sends to it")):  # fmt: skip
        named = {name for host in fleet.hosts.values() for name in host.destinations(key)}
        for host in fleet.hosts.values():
            if part == "central" and host.name in mirrored:
                continue  # it stores what comes to it as a mirror receiver
            if part in host.parts and host.name not in named and not host.captures:
                yield host.name, f"is in group {part}s, but no host {what}; name it in a voipfleet_{key}"


@rule("W03")
def in_no_group(fleet: Fleet) -> Found:
    for name in fleet.outside:
        yield (
            name,
            (
                "is in none of the groups sensors, centrals, mirrors, so nothing is done there; if it was part of the"
                " fleet before, run playbooks/remove.yml for it"
            ),
        )


@rule("W04")
def analyst_lacks_ports(fleet: Fleet) -> Found:
    """Who analyses packets looks for SIP on its own ports, whatever the host that captured them has."""
    for source in fleet.hosts.values():
        keys = ["mirror_destination"] + ["server_destination"] * bool(source.values["packetbuffer_sender"])
        for name in dict.fromkeys(name for key in keys for name in source.destinations(key)):
            receiver = fleet.hosts.get(name)
            wanted = set(source.values["sipport"]) if "sipport" in source.given else set()
            if receiver and (missing := sorted(wanted - set(receiver.values["sipport"]))):
                listed = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
                yield name, (f"gets the packets of {source.name}, but its voipfleet_sipport lacks {listed}, so SIP on"
                             f" these ports is not seen; add it here, or set it for all hosts")  # fmt: skip


@rule("W05")
def nobody_may_ask(fleet: Fleet) -> Found:
    if not any("central" in host.parts for host in fleet.hosts.values()):
        for host in fleet.hosts.values():
            if host.values["manager_port"] and not host.values["manager_keys"]:
                yield host.name, ("voipfleet_manager_port is set, but the fleet has no central whose key may ask there;"
                                  " remove it, or name keys in voipfleet_manager_keys")  # fmt: skip


@rule("W06")
def voice_is_kept(fleet: Fleet) -> Found:
    for host in fleet.hosts.values():
        if host.values["savertp"] == "yes" and host.analyses:
            yield host.name, ("voipfleet_savertp is yes, so the voice of calls is kept there; the law may forbid that,"
                              " or want consent, a purpose and a short time (voipfleet_maxpoolaudiodays): ask who"
                              " answers for it, or take header")  # fmt: skip


@rule("W07")
def keeps_no_packets(fleet: Fleet) -> Found:
    for host in fleet.hosts.values():
        if not host.analyses and (keys := [key for key in PACKETS_KEPT if key in host.given]):
            names = dict.fromkeys(name for key in DESTINATIONS for name in host.destinations(key))
            yield host.name, (f"voipfleet_{', voipfleet_'.join(keys)} say nothing there, for this host sends its"
                              " packets on and keeps none; set them where they are analysed, first on"
                              f" {', '.join(names)}")  # fmt: skip


@rule("W08")
def whole_numbers_come_in(fleet: Fleet) -> Found:
    whole: dict[str, list[str]] = {}
    for host in fleet.hosts.values():
        if host.values["number_keep_last"] is None and host.analyses:
            for name in host.destinations("server_destination"):
                whole.setdefault(name, []).append(host.name)
    for host in fleet.hosts.values():
        if host.values["number_keep_last"] is not None and (sources := whole.get(host.name)):
            listed = ", ".join(sources[:5]) + (", ..." if len(sources) > 5 else "")
            yield host.name, (f"voipfleet_number_keep_last masks what is analysed there, but the records of {listed}"
                              " come with the whole numbers; set it there too")  # fmt: skip


@rule("N02")
def records_into_sqlite(fleet: Fleet) -> Found:
    for host in fleet.hosts.values():
        if host.stores and database_kind(host) == "sqlite":
            yield host.name, "keeps its records in a local SQLite file; for more than a small site use MariaDB"


def database_kind(host) -> str:
    url = host.values["database_url"] or ""
    return "mariadb" if host.values["mysqlhost"] or url.startswith(("mysql", "mariadb")) else "sqlite"


def local_database(host) -> bool:
    """Whether the host's own MariaDB holds its records."""
    return not host.values["database_url"] and host.values["mysqlhost"] == LOCAL_DATABASE
