"""Where `voipfleet topology` reads a fleet from: an Ansible inventory, or the tree that playbooks/render.yml wrote."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from voipfleet.config import load
from voipfleet.errors import ConfigError, UsageError, VoipfleetError
from voipfleet.topology.fleet import DESTINATIONS, Finding
from voipfleet.topology.variables import PREFIX, ROLLOUT_SETS

INDEX = "topology.json"  # beside the rendered configurations: groups and addresses
# Ansible's own default is to go on without a source that it cannot read.
_STRICT = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_INVENTORY_UNPARSED_FAILED": "1",
           "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1"}  # fmt: skip
_REFERENCE = re.compile(r"""\{\{\s*([A-Za-z_]\w*)\s*(\|\s*default\((''|"")\)\s*)?\}\}""")


@dataclass
class Source:
    """What the gate needs. `rendered`: secrets are not in it, so rules about them say nothing."""

    groups: dict
    hostvars: dict
    own: dict = field(default_factory=dict)
    rendered: bool = False
    templates: list[Finding] = field(default_factory=list)  # what only Ansible can resolve, left out here


def read(path: Path) -> Source:
    """The fleet in `path`; UsageError where there is none, ConfigError for a rendered file that is wrong."""
    if (path / INDEX).is_file():
        return _rendered(path)
    if not path.exists():
        raise UsageError(f"{path}: is not there; give an inventory, or a folder that playbooks/render.yml wrote")
    return _inventory(path)


def _inventory(path: Path) -> Source:
    merged = _ask(path)
    exported = _ask(path, "--export")
    hosts = sorted({host for name, group in merged.items() if name != "_meta" for host in group.get("hosts", ())})
    templates: list[Finding] = []
    hostvars = {host: _resolve(host, merged["_meta"]["hostvars"].get(host, {}), templates) for host in hosts}
    groups = {name: sorted(_members(merged, name, set())) for name in merged if name != "_meta"}
    groups["all"] = hosts
    parents: dict[str, list[str]] = {}
    for name, group in merged.items():
        for child in group.get("children", ()) if name != "_meta" else ():
            parents.setdefault(child, []).append(name)
    own = {
        "groups": {name: {"vars": exported.get(name, {}).get("vars", {}), "parents": parents.get(name, []),
                          "hosts": members} for name, members in groups.items()},
        "hosts": exported.get("_meta", {}).get("hostvars", {}),
    }  # fmt: skip
    return Source(groups, hostvars, own, templates=templates)


def _ask(path: Path, *words: str) -> dict:
    beside = Path(sys.executable).with_name("ansible-inventory")
    program = str(beside) if beside.exists() else shutil.which("ansible-inventory")
    if not program:
        raise VoipfleetError("ansible-inventory is not installed; install ansible-core (pip install ansible-core), or"
                             " give a folder that playbooks/render.yml wrote")  # fmt: skip
    said = subprocess.run([program, "-i", str(path), "--list", *words], capture_output=True, text=True, check=False,
                          env=os.environ | _STRICT)  # fmt: skip
    if said.returncode:
        why = said.stderr.strip().splitlines() or ["no output"]
        todo = "correct it"
        if "vault" in why[-1].lower():
            todo = "say where the vault's password is: ANSIBLE_VAULT_PASSWORD_FILE=<file>"
        raise UsageError(f"{path}: Ansible cannot read this inventory ({why[-1][:300]}); {todo}")
    return json.loads(said.stdout)


def _members(groups: dict, name: str, seen: set[str]) -> set[str]:
    if name in seen:
        return set()
    seen.add(name)
    group = groups.get(name, {})
    found = set(group.get("hosts", ()))
    for child in group.get("children", ()):
        found |= _members(groups, child, seen)
    return found


def _resolve(host: str, variables: dict, templates: list[Finding]) -> dict:
    """The variables with plain references resolved, as in `{{ vault_voipfleet_server_password | default('') }}`."""
    out = {}
    for name, value in variables.items():
        for _ in range(5):
            match = _REFERENCE.fullmatch(value.strip()) if isinstance(value, str) else None
            if not match:
                break
            value = variables.get(match[1], "" if match[2] else None)
        vaulted = isinstance(value, dict) and "__ansible_vault" in value  # ansible-inventory shows no plain text
        if name.startswith(PREFIX) and (vaulted or "{{" in str(value)):
            what = "encrypted in its place" if vaulted else "a template that only Ansible resolves"
            text = f"{name} is {what}; playbooks/validate.yml checks it, this did not"
            templates.append(Finding("N04", host, text))
        else:
            out[name] = value
    return out


def _rendered(path: Path) -> Source:
    try:
        index = json.loads((path / INDEX).read_text("utf-8"))
        groups, addresses = index["groups"], index["addresses"]
        names = {address: name for name, address in addresses.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f"{path / INDEX}: is not what playbooks/render.yml writes; render the inventory again"
        ) from None
    hostvars, faults = {}, []
    for name in sorted({host for hosts in groups.values() for host in hosts}):
        file = path / name / "voipfleet.conf"
        hostvars[name] = {"voipfleet_address": addresses.get(name, name)}
        try:
            config = load(file)
        except ConfigError as error:
            faults += error.faults
        else:
            hostvars[name] |= {PREFIX + key: config.values[key] for key in config.given - ROLLOUT_SETS}
            for key in DESTINATIONS:
                if config.values[key]:
                    hostvars[name][PREFIX + key] = [names.get(address, address) for address in config.values[key]]
    if faults:
        raise ConfigError(faults)
    return Source(groups, hostvars, rendered=True)
