"""Calls that are up when the analysis is killed: recorded as they were some seconds ago, once, whatever comes again."""

import signal
import subprocess
import sys
import time

import pytest
from support.daemon import Daemon
from support.fleet import CALLER, Hosts, arrive, complete

SETTLE = 1.5  # s after which a call that began is written down: 0.5 s, the group of a commit, and what a turn takes


@pytest.fixture
def hosts(namespace, tmp_path):
    with Hosts(namespace, tmp_path) as made:
        yield made


def talking(hosts: Hosts, number: int, rtp: int = 2000) -> subprocess.Popen:
    """A call that goes on for 5 ms a packet, and has no end."""
    return subprocess.Popen([*hosts.prefix, sys.executable, CALLER, "va", str(number), str(rtp), "0", "stay"])


def up(daemon: Daemon, calls: int) -> None:
    daemon.until(lambda status: status.get("capture", {}).get("calls_active") == calls)


def engine_of(daemon: Daemon) -> int:
    """The process that analyses."""
    said = subprocess.run(["pgrep", "-P", str(daemon.process.pid), "-f", "voipfleet.engine"], capture_output=True,
                          text=True, check=True)  # fmt: skip
    return int(said.stdout.split()[0])


@pytest.mark.parametrize("victim", ["daemon", "engine"])
def test_a_call_that_is_up_when_its_sensor_is_killed_is_partial(hosts, victim):
    """B04. Whole ones stay whole; the record has what was known; and there is one, after a second kill, too."""
    c = hosts.add("c", server_bind="127.0.0.1")
    a = hosts.add("a", interface="vb", server_destination="127.0.0.1")
    hosts.start()
    hosts.place(1, 2)
    arrive(c, [1, 2])
    with talking(hosts, 3) as call:
        up(a, 1)
        time.sleep(SETTLE)
        if victim == "daemon":
            a.kill()
        else:
            subprocess.run(["kill", "-9", str(engine_of(a))], check=True)
            assert a.process.wait(15) == 1  # so that the service manager starts both again
        a.start()
        a.kill()
        a.start()
        call.kill()
    hosts.place(4)
    calls = {call["caller"]: call for call in arrive(c, [1, 2, 3, 4])}
    cut = calls.pop("3")
    complete(list(calls.values()), "a", "")
    assert (cut["end_reason"], cut["partial_reasons"]) == ("sensor_restart", ["open"])
    assert cut["answer_time"] and min(stream["received"] for stream in cut["streams"]) > 50
    records = a.until(lambda status: status["records"]["queued"] == 0)["records"]
    assert records["created"] == records["acknowledged"] and records["gaps"] == 0


def test_a_call_that_ended_leaves_no_checkpoint_behind(hosts):
    """It was written down while it was up, and its record came: a kill after that changes nothing."""
    c = hosts.add("c", server_bind="127.0.0.1")
    a = hosts.add("a", interface="vb", server_destination="127.0.0.1")
    hosts.start()
    hosts.place(1, rtp=500)
    arrive(c, [1])
    a.kill()
    a.start()
    records = a.until(lambda status: status["records"]["queued"] == 0)["records"]
    assert [call["caller"] for call in c.calls()] == ["1"]
    complete(c.calls(), "a", "", rtp=500)
    assert records["created"] == records["acknowledged"]


def test_blocks_that_come_again_do_not_make_a_second_record(hosts):
    """B10. The receiver is killed in the midst of calls again and again; the source sends what was not acknowledged."""
    b = hosts.add("b", mirror_bind="127.0.0.1")
    a = hosts.add("a", interface="vb", mirror_destination="127.0.0.1")
    hosts.start()
    numbers = range(10, 16)
    for number in numbers:
        with talking(hosts, number, 400) as call:
            up(b, 1)
            time.sleep(0.1 * (number % 4))
            if number % 2:
                subprocess.run(["kill", "-9", str(engine_of(b))], check=True)
                assert b.process.wait(15) == 1
            b.kill()
            b.start(wait=None)
            b.until(lambda status: "capture" in status)
            call.wait()
        hosts.place(number + 90)
        a.until(lambda status: not sum(link["buffer"]["memory"] + link["buffer"]["disk"]
                                       for link in status["packets"]["links"]), 30)  # fmt: skip
        arrive(b, [n for each in range(10, number + 1) for n in (each, each + 90)], 30)
    cut = [call for call in b.calls() if int(call["caller"]) in numbers]
    assert {(call["end_reason"], call["sensor"], call["analysed_by"]) for call in cut} == {("sensor_restart", "a", "b")}


def test_sigkill_and_sigterm_one_after_the_other(hosts):
    """B03, B04. What one process left is a record at the next start; what that one hands over at its end, too."""
    a = hosts.add("a", interface="vb")
    hosts.start()
    with talking(hosts, 1) as first:
        up(a, 1)
        time.sleep(SETTLE)
        a.kill()
        a.start()
        first.kill()
    with talking(hosts, 2) as second:
        up(a, 1)
        assert a.stop(signal.SIGTERM) == 0
        second.kill()
    calls = {call["caller"]: (call["end_reason"], call["partial"]) for call in a.calls()}
    assert calls == {"1": ("sensor_restart", True), "2": ("sensor_restart", True)}


FLOOD = """
import sys; sys.path.insert(0, sys.argv[1])
from caller import A, B, TO_A, TO_B, Wire, sdp, sip
import struct
wire = Wire("va")
for number in range(1000, 1000 + int(sys.argv[2])):
    wire.udp(TO_B, 5060, 5060, sip(str(number), "INVITE sip:200@b SIP/2.0", "1 INVITE", sdp("10.0.0.1", number * 2)))
    wire.udp(TO_A, 5060, 5060, sip(str(number), "SIP/2.0 200 OK", "1 INVITE", sdp("10.0.0.2", number * 2)))
print("up", flush=True)
n = 0
while True:
    n += 1
    port = 2000 + n % int(sys.argv[2]) * 2
    wire.udp(TO_B, port, port, struct.pack("!BBHII", 0x80, 0, n & 0xFFFF, n * 160 & 0xFFFFFFFF, port) + bytes(160))
"""


def test_a_stop_under_load_takes_less_than_ten_seconds_and_no_call(hosts):
    """B03. Packets as fast as one process can send them, 3,000 calls up, and the central away."""
    a = hosts.add("a", interface="vb", server_destination="127.0.0.1")
    a.start(wait=None)
    a.until(lambda status: status["ready"])
    words = [*hosts.prefix, sys.executable, "-c", FLOOD, str(CALLER.parent), "3000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as flood:
        flood.stdout.readline()
        up(a, 3000)
        begun = time.monotonic()
        assert a.stop() == 0
        seconds = time.monotonic() - begun
        flood.kill()
    assert seconds < 10 and "Traceback" not in a.log()
    a.start(wait=None)
    assert a.until(lambda status: status["ready"])["records"]["created"] == 3000
