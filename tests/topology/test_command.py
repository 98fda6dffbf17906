"""`voipfleet topology` over the inventories that ship, over one with faults, and over rendered configurations."""

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from topology.fleets import PASSWORD
from voipfleet import cli

PROJECT = Path(__file__).parents[2]
MODES = ("client-server", "packet-sender", "mirror", "sip-rtp-merge", "record-merge", "hybrid-chain",
         "hybrid-chain-packets")  # fmt: skip
VAULT = "vault_voipfleet_server_password"


@pytest.fixture
def inventory(tmp_path):
    def copy(mode: str) -> Path:
        shutil.copytree(PROJECT / "inventories" / mode, tmp_path / mode)
        (tmp_path / mode / "group_vars" / "all" / "vault.yml").write_text(f"{VAULT}: {PASSWORD}\n")
        return tmp_path / mode

    return copy


@pytest.mark.parametrize("mode", MODES)
def test_the_inventories_that_ship_are_sound_once_they_have_a_password(inventory, mode, capsys):
    assert cli.main(["topology", "check", str(PROJECT / "inventories" / mode)]) == 78
    first = "hq" if mode == "record-merge" else "media" if mode == "sip-rtp-merge" else "branch1"
    assert f"voipfleet_server_password is missing on {first}" in capsys.readouterr().err
    assert cli.main(["topology", "check", str(inventory(mode))]) == 0
    out = capsys.readouterr()
    assert "the topology is sound" in out.out
    assert "warning:" not in out.err
    assert PASSWORD not in out.out + out.err
    assert cli.main(["topology", "check", "--strict", "--json", str(PROJECT / "inventories" / mode)]) == 78
    assert json.loads(capsys.readouterr().out)["findings"]


@pytest.mark.parametrize("mode", MODES)
def test_the_picture_in_the_docs_is_that_of_the_inventory(mode, capsys):
    assert cli.main(["topology", "draw", str(PROJECT / "inventories" / mode)]) == 0
    page = (PROJECT / "docs" / "topologies.md").read_text("utf-8")
    assert f"(`inventories/{mode}`)" in page
    assert f"```mermaid\n{capsys.readouterr().out}```\n" in page.partition(f"(`inventories/{mode}`)")[2]


def test_every_inventory_that_ships_is_drawn_and_checked_here():
    assert set(MODES) | {"lab"} == {path.name for path in (PROJECT / "inventories").iterdir() if path.is_dir()}


def test_values_from_groups_of_a_real_inventory(inventory, capsys):
    path = inventory("client-server")
    (path / "more.yml").write_text("north: {hosts: {branch1: {}}, vars: {voipfleet_rtptimeout: 60}}\n"
                                   "old: {hosts: {branch1: {}}, vars: {voipfleet_rtptimeout: 90}}\n")  # fmt: skip
    assert cli.main(["topology", "check", str(path)]) == 78
    assert ("error: T23 branch1: voipfleet_rtptimeout has different values from the groups north and old; set it in one"
            " of them, or for this host") in capsys.readouterr().err  # fmt: skip


def test_a_template_is_not_guessed_at(inventory, capsys):
    path = inventory("client-server")
    (path / "group_vars" / "all" / "main.yml").write_text(
        "voipfleet_server_password: \"{{ lookup('ansible.builtin.env', 'NOT_SET') }}\"\n"
    )
    assert cli.main(["topology", "check", str(path)]) == 0
    assert "note: N04 hq: voipfleet_server_password is a template that only Ansible resolves" in capsys.readouterr().err


