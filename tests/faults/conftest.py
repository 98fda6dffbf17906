"""Fixtures of the fault tests, and the book of what they saw (written where VOIPFLEET_FAULTS names a file)."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from faults.harness import Fleet
from support import mariadb
from support.netns import veth_namespace

_results: dict[str, dict] = {}


@pytest.fixture
def namespace():
    """The name of a network namespace with a veth pair va-vb."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and iproute2")
    with veth_namespace() as name:
        yield name


@pytest.fixture
def fleet(namespace, tmp_path):
    """A central with SQLite, not started yet, in a namespace of its own."""
    with Fleet(namespace, tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def mariadb_server():
    """A MariaDB server of this run's own, for tests that do it no harm."""
    with mariadb.server() as made:
        yield made


@pytest.fixture
def saw(request):
    """`saw(injected, seen)`: for docs/faults.md, after all was asserted."""

    def tell(injected: str, seen: str) -> None:
        request.node.user_properties += [("injected", injected), ("seen", seen)]

    return tell


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if row := re.search(r"\[row(\d\d)\]$", item.name) or re.match(r"test_row(\d\d)_", item.name):
        entry = _results.setdefault(item.name, {"row": int(row[1]), "file": item.path.name, "outcome": "passed"})
        if report.when == "call" or report.outcome != "passed":
            outcome = report.outcome
            if hasattr(report, "wasxfail"):
                outcome, entry["why"] = "expected to fail", report.wasxfail
            elif report.skipped:
                entry["why"] = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            entry |= {"outcome": outcome, **dict(item.user_properties)}
    return report


def pytest_sessionfinish(session):
    if path := os.environ.get("VOIPFLEET_FAULTS"):
        file = Path(path)
        known = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(dict(sorted((known | _results).items())), indent=1, ensure_ascii=False) + "\n")
