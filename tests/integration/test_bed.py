"""What the bed refuses, in a network namespace of the test's own: no host is made."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.netns import linked_namespaces

BED = Path(__file__).resolve().parents[2] / "molecule/resources/bed/bed"
TOOLS = ("ip", "nft", "mmdebstrap", "systemd-nspawn")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0 or not all(map(shutil.which, TOOLS)), reason="needs root and the bed's tools"),
]


@pytest.fixture(scope="module")
def namespace():
    with linked_namespaces() as (near, _):
        for words in ("ip link add vfothers type bridge", "nft add table ip vftable"):
            subprocess.run(["ip", "netns", "exec", near, *words.split()], check=True)
        yield near


@pytest.mark.parametrize(
    ("spec", "scope", "sentence"),
    [
        ("a,10.77.0.5", {"BED_BRIDGE": "vfothers"}, "vfothers: a link of that name exists and is not ours"),
        ("a,10.77.0.5", {"BED_BRIDGE": "vftable"}, "vftable: an nft table of that name exists and is not ours"),
        ("a,10.0.0.5", {"BED_NET": "10.0.0.0/24"}, "10.0.0.0/24 is routed already (10.0.0.0/24 dev v0"),
        ("a,10.77.0.5", {"BED_NET": "10.77.0.0/16"}, "BED_NET: '10.77.0.0/16' is no /24"),
        ("a,10.77.0.5", {"BED_BRIDGE": "a-very-long-name"}, "BED_BRIDGE: 'a-very-long-name' is no link name"),
        ("a,10.78.0.5", {}, "a: address '10.78.0.5' is not a host's in 10.77.0.0/24"),
        ("a,10.77.0.1", {}, "a: address '10.77.0.1' is not a host's in 10.77.0.0/24"),
        ("../a,10.77.0.5", {}, "'../a': no host name"),
        ("a,10.77.0.5,bookworm-games", {}, "bookworm-games: no layer games; choose from: "),
    ],
)
def test_what_it_refuses(namespace, tmp_path, spec, scope, sentence):
    before = state(namespace)
    said = bed(namespace, tmp_path, scope, "up", spec)
    assert said.returncode == 1
    assert sentence in said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert state(namespace) == before
    assert not (tmp_path / "scopes").exists()


def test_down_removes_nothing_that_it_did_not_make(namespace, tmp_path):
    before = state(namespace)
    said = bed(namespace, tmp_path, {"BED_BRIDGE": "vfothers"}, "down", "--all")
    assert (said.returncode, said.stderr) == (0, "")
    assert state(namespace) == before


def state(namespace: str) -> list[str]:
    """Links, routes and tables of the namespace."""
    return [
        subprocess.run(["ip", "netns", "exec", namespace, *words.split()], capture_output=True, text=True).stdout
        for words in ("ip -br link", "ip route", "nft list tables")
    ]


def bed(namespace: str, folder: Path, scope: dict, *words: str) -> subprocess.CompletedProcess:
    env = {key: value for key, value in os.environ.items() if not key.startswith("BED_")}
    env |= {"BED_DIR": str(folder)} | scope
    return subprocess.run(["ip", "netns", "exec", namespace, BED, *words], capture_output=True, text=True, env=env,
                          timeout=30, check=False)  # fmt: skip