def test_what_is_encrypted_is_not_judged_by_its_ciphertext(inventory, tmp_path, capsys, monkeypatch):
    path = inventory("client-server")
    (tmp_path / "word").write_text("of the vault\n")
    vault = [str(Path(sys.executable).with_name("ansible-vault"))]
    own = os.environ | {"ANSIBLE_VAULT_PASSWORD_FILE": str(tmp_path / "word"), "ANSIBLE_HOME": str(tmp_path)}
    whole = path / "group_vars" / "all" / "vault.yml"
    subprocess.run([*vault, "encrypt", str(whole)], env=own, check=True, capture_output=True)
    assert cli.main(["topology", "check", str(path)]) == 2
    assert "say where the vault's password is: ANSIBLE_VAULT_PASSWORD_FILE=<file>" in capsys.readouterr().err
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(tmp_path / "word"))
    assert cli.main(["topology", "check", str(path)]) == 0
    assert "N04" not in capsys.readouterr().err

    inline = subprocess.run([*vault, "encrypt_string", "short", "--name", VAULT], env=own, check=True,
                            capture_output=True, text=True).stdout  # fmt: skip
    whole.write_text(inline)
    assert cli.main(["topology", "check", str(path)]) == 0
    said = capsys.readouterr()
    assert "note: N04 hq: voipfleet_server_password is encrypted in its place; playbooks/validate.yml" in said.err
    assert "ANSIBLE_VAULT" not in said.err + said.out


def test_pictures(inventory, tmp_path, capsys):
    path = str(inventory("hybrid-chain"))
    assert cli.main(["topology", "draw", path]) == 0
    drawn = capsys.readouterr().out
    assert drawn.startswith("flowchart LR\n")
    assert drawn.count("-- packets (mirror) -->") == 2
    assert drawn.count("-- records -->") == 1
    assert cli.main(["topology", "draw", "--svg", str(tmp_path / "fleet.svg"), path]) == 0
    texts = [
        element.text for element in ElementTree.parse(tmp_path / "fleet.svg").iter() if element.tag.endswith("text")
    ]
    assert {"branch1", "branch2", "region", "hq", "records", "packets (mirror)"} <= set(texts)


def test_rendered_configurations(tmp_path, capsys):
    (tmp_path / "topology.json").write_text(json.dumps(
        {"groups": {"centrals": ["hq"], "sensors": ["b1"]}, "addresses": {"hq": "10.0.0.1", "b1": "10.0.0.2"}}
    ))  # fmt: skip
    for name, text in {"hq": "server_bind = 0.0.0.0\nmysqlhost = /run/mysqld/mysqld.sock",
                       "b1": "interface = eth0\nserver_destination = 10.0.0.1"}.items():  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "voipfleet.conf").write_text(f"[general]\n{text}\n")
    assert cli.main(["topology", "check", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""
    with (tmp_path / "b1" / "voipfleet.conf").open("a") as file:
        file.write("server_destination_port = 7\n")
    assert cli.main(["topology", "check", str(tmp_path)]) == 78
    assert "T11 b1: sends to port 7 of hq, which listens on 60024" in capsys.readouterr().err
    (tmp_path / "b1" / "voipfleet.conf").write_text("[general]\ninterfac = eth0\n")
    (tmp_path / "hq" / "voipfleet.conf").unlink()
    assert cli.main(["topology", "check", str(tmp_path)]) == 78
    assert [line.removeprefix(f"{tmp_path}/") for line in capsys.readouterr().err.splitlines()] == [
        "b1/voipfleet.conf:2: interfac: is not a known key (did you mean interface?); correct or remove it",
        "hq/voipfleet.conf: cannot be read (No such file or directory); check the path and its permissions",
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is not there; give an inventory"),
        ("{not: [an, inventory", "Ansible cannot read this inventory"),
    ],
)
def test_what_is_no_inventory(tmp_path, content, sentence, capsys):
    path = tmp_path / "hosts.yml"
    if content:
        path.write_text(content)
    assert cli.main(["topology", "check", str(path)]) == 2
    assert sentence in capsys.readouterr().err


def test_without_ansible(tmp_path, capsys, monkeypatch):
    (tmp_path / "hosts.yml").write_text("all: {hosts: {a: {}}}\n")
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    monkeypatch.setattr("voipfleet.inventory.sys.executable", str(tmp_path / "python"))
    assert cli.main(["topology", "check", str(tmp_path / "hosts.yml")]) == 1
    assert "ansible-inventory is not installed; install ansible-core" in capsys.readouterr().err
