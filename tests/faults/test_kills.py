"""Daemons and databases that are killed while records are on their way (rows 1 to 4, 37)."""

import random
import statistics
import time

import pytest
from faults.harness import PORT, Fleet, captures, committed, settled, wait
from faults.traffic import Calls
from support import mariadb
from support.chaos import Chaos


def many(short: int, long: int):
    """So many repetitions in `make test`, and so many in `make soak`."""
    return pytest.mark.parametrize("times", [short, pytest.param(long, marks=pytest.mark.soak)])


@many(5, 50)
def test_row02_the_central_is_killed_under_load(fleet, saw, times):
    fleet.central.start()
    sensor, longest = fleet.simulated().start(), 0.0
    with sensor.load(200):
        for _ in range(times):
            sensor.until(lambda sensor: sensor.connected)
            time.sleep(random.uniform(0.05, 0.6))  # at any moment between two commits
            fleet.central.kill()
            fleet.central.start(wait=None)
            sensor.until(lambda sensor: not sensor.connected)
            longest = max(longest, sensor.until(lambda sensor: sensor.connected, 40))
    sensor.drained()
    counts = fleet.check()
    saw(
        f"kill -9 of the central {times} times at any moment, 200 records/s",
        f"{counts['created']} records, 0 lost, 0 twice; the sensor was back after {longest:.1f} s at most",
    )


def test_row03_the_database_is_killed_between_commits(namespace, tmp_path, saw):
    with mariadb.server() as server, Fleet(namespace, tmp_path, server) as fleet:
        fleet.central.start()
        sensor = fleet.simulated().start()
        with sensor.load(200):
            for _ in range(3):
                sensor.until(lambda sensor: sensor.state.acknowledged > 200 and sensor.state.queued < 100)
                server.kill()
                time.sleep(2)
                acknowledged = set(sensor.made[: sensor.state.acknowledged])
                server.start()
                assert acknowledged <= set(fleet.stored())
        sensor.drained()
        counts = fleet.check()
    saw(
        "kill -9 of MariaDB 3 times, away for 2 s, 200 records/s",
        f"{counts['created']} records, all that were acknowledged are committed, 0 lost, 0 twice",
    )


def test_row04_the_acknowledgement_is_lost(fleet, saw):
    fleet.central.start()
    with Chaos(PORT, namespace=fleet.namespace) as chaos:
        sensor = fleet.simulated(port=chaos.port).start()
        sensor.until(lambda sensor: sensor.connected)
        welcome = chaos.links[0].carried[1]
        again = 0
        for _ in range(5):
            sensor.drained()
            sensor.until(lambda sensor: sensor.connected)
            chaos.down.cut_after = chaos.links[-1].carried[1] + 10  # not one acknowledgement comes through
            links = len(chaos.links)
            sensor.put(300)
            sensor.until(lambda sensor, links=links: len(chaos.links) > links)
            again += sensor.state.queued
            chaos.down.cut_after = None
        sensor.drained()
        counts = fleet.check()
    assert welcome and again
    saw("the proxy cuts what the central says 10 bytes later, 5 times", f"{counts['created']} records, 0 lost, 0 twice")


@many(5, 50)
def test_row01_the_sensor_is_killed_under_load(fleet, saw, times):
    fleet.central.start()
    sensor = fleet.capturing()
    sensor.start()
    durable, took, due = set(), [], set()
    with Calls(fleet.namespace, 100) as calls:
        for _ in range(times):
            since, before = time.monotonic(), len(committed(sensor))
            wait(lambda before=before: len(committed(sensor)) > before)
            time.sleep(random.uniform(0.05, 1.5))
            sensor.kill()
            due |= {number for number, at in calls.placed if since < at < time.monotonic() - 1.0}
            durable |= set(committed(sensor))
            start = time.monotonic()
            sensor.start(wait=None)
            sensor.until(captures, 20)
            took.append(time.monotonic() - start)
    sensor.until(settled, 60)
    created = committed(sensor)
    counts = fleet.check(*created)
    assert durable <= set(created)
    assert due <= {int(caller) for (caller,) in fleet.rows("calls", "caller")}
    assert statistics.median(took) < 3
    saw(f"kill -9 of the sensor {times} times at any moment, 100 calls/s",
        f"{len(durable)} records were on its disk at the kills and {counts['created']} in all: 0 lost, 0 twice;"
        f" nor one of the {len(due)} calls that had ended 1 s before a kill; it captures again after"
        f" {statistics.median(took):.1f} s, {max(took):.1f} s at most")  # fmt: skip


def test_row37_sigterm_under_load(fleet, saw):
    fleet.central.start()
    sensor = fleet.capturing()
    sensor.start()
    ends = []
    with Calls(fleet.namespace, 200) as calls:
        for _ in range(3):
            begin = len(calls.placed)
            wait(lambda begin=begin: len(calls.placed) > begin + 200)
            start = time.monotonic()
            assert sensor.stop() == 0
            ends.append((start, time.monotonic()))
            sensor.start(wait=None)
            sensor.until(captures, 20)
    sensor.until(settled, 60)
    longest = max(end - start for start, end in ends)
    counts = fleet.check(*committed(sensor))
    stored = {int(caller) for (caller,) in fleet.rows("calls", "caller")}
    before = {number for number, at in calls.placed if at < ends[0][0]}
    assert longest < 10 and before <= stored
    fleet.central.stop()
    wait(lambda: "the central closed the connection" in sensor.log())  # its last word was said
    assert "without a word" not in sensor.log()
    saw("kill -TERM of the sensor 3 times at 200 calls/s, then of the central",
        f"it ended within {longest:.1f} s; {counts['created']} records, 0 lost, 0 twice; the central's last word was"
        " heard")  # fmt: skip
