"""A sensor without a central, whole: packets on a veth pair in, calls in its own SQLite out."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import caller
from support.daemon import VOIPFLEET, Daemon

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and iproute2"),
]
CALLER = Path(caller.__file__)


@pytest.fixture
def sensor(namespace, tmp_path):
    """A running sensor without a central."""
    daemon = Daemon(
        tmp_path, prefix=["ip", "netns", "exec", namespace], name_sensor="s1", site="north", interface="vb",
        ringbuffer=8,
    )  # fmt: skip
    daemon.start()
    yield daemon
    daemon.kill()


def place(sensor, number, rtp=40, lost=0, end="bye"):
    words = [*sensor.prefix, sys.executable, CALLER, "va", str(number), str(rtp), str(lost), end]
    subprocess.run(words, check=True)


def test_a_call_is_in_the_database_within_three_seconds_of_its_bye(sensor):
    place(sensor, 100, rtp=60, lost=4)
    until = time.monotonic() + 3
    while not (calls := sensor.calls()) and time.monotonic() < until:
        time.sleep(0.1)
    (call,) = calls
    assert (call["caller"], call["callee"], call["final_response"], call["hung_up_by"]) == ("100", "200", 200, "caller")
    assert (call["sensor"], call["site"], call["end_reason"], call["partial"]) == ("s1", "north", "bye", False)
    sides = {stream["direction"]: stream for stream in call["streams"]}
    assert (sides["caller"]["expected"], sides["caller"]["lost"]) == (60, 4)
    assert (sides["callee"]["expected"], sides["callee"]["lost"]) == (60, 0)
    assert sides["caller"]["mos"] < sides["callee"]["mos"]


def test_sigterm_loses_nothing_not_even_the_call_that_is_up(sensor):
    """B03."""
    for number in range(100, 105):
        place(sensor, number, rtp=5)
    place(sensor, 300, rtp=20, end="stay")
    assert sensor.stop() == 0
    calls = {call["caller"]: call for call in sensor.calls()}
    assert sorted(calls) == ["100", "101", "102", "103", "104", "300"]
    assert (calls["300"]["end_reason"], calls["300"]["partial"]) == ("sensor_restart", True)
    assert calls["300"]["streams"][0]["received"] == 20


def test_a_second_daemon_on_the_same_files_says_so(sensor):
    second = sensor.command("run", timeout=20)
    assert second.returncode == 1
    assert "another voipfleet answers here; stop it or set control_socket" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("lines", "code", "sentence"),
    [
        ("interface = nosuch0", 78, "interface: nosuch0 does not exist; choose from"),
        ("interface = lo\nfilter = udp prot 7", 78, "see pcap-filter(7)"),
        ("interface = lo\nspooldir = /proc/nowhere", 1, "cannot keep records here"),
        ("interface = lo\nsipport = many", 78, "sipport: has 'many'; give ports and ranges"),
    ],
)
def test_what_a_stranger_will_try(namespace, tmp_path, lines, code, sentence):
    config = tmp_path / "v.conf"
    spool = "" if "spooldir" in lines else f"spooldir = {tmp_path}\n"
    config.write_text(f"[general]\nringbuffer = 4\n{spool}control_socket = {tmp_path}/control\n{lines}\n")
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, *VOIPFLEET, "run", "--config", config],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
