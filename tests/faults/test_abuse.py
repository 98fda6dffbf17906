"""Strangers at the central's port, and hosts with the password that mean ill (rows 23, 25, 28, 29, 30, 34)."""

import asyncio
import os
import shutil
import time
from pathlib import Path

import msgspec
import pytest
import zstandard
from faults import mutants, strangers
from faults.harness import committed, settled, wait
from faults.strangers import FIRST, IDLE, NONSENSE, Flood, files, forget_peak, memory
from faults.traffic import Calls, inside
from voipfleet.link import client, keys, types
from voipfleet.link.session import LinkClosed
from voipfleet.relay import codec
from voipfleet.relay.messages import MAX_PART, Origin, Part


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
        f"2,000 connections at once from another address that {kind}, {made} in all",
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
    forget_peak(pid)
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
    assert grown < 16 and took < count * 0.05  # an Argon2id takes 64 MiB, and a quarter of a second
    assert listener.get("refused_grey", 0) > 0
    sensor.put(10)
    sensor.drained()
    counts = fleet.check()
    saw(
        f"{count} handshakes with another password, 32 at once",
        f"all refused in {took:.0f} s, {listener['refused_grey']} of them as those of an address on the grey list;"
        f" the most memory that it had grew by {grown:.1f} MiB;"
        f" {counts['created']} records of a sensor came meanwhile",
    )


