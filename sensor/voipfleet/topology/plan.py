"""The gate: all findings about a fleet, and what each host gets. No secret is in what it returns."""

from collections.abc import Mapping

from voipfleet.config import render
from voipfleet.options import OPTIONS
from voipfleet.topology import conflicts, rules
from voipfleet.topology import links as _links
from voipfleet.topology import passwords as _passwords  # noqa: F401 - registers its rules
from voipfleet.topology.fleet import DESTINATIONS, PARTS, Finding, Fleet, Host, read

_COMMENT = "Made by the playbook from the inventory; change it there, it is written anew at every run."
_KIND = {"T": "errors", "W": "warnings", "N": "notes"}


def gate(groups: Mapping, hostvars: Mapping, keys: Mapping[str, str] | None = None, own: Mapping | None = None) -> dict:
    """Check the whole topology and plan every host.

    `groups`: group -> host names; `hostvars`: host -> its variables, resolved; `keys`: host -> public key in base64,
    in a rotation the new and the old one;
    `own`: what groups and hosts set themselves (see conflicts.check). Returns `errors`, `warnings`, `notes` (sentences
    in a stable order) and `hosts`: name -> see `_plan`; empty where there are errors; `index`: what a
    rendered tree needs to be read again.
    """
    fleet, findings = examine(groups, hostvars, own)
    plan: dict = {kind: [str(found) for found in findings if _KIND[found.code[0]] == kind] for kind in _KIND.values()}
    plan["hosts"] = {}
    plan["index"] = {
        "groups": {group: [host.name for host in fleet.hosts.values() if part in host.parts]
                   for group, part in PARTS.items()},
        "addresses": {host.name: host.address for host in fleet.hosts.values()},
    }  # fmt: skip
    if not plan["errors"]:
        plan["hosts"] = {host.name: _plan(fleet, host, keys or {}) for host in fleet.hosts.values()}
    return plan


def examine(groups: Mapping, hostvars: Mapping, own: Mapping | None = None) -> tuple[Fleet, list[Finding]]:
    """The fleet and everything found about it, in order of code and host."""
    findings: list[Finding] = []
    fleet = read(groups, hostvars, findings)
    findings += rules.check(fleet) + conflicts.check(own or {})
    findings.sort(key=lambda found: ("TWN".index(found.code[0]), found.code, found.host, found.text))
    return fleet, list(dict.fromkeys(findings))


def _plan(fleet: Fleet, host: Host, keys: Mapping[str, str]) -> dict:
    values, name = host.values, host.name
    peers = list(dict.fromkeys(peer for key in DESTINATIONS for peer in host.destinations(key)))
    sources = [other.name for other in fleet.hosts.values() if name in _links.onward(fleet, other)]
    listens = [{"bind": values[key], "port": values[f"{key}_port"], "key": key}
               for key in DESTINATIONS.values() if values[key]]  # fmt: skip
    asking = [other for other in _centrals(fleet) if other != name] if values["manager_port"] else []
    if values["manager_port"]:
        listens.append({"bind": values["manager_ip"], "port": values["manager_port"], "key": "manager_ip"})
    store = rules.database_kind(host) if host.stores else None
    return {
        "name": name,
        "parts": list(host.parts),
        "config": render(_settings(fleet, host, peers, sources, keys), f"{name}: {', '.join(host.parts)}.\n{_COMMENT}"),
        "captures": host.captures,
        "interfaces": list(values["interface"] or ()),
        "listens": listens,
        "peers": peers,
        "sources": sources,
        "linked": bool(peers or listens),
        "store": store,
        "local_database": store == "mariadb" and rules.local_database(host),
        "database": {"name": values["mysqldb"], "user": values["mysqluser"]},
        "secrets": (["server_psk" if host.psk else "server_password"] if peers or listens else [])
        + (["server_passwords"] if host.accepted and listens else [])
        + (["mysqlpassword"] if host.given.get("mysqlpassword") else []),
        "wants_keys": sorted(peer for peer in peers if peer not in keys),
        "unlisted": sorted({other for other in [*sources, *asking] if other not in keys}),
        "writable": _outside_state(values),
    }


def _settings(fleet: Fleet, host: Host, peers: list[str], sources: list[str], keys: Mapping[str, str]) -> dict:
    """What stands in the host's configuration: what the inventory says, what its groups imply, and keys."""
    values = host.values
    implied = {"name_sensor", "server_bind", "mirror_bind", "mysqlhost", "metrics_port"}
    settings = {option.key: values[option.key] for option in OPTIONS
                if (option.key in host.given or option.key in implied) and values[option.key] is not None}  # fmt: skip
    for key in DESTINATIONS:
        if values[key]:
            settings[key] = [fleet.hosts[name].address for name in values[key]]
    pins = [(fleet.hosts[name].address, name) for name in peers]
    if "central" in host.parts:  # whom `voipfleet ctl --at` there asks, by name or by address
        pins += [(where, other.name) for other in fleet.hosts.values() if other.values["manager_port"]
                 and other is not host for where in dict.fromkeys((other.address, other.name))]  # fmt: skip
    settings["server_key"] = [f"{where}:{key}" for where, name in pins for key in keys.get(name, "").split()]
    if values["server_bind"] or values["mirror_bind"]:
        settings["sensor_keys"] = [f"{name}:{key}" for name in sources for key in keys.get(name, "").split()]
        settings.setdefault("auth", "key")
        settings.setdefault("require_knock", True)
    if values["manager_port"]:  # besides whom the inventory itself lets in
        central = [f"{other}:{key}" for other in _centrals(fleet) for key in keys.get(other, "").split()]
        settings["manager_keys"] = list(dict.fromkeys([*(values["manager_keys"] or ()), *central]))
        if not settings["manager_keys"]:  # the central was not rolled out yet: nothing listens before it is known
            del settings["manager_port"]
    return {key: value for key, value in settings.items() if value != []}


def _centrals(fleet: Fleet) -> list[str]:
    """Whose keys may ask at a manager's port."""
    return [host.name for host in fleet.hosts.values() if "central" in host.parts]


def _outside_state(values: dict) -> list[str]:
    """Folders that the daemon writes to outside /var/lib/voipfleet: its unit must allow them."""
    paths = [values["spooldir"], values["packetbuffer_file_path"] or ""]
    return sorted({path for path in paths if path and not (path + "/").startswith("/var/lib/voipfleet/")})
