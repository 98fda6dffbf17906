"""The gate through ansible-playbook: ten broken inventories, the ways around it, and the password in no output.

The hosts of these inventories are reached by a connection plugin that writes down every module sent to one and lets
only fact gathering run, on this machine: `no host was touched` is a fact about that list.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from topology.fleets import BROKEN, OTHER, PASSWORD, fleet, v

PROJECT = Path(__file__).parents[2]
PLAYBOOK = str(Path(sys.executable).with_name("ansible-playbook"))
TEN = ("T01", "T02", "T04", "T06", "T07", "T09", "T13", "T16", "T18", "T22")
PLUGIN = """
DOCUMENTATION = '''
name: traced
author: VoIPfleet
short_description: writes down what is sent to a host
description: [It lets facts be gathered on this machine and refuses the rest.]
extends_documentation_fragment: [connection_pipelining]
options: {{}}
'''
from pathlib import Path
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection.local import Connection as Local
class Connection(Local):
    transport = "traced"
    def put_file(self, source, target):
        name = Path(target).name
        with open({trace!r}, "a") as file:
            file.write(name + chr(10))
        if "setup" not in name:
            raise AnsibleConnectionFailure("refused by the test")
        super().put_file(source, target)
"""


@pytest.fixture
def site(tmp_path):
    """write(changes) -> inventory; run(*words) -> (exit code, output); touched() -> modules sent to hosts."""

    class Site:
        inventory = tmp_path / "site" / "hosts.yml"
        trace = tmp_path / "trace"

        def write(self, changes: dict) -> None:
            groups, hostvars = fleet(**changes)
            for variables in hostvars.values():
                variables |= {"ansible_connection": "traced", "ansible_become": False,
                              "ansible_python_interpreter": sys.executable}  # fmt: skip
            tree = {"all": {"hosts": hostvars, "children": {
                group: {"hosts": dict.fromkeys(names)} for group, names in groups.items() if group != "all"
            }}}  # fmt: skip
            self.inventory.parent.mkdir(exist_ok=True)
            self.inventory.write_text(yaml.safe_dump(tree))

        def run(self, *words: str, playbook: str = "site.yml") -> tuple[int, str]:
            plugins = tmp_path / "plugins"
            plugins.mkdir(exist_ok=True)
            (plugins / "traced.py").write_text(PLUGIN.format(trace=str(self.trace)))
            own = {"ANSIBLE_CONNECTION_PLUGINS": str(plugins), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(tmp_path),
                   "ANSIBLE_PIPELINING": "0"}  # fmt: skip
            # From a folder of its own, without the project's ansible.cfg: as any user with an Ansible of his own.
            done = subprocess.run(
                [PLAYBOOK, "-i", str(self.inventory), str(PROJECT / playbook), *words],
                cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
                env=os.environ | own,
            )  # fmt: skip
            return done.returncode, done.stdout + done.stderr

        def touched(self) -> set[str]:
            return set(self.trace.read_text().split()) if self.trace.exists() else set()

    return Site()


@pytest.mark.parametrize("code", TEN)
def test_a_broken_topology_stops_before_any_host(site, code):
    changes, sentences = BROKEN[code]
    site.write(changes)
    returned, said = site.run()
    assert returned != 0
    assert not site.touched()
    flat = " ".join(said.split())
    for sentence in sentences:
        assert sentence in flat
    assert "No host was changed." in flat


THREE = {"branch1": v(server_bind="0.0.0.0"), "branch2": v(server_destination="hqq", server_password=OTHER)}
AROUND = {
    "limit": ["--limit", "branch1"],
    "limit to a sound host": ["--limit", "hq"],
    "tags": ["--tags", "nothing"],
    "skip always": ["--skip-tags", "always"],
    "check": ["--check", "--diff"],
    "start in a later play": ["--start-at-task", "Prepare"],
    "start in the last play": ["--start-at-task", "The daemon"],
    "start in a role": ["--start-at-task", "Install what the daemon needs of the host's distribution"],
    "everything said": ["-vvv", "--diff"],
}


@pytest.mark.parametrize("way", AROUND)
def test_no_way_leads_around_it(site, way):
    site.write(THREE)
    returned, said = site.run(*AROUND[way])
    # To start at a task makes Ansible gather facts by itself; that reads, and nothing else may follow.
    assert site.touched() <= ({"AnsiballZ_setup.py"} if "--start-at-task" in AROUND[way] else set())
    if way == "start in a role":  # included while it runs, so Ansible does not find it and does nothing at all
        assert "changed=" not in said
        return
    assert returned != 0
    if "--start-at-task" in AROUND[way]:
        assert "no plan, so nothing is done; run site.yml" in " ".join(said.split())
    for password in (PASSWORD, OTHER):
        assert password not in said
    if way == "everything said":
        assert [code for code in ("T04 branch1", "T06 branch2", "T16 fleet") if code in said] == [
            "T04 branch1", "T06 branch2", "T16 fleet"]  # fmt: skip
        assert said.count("T2") == 0


def test_a_sound_topology_is_let_through_to_the_hosts(site):
    """The other side of `not touched`: the same trace says so where the gate opens."""
    site.write({})
    returned, said = site.run("-vvv")
    assert returned != 0
    assert "AnsiballZ_setup.py" in site.touched()
    assert "No host was changed" not in said
    assert PASSWORD not in said


def test_validate_and_render_reach_for_no_host(site, tmp_path):
    site.write({})
    assert site.run(playbook="playbooks/validate.yml")[0] == 0
    returned, said = site.run("-e", f"voipfleet_render_to={tmp_path}/out", "--diff", playbook="playbooks/render.yml")
    assert returned == 0, said
    assert not site.touched()
    assert "server_destination = 10.0.0.1" in (tmp_path / "out" / "branch1" / "voipfleet.conf").read_text()
    everything = said + "".join(path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert PASSWORD not in everything


def test_strict_makes_warnings_stop(site):
    site.write({"other": {}})
    assert site.run(playbook="playbooks/validate.yml")[0] == 0
    returned, said = site.run("-e", "voipfleet_strict=true", playbook="playbooks/validate.yml")
    assert returned != 0
    assert "W03 other" in said


def test_one_key_from_two_groups_is_seen_through_ansible_too(site):
    site.write({})
    tree = yaml.safe_load(site.inventory.read_text())
    tree["all"]["children"] |= {"north": {"hosts": {"branch1": None}, "vars": v(rtptimeout=60)},
                                "old": {"hosts": {"branch1": None}, "vars": v(rtptimeout=90)}}  # fmt: skip
    site.inventory.write_text(yaml.safe_dump(tree))
    returned, said = site.run(playbook="playbooks/validate.yml")
    assert returned != 0
    assert "T23 branch1: voipfleet_rtptimeout has different values from the groups north and old" in said


def test_a_variable_that_cannot_be_resolved_is_named(site):
    site.write({"branch1": v(site="{{ nobody_defined_this }}")})
    returned, said = site.run(playbook="playbooks/validate.yml")
    assert returned != 0
    assert "T02 branch1: voipfleet_site cannot be resolved; see whether all that it names is defined" in said


def test_a_key_lies_beside_the_inventory_that_names_its_host(site, tmp_path):
    """Two inventories in one run, as a company with one file a region has it."""
    site.write({})
    tree = yaml.safe_load(site.inventory.read_text())
    other = tmp_path / "north" / "hosts.yml"
    branch = tree["all"]["hosts"].pop("branch1")
    del tree["all"]["children"]["sensors"]["hosts"]["branch1"]
    site.inventory.write_text(yaml.safe_dump(tree))
    for folder, name in ((site.inventory.parent, "hq"), (other.parent, "branch1")):
        (folder / "keys").mkdir(parents=True)
        key = f"{name:A<42}E="
        (folder / "keys" / f"{name}.pub").write_text(f"# voipfleet-key {key} {name}\n")
    other.write_text(yaml.safe_dump({"sensors": {"hosts": {"branch1": branch}}}))
    returned, said = site.run(
        "-i", str(other), "-e", f"voipfleet_render_to={tmp_path}/out", playbook="playbooks/render.yml"
    )
    assert returned == 0, said
    assert f"server_key = 10.0.0.1:{'hq':A<42}E=" in (tmp_path / "out" / "branch1" / "voipfleet.conf").read_text()
    assert f"sensor_keys = branch1:{'branch1':A<42}E=" in (tmp_path / "out" / "hq" / "voipfleet.conf").read_text()
