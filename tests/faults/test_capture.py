"""What comes over the wire, and what happens to the interface (rows 31, 32, 35, 36)."""

import os
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest
from faults.harness import captures, committed, settled, wait
from faults.strangers import memory
from faults.traffic import Calls, inside
from support.caller import TO_A, TO_B, Wire, sip


def engine(daemon) -> int:
    """The process that captures."""
    pid = daemon.process.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def began(fleet, **settings):
    fleet.central.start()
    sensor = fleet.capturing(**settings)
    sensor.start()
    sensor.until(captures)
    return sensor


def test_row31_hostile_messages_beside_calls(fleet, saw):
    corpus = os.environ.get("VOIPFLEET_CORPUS")
    captures_of_torture = sorted(Path(corpus or "/nowhere").glob("torture/*.pcap"))
    if not captures_of_torture or not shutil.which("tcpreplay"):
        pytest.skip("needs VOIPFLEET_CORPUS with captures of torture messages, and tcpreplay")
    sensor = began(fleet)
    with Calls(fleet.namespace, 50) as calls:
        for path in captures_of_torture * 5:
            words = ["tcpreplay", "--intf1=va", "--topspeed", "--quiet", path]
            subprocess.run([*fleet.prefix, *words], check=True, capture_output=True)
    sensor.until(lambda status: settled(status) and status["capture"]["calls"] >= len(calls.placed), 60)
    counts = fleet.check(*committed(sensor))
    stored = {caller for (caller,) in fleet.rows("calls", "caller")}
    assert {str(number) for number, _ in calls.placed} <= stored
    status = sensor.until(lambda status: True)["capture"]
    assert status["analysis_errors_total"] == 0 and sensor.process.poll() is None
    saw(f"{', '.join(path.name for path in captures_of_torture)}, five times each, between {len(calls.placed)} calls",
        f"alive; all of these calls recorded; {status['sip_errors']} messages counted as errors;"
        f" {counts['rows']} rows")  # fmt: skip


FLOODS = {
    "5,000 new Call-IDs/s": lambda wire, n: wire.udp(
        TO_B, 5060, 5060, sip(f"7{n:08d}", "INVITE sip:200@b SIP/2.0", "1 INVITE")),
    "RTP to all ports": lambda wire, n: wire.udp(
        TO_B, 4000, 1024 + n % 64_000, struct.pack("!BBHII", 0x80, 0, n & 0xFFFF, n * 160, n) + bytes(160)),
    "first fragments": lambda wire, n: fragment(wire, n),
    "TCP that announces a gigabyte": lambda wire, n: announce(wire, n),
}  # fmt: skip


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("seconds", [4, pytest.param(20, marks=pytest.mark.soak)])
def test_row32_floods_beside_calls(fleet, saw, flood, seconds):
    sensor = began(fleet)
    calls, wire = Calls(fleet.namespace, 20), inside(fleet.namespace, lambda: Wire("va"))
    calls.place(50)
    before, start, sent = memory(engine(sensor)), time.monotonic(), 0
    with calls:
        while (passed := time.monotonic() - start) < seconds:
            for _ in range(int(passed * 5000) - sent):
                FLOODS[flood](wire, sent)
                sent += 1
            time.sleep(0.01)
    most = memory(engine(sensor), "VmHWM")
    stored = lambda: {int(caller) for (caller,) in fleet.rows("calls", "caller") if len(caller) < 8}  # noqa: E731
    wanted = {number for number, _ in calls.placed}
    wait(lambda: wanted <= stored(), 60)
    status = sensor.until(lambda status: status["capture"]["capture_kernel_drops_total"] == 0)["capture"]
    fleet.no_traceback()
    assert most - before < 300
    saw(f"{flood}: {sent:,} packets in {seconds} s, 20 calls/s beside",
        f"the engine's memory grew by {most - before:.0f} MiB at most; all {len(wanted)} calls recorded;"
        f" {status['calls_active']:,} calls held")  # fmt: skip


