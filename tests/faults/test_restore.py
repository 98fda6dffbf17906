"""Ends that are not what they were: snapshots, backups, records that are refused (rows 20 to 22)."""

import os
import shutil
import subprocess

import pytest
from faults.harness import Fleet
from faults.simulated import a_call
from voipfleet.calls import record


def test_row20_the_sensor_is_rolled_back_to_a_snapshot(fleet, saw):
    fleet.central.start()
    sensor = fleet.simulated().start()
    sensor.put(100)
    sensor.drained()
    sensor.stop()
    copy = shutil.copytree(sensor.folder, fleet.folder / "snapshot")
    sensor.start().put(50)
    sensor.drained()
    epoch = sensor.state.epoch
    sensor.stop()
    shutil.rmtree(sensor.folder)
    shutil.copytree(copy, sensor.folder)
    fleet.central.stop()
    sensor.start().put(60)  # they get the numbers that fifty others had
    sensor.until(lambda sensor: sensor.state.queued == 60)
    fleet.central.start()
    sensor.until(lambda sensor: sensor.state.queued == 0)
    counts = fleet.check()
    assert counts["rows"] == 210 and sensor.state.epoch != epoch
    saw("the folder of the sensor copied at record 100 and put back at 150, 60 new records",
        "a new epoch; 210 rows, 0 lost, 0 twice")  # fmt: skip


@pytest.mark.parametrize("keep", [24, 0])
def test_row21_the_database_is_restored_from_an_older_backup(namespace, tmp_path, mariadb_server, saw, keep):
    with Fleet(namespace, tmp_path, mariadb_server) as fleet:
        fleet.central.start()
        sensor = fleet.simulated(keep_acked_hours=keep).start()
        sensor.put(100)
        sensor.drained()
        fleet.central.stop()
        backup = dump(fleet)
        fleet.central.start()
        sensor.until(lambda sensor: sensor.connected)
        sensor.put(50)
        sensor.drained()
        fleet.central.stop()
        mariadb_server.sql(backup, fleet.database)
        assert len(fleet.rows()) == 100
        fleet.central.start()
        sensor.until(lambda sensor: sensor.connected)
        sensor.put(1)
        sensor.drained()
        sensor.until(lambda _: set(sensor.made[:100] + sensor.made[-1:]) <= set(fleet.stored()))
        counts = fleet.check()
    saw(f"MariaDB restored from a dump that lacks 50 records; the sensor keeps {50 if keep else 0} of them",
        f"{counts['rows']} rows and {counts['gaps']} told as a gap: {counts['created']} in all")  # fmt: skip


def dump(fleet) -> str:
    """The central's database as statements that bring it back."""
    words = ["mariadb-dump", "--no-defaults", f"--socket={fleet.server.socket}", "--user=root", "--hex-blob"]
    return subprocess.run([*words, fleet.database], check=True, capture_output=True, text=True).stdout


def test_row22_records_that_the_database_refuses(namespace, tmp_path, mariadb_server, saw):
    with Fleet(namespace, tmp_path, mariadb_server) as fleet:
        fleet.central.start()
        sensor = fleet.simulated().start()
        bodies = [(call.uuid, record.encode(call)) for call in (a_call("s1") for _ in range(400))]
        long = a_call("s1", caller="1" * 100_000, user_agent_caller="x" * 100_000)
        odd = [a_call("s1", setup_time=when) for when in (-(1 << 62), (1 << 63) - 1)]
        bodies[100:100] = [(long.uuid, record.encode(long)), (os.urandom(16), b"no msgpack at all")]
        bodies[200:200] = [(call.uuid, record.encode(call)) for call in odd]
        poisoned = a_call("s1", caller="666")
        bodies[300:300] = [(poisoned.uuid, record.encode(poisoned))]
        mariadb_server.sql("ALTER TABLE calls ADD CONSTRAINT refuse CHECK (caller <> '666')", fleet.database)
        sensor.put_bodies(bodies)
        sensor.drained()
        poison = len(fleet.rows("cdr_quarantine"))
        assert (
            poison == 2
            and poisoned.uuid not in fleet.stored()
            and {uuid for uuid, _ in bodies[:100]} <= set(fleet.stored())
        )
        why = [error for (error,) in fleet.rows("cdr_quarantine", "error")]
        counts = fleet.check(quarantined=poison)
        assert long.uuid in fleet.stored()  # a long value is cut in its column and whole in its record
    saw("a caller of 100,000 digits, dates of other millennia, bytes that are no record, one that"
        " MariaDB refuses, among 400 sound ones",
        f"{poison} in quarantine ({'; '.join(sorted(why))[:120]}), {counts['rows']} rows,"
        " all acknowledged")  # fmt: skip
