"""Daemons and databases that are killed while records are on their way (rows 1 to 4, 37)."""

import random
import time

import pytest
from faults.harness import PORT, Fleet
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
