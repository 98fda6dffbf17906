"""One key with different values from two groups of a host: Ansible silently lets the name of the group decide."""

from collections.abc import Mapping

from voipfleet.config import spell
from voipfleet.topology.fleet import Finding
from voipfleet.topology.variables import PREFIX


def check(own: Mapping) -> list[Finding]:
    """`own`: `groups` {name: {vars, parents, hosts}} and `hosts` {name: vars}, each with what is set there itself."""
    groups = own.get("groups", {})
    setters: dict[str, list[str]] = {}
    for name in sorted(groups):
        for variable in groups[name]["vars"]:
            if variable.startswith(PREFIX):
                setters.setdefault(variable, []).append(name)
    findings = []
    for variable, names in sorted(setters.items()):
        if len(names) < 2:
            continue
        members = {name: _members(groups, name) for name in names}
        for at, one in enumerate(names):
            for two in names[at + 1 :]:
                if one in _ancestors(groups, two) or two in _ancestors(groups, one):
                    continue  # a group inside another is meant to be the exception
                if spell(groups[one]["vars"][variable]) == spell(groups[two]["vars"][variable]):
                    continue
                for host in sorted(members[one] & members[two]):
                    if variable not in own.get("hosts", {}).get(host, {}):
                        findings.append(Finding("T23", host, f"{variable} has different values from the groups {one}"
                                                f" and {two}; set it in one of them, or for this host"))  # fmt: skip
    return findings


def _ancestors(groups: Mapping, name: str) -> set[str]:
    found: set[str] = set()
    waiting = list(groups.get(name, {}).get("parents", ()))
    while waiting:
        parent = waiting.pop()
        if parent not in found:
            found.add(parent)
            waiting += groups.get(parent, {}).get("parents", ())
    return found


def _members(groups: Mapping, name: str) -> set[str]:
    return set(groups[name]["hosts"])