@pytest.mark.parametrize("count", [1500, pytest.param(100_000, marks=pytest.mark.soak)])
def test_row30_mutated_handshakes_and_frames(fleet, saw, count):
    fleet.central.start()
    pid = fleet.central.process.pid
    sensor = fleet.simulated().start()
    sensor.put(10)
    sensor.drained()
    wait((fleet.central.folder / "spool" / "pool" / "calls.db-shm").exists)  # the index of calls is opened by then
    open_files = files(pid)
    inside(fleet.namespace, lambda: asyncio.run(mutants.attack(fleet, count // 5)))  # caches of addresses are full now
    before = memory(pid)
    made = inside(fleet.namespace, lambda: asyncio.run(mutants.attack(fleet, count - count // 5)))
    grown = memory(pid) - before
    wait(lambda: files(pid) <= open_files + 2)
    assert grown < 16
    sensor.put(10)
    sensor.drained()
    fleet.no_traceback()
    stored = fleet.stored()
    assert set(sensor.made) <= set(stored)
    saw(f"{count:,} connections from as many addresses, each with something wrong in message 1, message 3, a frame, or"
        f" what is in a frame ({', '.join(f'{number:,} {kind}' for kind, number in made.items())} at last)",
        f"no traceback; memory grew by {grown:.1f} MiB over the last four fifths; all file descriptors closed; a sensor"
        " delivers as before")  # fmt: skip


def test_row34_bombs_from_who_has_the_password(fleet, saw):
    fleet.central.start()
    courier = fleet.central.process.pid
    (engine,) = map(int, Path(f"/proc/{courier}/task/{courier}/children").read_text().split())
    sensor = fleet.simulated().start()
    sensor.put(10)
    sensor.drained()
    for pid in (courier, engine):
        forget_peak(pid)
    before = [memory(pid, "VmHWM") for pid in (courier, engine)]
    zeros = bytes(1 << 30)
    bombs = [codec.HEAD.pack(2, 0, 1, 0, 1 << 30, 0) + zstandard.ZstdCompressor(level=1).compress(zeros),
             codec.HEAD.pack(2, 0, 1, 0, 1 << 20, 0) + zstandard.ZstdCompressor(level=1).compress(zeros),
             codec.HEAD.pack(1, 0, 1, 1 << 31, (1 << 32) - 1, 0) + b"\xff" * 60_000,
             codec.HEAD.pack(0, 0, 1, 1 << 31, (1 << 32) - 1, 0)]  # fmt: skip
    del zeros

    async def throw(number: int, body: bytes) -> None:
        uuid, epoch = os.urandom(16), os.urandom(16)
        session = await strangers.connect(fleet, role=types.ROLE_PACKETS, uuid=uuid)
        size = MAX_PART
        parts = [body[at : at + size] for at in range(0, len(body), size)]
        for at, part in enumerate(parts):
            told = Part(epoch, 1, at, len(parts), 1, Origin("stranger", [uuid]), part)
            await session.send(types.PACKETS, msgspec.msgpack.encode(told))
        await asyncio.sleep(0.5)
        session.abort()

    async def oversize() -> None:
        session = await strangers.connect(fleet)
        session._writer.write(b"\x7f\xff\xff\xff" + bytes(100))
        with pytest.raises(LinkClosed):
            while True:
                await session.receive()
        session.abort()

    for number, body in enumerate(bombs):
        inside(fleet.namespace, lambda number=number, body=body: asyncio.run(throw(number, body)))
    inside(fleet.namespace, lambda: asyncio.run(oversize()))
    sensor.put(10)
    sensor.drained()
    grown = [memory(pid, "VmHWM") - was for pid, was in zip((courier, engine), before, strict=True)]
    refused = fleet.central.until(lambda status: status["capture"]["analysis_errors_total"] >= len(bombs))["capture"]
    assert max(grown) < 64 and refused["analysis_errors_total"] == len(bombs)
    assert "is none" in fleet.central.log()
    counts = fleet.check()
    saw(
        "blocks that name 4 GiB or unpack to 1 GiB (zstd, lz4, none), a frame of 2 GiB, from a host with the password",
        f"{refused['analysis_errors_total']} blocks refused, counted and told; the frame ended its connection; memory"
        f" grew by {grown[0]:.0f} MiB (courier) and {grown[1]:.0f} MiB (engine) at most;"
        f" {counts['created']} records of a sensor came as before",
    )


def test_row23_a_sensor_and_its_clone(fleet, saw):
    fleet.central.start()
    sensor, clone = fleet.capturing("s1"), fleet.capturing("clone", filter="udp port 9")
    sensor.start()
    calls = Calls(fleet.namespace)
    calls.place(20)
    sensor.until(lambda status: status["records"]["acknowledged"] >= 20)
    sensor.stop()
    shutil.copytree(sensor.folder / "spool", clone.folder / "spool", dirs_exist_ok=True)
    shutil.copy(sensor.folder / "node.key", clone.folder / "node.key")
    thief = fleet.simulated("thief")
    shutil.copy(sensor.folder / "spool" / "outbox.db", thief.folder / "outbox.db")
    for daemon in (sensor, clone):
        daemon.start(wait=None)
    wait(lambda: "two processes connect by turns" in fleet.central.log(), 40)
    thief.start()
    wait(lambda: "key_conflict" in fleet.central.log())
    thief.stop()
    clone.stop()
    calls.place(20)
    sensor.until(lambda status: settled(status) and status["records"]["created"] >= 40, 60)
    counts = fleet.check(*committed(sensor), sensors=False)
    assert counts["rows"] == 40
    said = fleet.central.command("audit").stdout
    assert "link_flapping" in said and 'reason="key_conflict"' in said
    saw("a sensor's spool and key copied to a second host; its spool to a third one with a key of its own",
        f"the second: told (\"two processes connect by turns\"); the third: refused (key_conflict); {counts['rows']}"
        " rows of the first, none mixed")  # fmt: skip


def test_row25_the_password_is_rotated_under_load(fleet, saw):
    old, new = fleet.password, fleet.folder / "new"
    new.write_text("the new password of this fleet\n")
    new.chmod(0o600)
    fleet.central.start()
    sensor = fleet.simulated().start()
    plain = fleet.central.config.read_text()
    for password, further in ((new, f"server_passwords_file = {old}\n"), (new, "")):
        with sensor.load(200):
            sensor.until(lambda sensor: sensor.connected, 40)
            named = plain.replace(f"server_password_file = {old}", f"server_password_file = {password}")
            fleet.central.config.write_text(named + further)
            fleet.central.stop()
            fleet.central.start(wait=None)
            sensor.until(lambda sensor: not sensor.connected)
            sensor.until(lambda sensor: sensor.connected, 40)
        if further:
            sensor.stop()
            sensor._psk = keys.psk_from_password("the new password of this fleet", "default")
            sensor.start()
    sensor.drained()
    slots = fleet.central.until(lambda status: status["listeners"])["listeners"][0]["slots"]
    counts = fleet.check()
    assert slots == [1]
    saw("[old], then [new, old], then [new] at the central, the sensor in between, 200 records/s",
        f"{counts['created']} records, 0 lost, 0 twice; nobody has the old one")  # fmt: skip
