"""A sensor whose outbox is damaged, or whose disk is full: it captures, keeps what it can, and says what is missing."""

import contextlib
import os
import random
import sqlite3
import time
from pathlib import Path

import pytest
from support.fleet import Hosts, arrive, complete

SHORT = 4


@pytest.fixture
def hosts(namespace, tmp_path):
    with Hosts(namespace, tmp_path) as made:
        yield made


def spool_of(daemon) -> Path:
    return daemon.folder / "spool"


def random_inside(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 4096 // 2 * 4096)
        file.write(random.Random(1).randbytes(4096))


@pytest.mark.parametrize(("strike", "whole"), [
    (random_inside, False),
    (lambda path: path.write_bytes(b""), False),
    (lambda path: path.write_bytes(os.urandom(20_000)), False),
    (lambda path: os.truncate(path.with_name("outbox.db-wal"), 100_000), True),
])  # fmt: skip
def test_a_damaged_outbox_costs_what_was_in_the_damage_and_no_start(hosts, strike, whole):
    """B18."""
    c = hosts.add("c", server_bind="127.0.0.1")
    a = hosts.add("a", interface="vb", server_destination="127.0.0.1")
    hosts.start()
    hosts.place(1, 2)
    arrive(c, [1, 2])
    c.stop()
    hosts.place(*range(10, 30), rtp=SHORT)
    a.until(lambda status: status["records"]["queued"] == 20)
    if whole:
        a.kill()  # all is in the log
    else:
        a.stop()
    strike(spool_of(a) / "outbox.db")
    a.start(wait=None)
    a.until(lambda status: status["ready"])
    hosts.place(*range(40, 45), rtp=SHORT)
    c.start()
    records = a.until(lambda status: status["records"]["created"] and not status["records"]["queued"], 40)["records"]
    calls = c.calls()
    came = {int(call["caller"]) for call in calls}
    assert {1, 2, *range(40, 45)} <= came <= {1, 2, *range(10, 30), *range(40, 45)} and len(calls) == len(came)
    complete([call for call in calls if call["caller"] in ("40", "41")], "a", "", rtp=SHORT)
    assert records["created"] == records["acknowledged"] + records["gaps"]
    assert "Traceback" not in a.log()
    damaged = list(spool_of(a).glob("outbox.db.corrupt-*"))
    if whole:  # what SQLite can read of its log is no damage
        assert not damaged
    else:
        assert damaged and "damaged" in a.log()
        with contextlib.closing(sqlite3.connect(spool_of(c) / "calls.db")) as db:
            told = db.execute("SELECT reason, count FROM gaps").fetchall()
        assert [reason for reason, _ in told] == ["outbox damaged"]
        assert told[0][1] in (0, 20 - len(came & set(range(10, 30))))


def test_capture_does_not_wait_for_the_check(hosts):
    """Who holds the file keeps the check waiting; a call that is placed meanwhile is whole."""
    a = hosts.add("a", interface="vb")
    hosts.start()
    assert a.stop() == 0
    with contextlib.closing(sqlite3.connect(spool_of(a) / "outbox.db", isolation_level=None)) as held:
        held.execute("PRAGMA locking_mode=EXCLUSIVE")
        held.execute("BEGIN IMMEDIATE")
        held.execute("UPDATE meta SET value = value WHERE name = 'next_seq'")
        held.execute("COMMIT")
        a.start(wait=None)
        status = a.until(lambda status: status["records"]["outbox_error"] == "the outbox is still being checked")
        assert not status["ready"]
        time.sleep(1.5)  # interpreter and rings; nothing can be asked before
        hosts.place(1, rtp=SHORT)
    complete(arrive(a, [1]), "a", "", rtp=SHORT)
