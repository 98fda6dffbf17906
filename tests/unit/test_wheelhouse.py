"""The name of a release: the same for the same source, lock and kind of host, another for anything else."""

import importlib.util
import shutil
from argparse import Namespace
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def wheelhouse(tmp_path):
    """The tool beside a copy of the source, as in a checkout."""
    tool = tmp_path / "roles" / "voipfleet" / "files" / "wheelhouse.py"
    tool.parent.mkdir(parents=True)
    shutil.copy(PROJECT / "roles/voipfleet/files/wheelhouse.py", tool)
    shutil.copytree(PROJECT / "sensor", tmp_path / "sensor", ignore=shutil.ignore_patterns("__pycache__"))
    spec = importlib.util.spec_from_file_location("wheelhouse", tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.folder = tmp_path / "sensor"
    return module


def name(module, **change) -> str:
    return module.name(Namespace(**({"python": "3.11", "machine": "x86_64", "lock": "daemon"} | change)))


def test_a_name_says_what_it_is_for(wheelhouse):
    assert name(wheelhouse) == name(wheelhouse)
    assert name(wheelhouse).endswith("-py3.11-x86_64")
    others = [
        name(wheelhouse, **change) for change in ({"python": "3.13"}, {"machine": "aarch64"}, {"lock": "central"})
    ]
    assert len({name(wheelhouse), *others}) == 4


def test_source_and_lock_change_it_and_caches_do_not(wheelhouse):
    first = name(wheelhouse)
    cache = wheelhouse.folder / "voipfleet" / "__pycache__"
    cache.mkdir()
    (cache / "cli.pyc").write_bytes(b"x")
    assert name(wheelhouse) == first
    with (wheelhouse.folder / "voipfleet" / "cli.py").open("a") as file:
        file.write("# changed\n")
    second = name(wheelhouse)
    assert second != first
    with (wheelhouse.folder / "requirements" / "daemon.txt").open("a") as file:
        file.write("\n")
    assert name(wheelhouse) not in (first, second)


def test_every_locked_package_has_a_hash():
    for lock in ("daemon", "central", "dev"):
        lines = (PROJECT / "sensor" / "requirements" / f"{lock}.txt").read_text("utf-8")
        entries = [entry for entry in lines.replace("\\\n", " ").splitlines() if "==" in entry and entry[0] not in " #"]
        assert len(entries) > 5
        assert all("--hash=sha256:" in entry for entry in entries)