def fragment(wire: Wire, n: int) -> None:
    payload = struct.pack("!HHHH", 5060, 5060, 3000, 0) + bytes(1392)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), n & 0xFFFF, 0x2000, 64, 17, 0,
                     struct.pack("!I", 0x0B000000 + n), bytes([10, 0, 0, 2]))  # fmt: skip
    wire._out.send(bytes(12) + b"\x08\0" + ip + payload)


def announce(wire: Wire, n: int) -> None:
    text = sip(f"8{n:08d}", "INVITE sip:200@b SIP/2.0", "1 INVITE").replace(
        b"Content-Length: 0", b"Content-Length: 1000000000"
    )
    for flags, number, data in ((2, 0, b""), (24, 1, text)):
        head = struct.pack("!HHIIBBHHH", 1024 + n % 60_000, 5060, number, 1, 0x50, flags, 65535, 0, 0)
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + len(data), 0, 0, 64, 6, 0,
                         struct.pack("!I", 0x0B000000 + n), bytes([10, 0, 0, 2]))  # fmt: skip
        wire._out.send(bytes(12) + b"\x08\0" + ip + head + data)


def test_row35_the_capture_is_stopped_and_the_kernels_drops_are_told(fleet, saw):
    sensor = began(fleet, ringbuffer=4)
    calls = Calls(fleet.namespace)
    calls.begin("500")
    sensor.until(lambda status: status["capture"]["calls_active"] == 1)
    pid = engine(sensor)
    os.kill(pid, signal.SIGSTOP)
    start, sent = time.monotonic(), 0
    try:
        while time.monotonic() - start < 5:
            calls.wire.udp(TO_B, 22_000, 22_002, struct.pack("!BBHII", 0x80, 0, sent & 0xFFFF, 0, 9) + bytes(160))
            sent += 1
    finally:
        os.kill(pid, signal.SIGCONT)
    status = sensor.until(lambda status: status["capture"]["capture_kernel_drops_total"])["capture"]

    def ended() -> bool:  # the ring may be full still
        calls.wire.udp(TO_B, 5060, 5060, sip("500", "BYE sip:200@b SIP/2.0", "2 BYE"))
        calls.wire.udp(TO_A, 5060, 5060, sip("500", "SIP/2.0 200 OK", "2 BYE"))
        time.sleep(0.5)
        return ("500",) in fleet.rows("calls", "caller")

    wait(ended, 30)
    calls.place(1)
    wait(lambda: ("1000",) in fleet.rows("calls", "caller"))
    dropped = {call["caller"]: call["drops"] for call in fleet.central.calls()}
    drops = status["capture_kernel_drops_total"]
    assert drops > 0 and dropped["500"] > 0 and sensor.process.poll() is None
    counts = fleet.check(*committed(sensor))
    saw(f"SIGSTOP of the capture for 5 s, {sent / 5:,.0f} packets/s",
        f"{drops:,} of {sent:,} packets dropped by the kernel, counted, and said in the record of the call that was up"
        f" ({dropped['500']:,}); {counts['rows']} rows")  # fmt: skip


def link(fleet, *words: str) -> None:
    subprocess.run(["ip", "-n", fleet.namespace, "link", *words], check=True)


def test_row36_the_interface_goes_and_comes_back(fleet, saw):
    sensor = began(fleet)
    calls, took = Calls(fleet.namespace), []
    calls.place(5)
    for away in (("down", "vb", "down"), ("down", "va", "down")):
        link(fleet, "set", away[1], "down")
        time.sleep(1)
        link(fleet, "set", away[1], "up")
        start = time.monotonic()
        before = len(fleet.rows())
        while len(fleet.rows()) <= before:
            calls.place(1)
            time.sleep(0.2)
            assert time.monotonic() - start < 10, sensor.log()
        took.append(time.monotonic() - start)
    sensor.until(settled)
    assert sensor.process.poll() is None and max(took) < 4
    errors = sensor.until(lambda status: True)["capture"]["capture_interface_errors_total"]
    fleet.check(*committed(sensor))
    saw(
        "`ip link set down` for 1 s, of the captured end and of the other one",
        f"a call is at the central {max(took):.1f} s after the interface is up again; no exit; {errors} errors counted",
    )
