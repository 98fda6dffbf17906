"""What disks do: order of writes, errors, no room, no inodes, damage (rows 5, 7 to 11)."""

import os
import sqlite3
import time
from contextlib import closing

import pytest
from faults.disks import fill, small, start_under, traced
from faults.harness import PORT, captures, committed, settled, wait
from faults.traffic import Calls

STRACE = ("strace", "-D", "-f", "-yy", "--seccomp-bpf", "-e")
BURST = 50  # calls that end together: their batch is larger than anything else that a sensor sends


def test_row05_nothing_is_said_before_it_is_on_the_disk(fleet, saw):
    """A loss of power can take what was written and not synced; so the order of the calls is the promise."""
    sensor, logs = fleet.capturing(), [fleet.folder / name for name in ("central.strace", "sensor.strace")]
    for daemon, log in zip((fleet.central, sensor), logs, strict=True):
        start_under(daemon, *STRACE, "trace=pwrite64,fdatasync,fsync,sendto", "-o", str(log))
        daemon.until(lambda status: status["ready"], 40)
    sensor.until(captures, 40)
    calls = Calls(fleet.namespace)
    for number in range(1, 11):
        calls.place(BURST)
        sensor.until(lambda status, n=number: status["records"]["acknowledged"] >= n * BURST, 30)
    sensor.until(settled)
    counts = fleet.check(*committed(sensor))
    sensor.stop()
    fleet.central.stop()
    batches = in_order(traced(logs[1]), "outbox.db", lambda size: size > 5000)
    acknowledgements = in_order(traced(logs[0]), "calls.db", lambda size: 55 < size < 100)
    assert batches >= 10 and acknowledgements >= 10
    saw("strace of a sensor and of a central with SQLite: pwrite64, fdatasync, sendto",
        f"each of {batches} batches left after a sync of the outbox, each of {acknowledgements} acknowledgements"
        f" after one of the database; {counts['created']} records")  # fmt: skip


def in_order(calls, database: str, counts) -> int:
    """How many sends on the link `counts`; between each two of them the database was written and then synced."""
    sends, written, synced = 0, False, False
    for call in calls:
        if database in call.on and call.name == "pwrite64":
            written, synced = True, False
        elif database in call.on and call.result == 0:
            synced = written
        elif f":{PORT}" in call.on and counts(call.result):
            assert written and synced, f"send {sends} of {call.result} bytes is not behind a sync"
            sends, written, synced = sends + 1, False, False
    return sends


def test_row07_a_sync_fails(fleet, saw):
    fleet.central.start()
    sensor = fleet.capturing()
    start_under(sensor, *STRACE, "inject=fdatasync:error=EIO:when=20", "-o", os.devnull)
    sensor.until(captures, 40)
    with Calls(fleet.namespace, 100) as calls:
        time.sleep(4)
    placed = len(calls.placed)
    sensor.until(lambda status: settled(status) and status["records"]["created"] >= placed, 60)
    records = sensor.until(lambda status: True)["records"]
    wait(lambda: len(fleet.rows()) + fleet.gaps() >= placed)
    counts = {"rows": len(fleet.rows()), "gaps": fleet.gaps()}
    numbers = {caller for (caller,) in fleet.rows("calls", "caller")}
    assert len(numbers) == counts["rows"] and counts["rows"] + counts["gaps"] == placed
    assert records["created"] == records["acknowledged"] + records["gaps"]
    damaged = list((sensor.folder / "spool").glob("outbox.db.corrupt-*"))
    assert damaged and "Traceback" not in sensor.log() and sensor.process.poll() is None
    saw("strace lets the 20th fdatasync return EIO at 100 calls/s",
        f"{placed} calls, {counts['rows']} rows, {counts['gaps']} told as a gap; a new file took over,"
        " the old one is put aside; the daemon went on")  # fmt: skip


@pytest.mark.parametrize("inodes", [pytest.param(0, id="row08"), pytest.param(64, id="row10")])
def test_row08_no_room(fleet, saw, inodes):
    fleet.central.start()
    with small(fleet.folder / "disk", 24, inodes) as disk:
        sensor = fleet.capturing(spooldir=disk / "spool")
        sensor.start(wait=None)
        sensor.until(captures)
        calls = Calls(fleet.namespace)
        calls.place(500)
        sensor.until(lambda status: status["records"]["created"] >= 500)
        ballast = fill(disk, bool(inodes))
        for _ in range(20):
            calls.place(200)
            time.sleep(0.2)
        status = sensor.until(lambda status: status["capture"]["calls_active"] == 0)
        said = status["records"]["outbox_error"]
        assert said or inodes  # who has a file may write it
        for path in ballast:
            path.unlink()
        placed = len(calls.placed)
        sensor.until(lambda status: settled(status) and status["records"]["created"] >= placed, 60)
        wait(lambda: len(fleet.rows()) + fleet.gaps() >= placed)
        rows, gaps = fleet.rows("calls", "caller"), fleet.gaps()
        assert len(set(rows)) == len(rows) and len(rows) + gaps == placed
        fleet.no_traceback()
        assert sensor.process.poll() is None
        sensor.stop()
    saw(f"{'no inode' if inodes else 'no byte'} is left on the disk of the outbox while 4,000 calls end",
        f"told: {said or 'nothing to tell, the files that are open have room'}; once there was room"
        f" {len(rows)} rows and {gaps} told as a gap: {placed} calls")  # fmt: skip


def test_row09_the_disk_of_the_packets_is_full_and_records_do_not_notice(fleet, saw):
    fleet.central.start()
    with small(fleet.folder / "packets", 2) as disk:
        sensor = fleet.capturing(mirror_destination="127.0.0.1", packetbuffer_file_path=disk / "p", max_buffer_mem=1,
                                 packetbuffer_compress="no")  # fmt: skip
        sensor.start(wait=None)
        sensor.until(captures)
        with Calls(fleet.namespace, 300) as calls:
            status = sensor.until(lambda status: status["packets"]["links"][0]["buffer"]["dropped"], 60)
        placed = len(calls.placed)
        status = sensor.until(lambda status: settled(status) and status["records"]["created"] >= placed, 60)
        buffer = status["packets"]["links"][0]["buffer"]
        assert buffer["put"] == buffer["acknowledged"] + buffer["memory"] + buffer["disk"] + buffer["dropped"]
        counts = fleet.check(*committed(sensor))
        assert len({caller for (caller,) in fleet.rows("calls", "caller")}) == placed
        sensor.stop()
    saw("a disk of 2 MiB for packets that wait for a receiver that is away, 300 calls/s",
        f"{buffer['dropped']} packets dropped and counted; all {counts['created']} records came")  # fmt: skip


def test_row11_the_outbox_is_damaged(fleet, saw):
    """More ways of damage: tests/integration/test_outbox_faults.py."""
    fleet.central.start()
    fleet.central.stop()
    sensor = fleet.simulated().start()
    sensor.put(3000)
    sensor.until(lambda sensor: sensor.state.queued == 3000)
    sensor.stop()
    path = sensor.folder / "outbox.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(4096))
    fleet.central.start()
    sensor.start()
    sensor.until(lambda sensor: sensor.state.created >= 3000 and not sensor.state.queued, 60)
    counts = fleet.check()
    assert counts["rows"] > 2900 and list(sensor.folder.glob("outbox.db.corrupt-*"))
    saw("4 KiB of random bytes in the midst of an outbox of 3,000 records",
        f"{counts['rows']} rows, {counts['gaps']} told as a gap, the damaged file is kept beside")  # fmt: skip
