"""Strangers at the central's port, and hosts with the password that mean ill (rows 23, 28, 29, 30, 34)."""

import asyncio
import os
import time

import pytest
from faults import strangers
from faults.harness import wait
from faults.strangers import FIRST, IDLE, NONSENSE, Flood, files, memory
from faults.traffic import inside
from voipfleet.link import client


@pytest.mark.parametrize("kind", [IDLE, NONSENSE, FIRST])
def test_row28_two_thousand_connections_keep_no_sensor_out(fleet, saw, kind):
    fleet.central.start()
    pid = fleet.central.process.pid
    fleet.simulated("before").start().drained()
    before, most, count = memory(pid), 0.0, 0
    with Flood(fleet.namespace, kind, fleet.public) as flood:
        wait(lambda: flood.made >= 2000)
        known, new = fleet.sensors[0], fleet.simulated("new")
        known.stop()
        took = []
        for sensor in (known, new):
            sensor.start().put(20)
            took.append(sensor.until(lambda sensor: sensor.connected, 20))
            sensor.drained()
            most, count = max(most, memory(pid)), max(count, files(pid))
        end = time.monotonic() + 3
        while time.monotonic() < end:
            most, count = max(most, memory(pid)), max(count, files(pid))
            time.sleep(0.1)
        made = flood.made
    assert max(took) < 5 and most - before < 16 and count < 1500
    counts = fleet.check()
    saw(
        f"2,000 connections at once that {kind}, {made} in all",
        f"a sensor that was there before connected after {took[0]:.1f} s, a new one after {took[1]:.1f} s;"
        f" memory grew by {most - before:.1f} MiB, {count} file descriptors at most;"
        f" {counts['created']} records came",
    )


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.soak)])
def test_row29_wrong_passwords_are_cheap(fleet, saw, count):
    fleet.central.start()
    pid = fleet.central.process.pid
    sensor = fleet.simulated().start()
    sensor.drained()
    before, start = memory(pid, "VmHWM"), time.monotonic()

    async def guess(free: asyncio.Semaphore) -> None:
        async with free:
            with pytest.raises(client.LinkError):
                await strangers.connect(fleet, psk=os.urandom(32))

    async def all_of_them() -> None:
        free = asyncio.Semaphore(32)
        await asyncio.gather(*(guess(free) for _ in range(count)))

    inside(fleet.namespace, lambda: asyncio.run(all_of_them()))
    took = time.monotonic() - start
    status = fleet.central.until(lambda status: status.get("listeners"))
    grown = memory(pid, "VmHWM") - before
    listener = status["listeners"][0]
    assert grown < 16  # an Argon2id takes 64 MiB, and a quarter of a second each
    assert listener.get("refused_grey", 0) > 0
    sensor.put(10)
    sensor.drained()
    counts = fleet.check()
    saw(
        f"{count} handshakes with another password, 32 at once",
        f"all refused in {took:.0f} s, {listener['refused_grey']} of them as those of an address on the grey list;"
        f" the most memory that it ever had grew by {grown:.1f} MiB;"
        f" {counts['created']} records of a sensor came meanwhile",
    )
