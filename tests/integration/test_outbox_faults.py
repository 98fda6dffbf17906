"""A sensor whose outbox is damaged, or whose disk is full: it captures, keeps what it can, and says what is missing."""

import contextlib
import os
import random
import sqlite3
import subprocess
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


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 32 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m,mode=755", "voipfleet-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path, leave: int = 0) -> None:
    """Somebody else takes all room but so many bytes."""
    said = os.statvfs(folder)
    with (folder / "somebody else's").open("ab") as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), file.tell(), max(1, said.f_bavail * said.f_frsize - leave))


def test_packets_that_wait_go_before_records_when_the_disk_runs_out_of_room(hosts, small_disk):
    """B11. And the receiver is told how many."""
    b = hosts.add("b", mirror_bind="127.0.0.1")
    a = hosts.add("a", interface="vb", mirror_destination="127.0.0.1", spooldir=small_disk, packetbuffer_compress="no")
    hosts.start()
    b.stop()
    hosts.place(1, 2, rtp=100)
    a.until(lambda status: status["packets"]["links"][0]["buffer"]["disk"] > 400)
    fill(small_disk, leave=1 << 20)  # the floor is 3.2 MB
    status = a.until(lambda status: status["packets"]["links"][0]["buffer"]["dropped"] > 400)
    buffer = status["packets"]["links"][0]["buffer"]
    assert buffer["put"] == buffer["acknowledged"] + buffer["memory"] + buffer["disk"] + buffer["dropped"]
    hosts.place(3, rtp=SHORT)  # waits in memory
    (small_disk / "somebody else's").unlink()
    b.start(wait=None)
    complete(arrive(b, [3]), "a", "b", rtp=SHORT)
    received = b.until(lambda status: status["packets"]["received"])["packets"]["received"]
    assert received[0]["lost"] == buffer["dropped"] and "the disk ran out of room" in b.log()
    assert "are dropped for records" in a.log()


@pytest.mark.parametrize("room_comes_back", [True, False])
def test_a_full_disk_costs_no_record_for_which_there_is_memory_or_a_reserve(hosts, small_disk, room_comes_back):
    """B11. Records wait in memory until there is room; at the end of the process the reserve is there for them."""
    c = hosts.add("c", server_bind="127.0.0.1")
    a = hosts.add("a", interface="vb", server_destination="127.0.0.1", spooldir=small_disk)
    hosts.start()
    hosts.place(1, rtp=SHORT)
    arrive(c, [1])
    a.until(lambda status: (small_disk / "ballast").exists())
    c.stop()
    fill(small_disk)
    hosts.place(*range(2, 12), rtp=SHORT)
    status = a.until(lambda status: status["records"]["outbox_error"], 20)
    assert "full" in status["records"]["outbox_error"] and "make room" in a.log()
    if room_comes_back:
        (small_disk / "somebody else's").unlink()
        a.until(lambda status: not status["records"]["outbox_error"])
    begun = time.monotonic()
    assert a.stop() == 0
    assert time.monotonic() - begun < 10
    (small_disk / "somebody else's").unlink(missing_ok=True)
    c.start()
    a.start()
    arrive(c, range(1, 12), 40)
    assert a.until(lambda status: not status["records"]["queued"])["records"]["gaps"] == 0


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_start_on_a_full_disk(hosts, small_disk, end):
    """B11. The reserve is enough to open the outbox."""
    a = hosts.add("a", interface="vb", server_destination="127.0.0.1", spooldir=small_disk)
    a.start(wait=None)
    a.until(lambda status: status["ready"] and (small_disk / "ballast").exists())
    hosts.place(1, rtp=SHORT)
    a.until(lambda status: status["records"]["queued"] == 1)
    getattr(a, end)()
    fill(small_disk)
    a.start(wait=None)
    a.until(lambda status: status["ready"])
    hosts.place(2, rtp=SHORT)
    a.until(lambda status: status["records"]["queued"] == 2 or status["records"]["outbox_error"])
    (small_disk / "somebody else's").unlink()
    a.until(lambda status: status["records"]["queued"] == 2 and not status["records"]["outbox_error"])
    assert "Traceback" not in a.log() and not list(small_disk.glob("*.corrupt*"))
