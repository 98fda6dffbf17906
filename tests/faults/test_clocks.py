"""Clocks that jump or are wrong (rows 18, 19): libfaketime, with a file that says by how much."""

import os
import time
from pathlib import Path

import pytest
from faults.disks import start_under
from faults.harness import captures, committed, settled, wait
from faults.traffic import Calls
from support.caller import TO_A, TO_B, sip
from voipfleet.records import outbox

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
HOUR = 3600
# libfaketime 0.9.10 makes clock_nanosleep to a monotonic time fail, which is what Python sleeps by.
SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n"

pytestmark = pytest.mark.skipif(not FAKETIME.exists(), reason="needs libfaketime")


def with_clock(daemon, rate: Path, seconds: int) -> None:
    """Start it with a clock that goes by what `rate` says; monotonic clocks are right."""
    set_clock(rate, seconds)
    shim = rate.with_name("shim")
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(SLEEP)
    path = os.pathsep.join(filter(None, (str(shim), os.environ.get("PYTHONPATH"))))
    start_under(daemon, "env", f"PYTHONPATH={path}", f"LD_PRELOAD={FAKETIME}", f"FAKETIME_TIMESTAMP_FILE={rate}",
                "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1")  # fmt: skip


def set_clock(rate: Path, seconds: int) -> None:
    new = rate.with_name("new")
    new.write_text(f"{seconds:+d}\n")
    new.replace(rate)


@pytest.mark.soak
def test_row18_the_clock_of_the_sensor_jumps(fleet, saw):
    fleet.central.start()
    sensor, clock = fleet.capturing(), fleet.folder / "clock"
    with_clock(sensor, clock, 0)
    sensor.until(captures, 40)
    calls, offsets, created = Calls(fleet.namespace), [], set()
    for jump in (0, -HOUR, 24 * HOUR):
        calls.begin(str(9000 + len(offsets)))
        time.sleep(1)
        set_clock(clock, jump)
        calls.place(50)
        placed = len(calls.placed)
        sensor.until(lambda status, n=placed: status["records"]["acknowledged"] >= n, 30)
        measured = sensor.until(
            lambda status, jump=jump: abs((status["link"]["clock_offset_ms"] or 0) / 1000 - jump) < 60, 60
        )
        created |= set(committed(sensor))
        offsets.append(measured["link"]["clock_offset_ms"] / 1000)
    for number in range(9000, 9003):
        calls.wire.udp(TO_B, 5060, 5060, sip(str(number), "BYE sip:200@b SIP/2.0", "2 BYE"))
        calls.wire.udp(TO_A, 5060, 5060, sip(str(number), "SIP/2.0 200 OK", "2 BYE"))
    sensor.until(settled)
    sensor.stop()
    wait(lambda: len(fleet.rows()) == 153)
    durations = [float(value) for (value,) in fleet.rows("calls", "duration")]
    counts = fleet.check(*created, *committed(sensor))
    assert min(durations) >= 0 and 1 < max(durations) < 100
    wait(lambda: "the clock of hq is" in sensor.log(), 40)
    saw("libfaketime: -1 h, then +1 day, with calls up across each jump (what the daemon reads jumps;"
        " the times of packets, which come from the kernel, do not)",
        f"offsets measured: {', '.join(f'{offset:+.0f} s' for offset in offsets)}; {counts['created']} records,"
        f" durations {min(durations):.0f} to {max(durations):.0f} s")  # fmt: skip


def test_row19_the_clock_of_the_central_is_wrong(fleet, saw):
    with_clock(fleet.central, fleet.folder / "clock", 600)
    sensor = fleet.capturing()
    sensor.start()
    calls = Calls(fleet.namespace)
    calls.place(20)
    status = sensor.until(lambda status: status["records"]["acknowledged"] >= 20 and settled(status), 30)
    offset = status["link"]["clock_offset_ms"] / 1000
    assert -602 < offset < -598
    wait(lambda: "the clock of hq is" in sensor.log())
    told = [line for line in sensor.log().splitlines() if "the clock of hq is" in line]
    counts = fleet.check(*committed(sensor))
    assert all(call["clock_offset_ms"] < -598_000 for call in fleet.central.calls())
    saw("libfaketime: the central is 10 min ahead", f"accepted; {offset:.1f} s measured, in each of {counts['rows']}"
        f" records, and told: \"{told[0].partition(' WARNING ')[2][:100]}\"")  # fmt: skip


def test_row18_what_is_kept_for_a_replay_is_not_deleted_early(fleet, saw, monkeypatch):
    fleet.central.start()
    sensor = fleet.simulated().start()
    sensor.put(100)
    sensor.drained()
    real = time.time
    monkeypatch.setattr(outbox.time, "time", lambda: real() + 25 * HOUR)
    sensor.put(10)
    sensor.drained()
    monkeypatch.undo()
    assert sensor.state.floor == 1
    saw("the outbox's clock is set 25 h ahead", "nothing deleted early")
