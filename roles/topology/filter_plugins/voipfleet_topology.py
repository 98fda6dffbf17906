"""The gate for Ansible: hands the inventory to voipfleet.topology and its answer back. No rule is here."""

import sys
from collections.abc import Mapping
from pathlib import Path

from ansible.release import __version__

CHECKOUT = Path(__file__).resolve().parents[3]
NEEDS_PYTHON, ANSIBLE_FROM, ANSIBLE_BELOW = (3, 11), (2, 16), (2, 21)  # what the tests run with


def voipfleet_gate(hostvars, groups):
    """The plan (see voipfleet.topology.plan.gate); nothing secret is in it."""
    unfit = _unfit()
    if unfit:
        return {"errors": [unfit], "warnings": [], "notes": [], "hosts": {}}
    sys.path.insert(0, str(CHECKOUT / "sensor"))
    try:
        from voipfleet.topology.plan import gate
    finally:
        sys.path.pop(0)
    names = sorted({str(name) for members in groups.values() for name in members})
    unresolved = []
    variables = {name: _variables(hostvars, name, unresolved) for name in names}
    members = {str(group): [str(name) for name in hosts] for group, hosts in groups.items()}
    plan = gate(members, variables, _keys(hostvars, names), _own(hostvars, members))
    if unresolved:
        plan["errors"], plan["hosts"] = sorted([*plan["errors"], *unresolved]), {}
    return plan


def _unfit():
    if sys.version_info < NEEDS_PYTHON:
        return (f"T00 controller: its Ansible runs on Python {sys.version_info[0]}.{sys.version_info[1]}; install"
                " ansible-core for Python 3.11 or newer")  # fmt: skip
    if not ANSIBLE_FROM <= _version() < ANSIBLE_BELOW:
        return (f"T00 controller: ansible-core {__version__} was not tested with this release; use one from"
                f" {ANSIBLE_FROM[0]}.{ANSIBLE_FROM[1]} to before {ANSIBLE_BELOW[0]}.{ANSIBLE_BELOW[1]}")  # fmt: skip
    return ""


def _version():
    return tuple(int(part) for part in __version__.split(".")[:2])


def _variables(hostvars, name, unresolved):
    """The host's variables that matter here, resolved by Ansible, as plain Python."""
    found, own = {}, hostvars[name]
    for variable in list(own):
        if str(variable).startswith("voipfleet_") or variable == "ansible_host":
            try:
                value = own[variable]
                if _left(value):
                    raise ValueError(variable)
                found[str(variable)] = _plain(value)
            except Exception:  # the message of a template may hold what it is made of
                unresolved.append(
                    f"T02 {name}: {variable} cannot be resolved; see whether all that it names is defined"
                )
    return found


def _left(value):
    """Whether a template is left in it: before 2.19 hostvars give back as it stands what they cannot resolve."""
    if isinstance(value, (list, tuple)):
        return any(map(_left, value))
    looks = isinstance(value, str) and ("{{" in value or "{%" in value) and not hasattr(value, "__UNSAFE__")
    return looks and _version() < (2, 19)


def _plain(value):
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}  # no key is a mapping: the gate says so
    return str(value)


def _keys(hostvars, names):
    """Public keys that earlier rollouts fetched: `keys/<host>.pub` beside each host's inventory (roles/voipfleet)."""
    keys = {}
    for name in names:
        beside = hostvars[name].get("inventory_dir")
        path = Path(str(beside)) / "keys" / f"{name}.pub"
        if beside and path.is_file():
            lines = [line.split() for line in path.read_text("ascii", "replace").splitlines()]
            found = [words[2] for words in lines if words[:2] == ["#", "voipfleet-key"] and len(words) > 2]
            if found:
                keys[name] = " ".join(found)  # two while a rotation lasts, the new one first
    return keys


def _own(hostvars, members):
    """What groups and hosts set themselves, for the rule about one key from two groups.

    Ansible offers this to no plugin of this kind, so it is read from the inventory behind `hostvars`; where a version
    has it no longer, that one rule stays silent here (`voipfleet topology check` still has it).
    """
    try:
        from ansible.vars.plugins import get_vars_from_inventory_sources

        inventory, loader = hostvars._inventory, hostvars._loader
        sources = inventory._sources

        def own(entity):
            files = get_vars_from_inventory_sources(loader, sources, [entity], "inventory")
            return {str(name): _plain(value) for name, value in {**entity.get_vars(), **files}.items()
                    if str(name).startswith("voipfleet_") and "password" not in str(name)}  # fmt: skip

        groups = {str(name): {"vars": own(group), "parents": [str(parent.name) for parent in group.parent_groups],
                              "hosts": members.get(str(name), [])}
                  for name, group in inventory.groups.items()}  # fmt: skip
        setters = [variable for group in groups.values() for variable in group["vars"]]
        twice = {variable for variable in setters if setters.count(variable) > 1}
        hosts = {
            name: own(inventory.hosts[name]) for name in members.get("all", ()) if twice and name in inventory.hosts
        }
    except (AttributeError, ImportError, KeyError, TypeError):
        return {}
    return {"groups": groups, "hosts": hosts}


class FilterModule:
    """Found by Ansible."""

    def filters(self):
        return {"voipfleet_gate": voipfleet_gate}
