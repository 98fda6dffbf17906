"""A sensor without a central, whole: packets on a veth pair in, calls in its own SQLite out."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and iproute2"),
]
VOIPFLEET = [sys.executable, "-m", "voipfleet"]

# Sends one call: INVITE, 180, 200, ACK, `rtp` packets each way, and unless it stays open a BYE and its 200.
CALLER = r"""
import socket, struct, sys, time
number, rtp, lost, hang_up = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "bye"
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
out.bind(("va", 0))
A, B, media = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), 20000 + 4 * (int(number) % 1000)
def udp(src, dst, sport, dport, payload):
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0, src, dst)
    out.send(bytes(12) + b"\x08\0" + ip + struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload)
def sdp(host, port):
    return f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
def sip(first, cseq, from_caller, port=0):
    body = sdp("10.0.0.1" if from_caller else "10.0.0.2", port) if port else ""
    lines = [first, f"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{cseq.replace(' ', '')}{number}",
             f"From: <sip:{number}@a>;tag=f", "To: <sip:200@b>" + ("" if first.startswith("INVITE") else ";tag=t"),
             f"Call-ID: {number}@test", f"CSeq: {cseq}", f"Content-Length: {len(body)}"]
    if body:
        lines.append("Content-Type: application/sdp")
    text = "\r\n".join([*lines, "", body]).encode()
    udp(*((A, B) if from_caller else (B, A)), 5060, 5060, text)
sip("INVITE sip:200@b SIP/2.0", "1 INVITE", True, media)
sip("SIP/2.0 180 Ringing", "1 INVITE", False)
sip("SIP/2.0 200 OK", "1 INVITE", False, media + 2)
sip("ACK sip:200@b SIP/2.0", "1 ACK", True)
for n in range(rtp):
    time.sleep(0.005)
    for src, dst, sport, dport, ssrc in ((A, B, media, media + 2, 1), (B, A, media + 2, media, 2)):
        if ssrc == 2 or not 5 <= n < 5 + lost:
            udp(src, dst, sport, dport, struct.pack("!BBHII", 0x80, 0, n, n * 160, ssrc) + bytes(160))
if hang_up:
    sip("BYE sip:200@b SIP/2.0", "2 BYE", True)
    sip("SIP/2.0 200 OK", "2 BYE", False)
"""


@pytest.fixture
def namespace():
    name = f"vf-{secrets.token_hex(4)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
    try:
        for command in (
            "link add name va type veth peer name vb",
            "link set lo up",
            "link set va up",
            "link set vb up",
        ):
            subprocess.run(["ip", "-n", name, *command.split()], check=True)
        yield ["ip", "netns", "exec", name]
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def sensor(namespace, tmp_path):
    """A running sensor: its configuration and its process."""
    config = tmp_path / "voipfleet.conf"
    config.write_text(
        f"[general]\nname_sensor = s1\nsite = north\ninterface = vb\nringbuffer = 8\n"
        f"spooldir = {tmp_path}/spool\ncontrol_socket = {tmp_path}/control\n"
    )
    process = subprocess.Popen(
        [*namespace, *VOIPFLEET, "run", "--config", str(config)], stderr=subprocess.PIPE, text=True
    )
    try:
        health = subprocess.run(
            [*VOIPFLEET, "status", "--config", str(config), "--wait", "20"], capture_output=True, text=True
        )
        assert health.returncode == 0, health.stderr
        yield config, process
    finally:
        process.kill()
        process.wait()


def place(namespace, number, rtp=40, lost=0, end="bye"):
    subprocess.run([*namespace, sys.executable, "-c", CALLER, str(number), str(rtp), str(lost), end], check=True)


def stored(config):
    out = subprocess.run(
        [*VOIPFLEET, "calls", "--json", "--config", str(config)], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in out.stdout.splitlines()]


def test_a_call_is_in_the_database_within_three_seconds_of_its_bye(namespace, sensor):
    config, _ = sensor
    place(namespace, 100, rtp=60, lost=4)
    until = time.monotonic() + 3
    while not (calls := stored(config)) and time.monotonic() < until:
        time.sleep(0.1)
    (call,) = calls
    assert (call["caller"], call["callee"], call["final_response"], call["hung_up_by"]) == ("100", "200", 200, "caller")
    assert (call["sensor"], call["site"], call["end_reason"], call["partial"]) == ("s1", "north", "bye", False)
    sides = {stream["direction"]: stream for stream in call["streams"]}
    assert (sides["caller"]["expected"], sides["caller"]["lost"]) == (60, 4)
    assert (sides["callee"]["expected"], sides["callee"]["lost"]) == (60, 0)
    assert sides["caller"]["mos"] < sides["callee"]["mos"]


def test_sigterm_loses_nothing_not_even_the_call_that_is_up(namespace, sensor):
    config, process = sensor
    for number in range(100, 105):
        place(namespace, number, rtp=5)
    place(namespace, 300, rtp=20, end="stay")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    calls = {call["caller"]: call for call in stored(config)}
    assert sorted(calls) == ["100", "101", "102", "103", "104", "300"]
    assert (calls["300"]["end_reason"], calls["300"]["partial"]) == ("sensor_restart", True)
    assert calls["300"]["streams"][0]["received"] == 20


def test_a_second_daemon_on_the_same_files_says_so(namespace, sensor):
    config, _ = sensor
    second = subprocess.run(
        [*namespace, *VOIPFLEET, "run", "--config", str(config)], capture_output=True, text=True, timeout=20
    )
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
        ("interface = lo\nmirror_destination = x", 78, "mirror_destination: is checked and rendered but cannot run"),
    ],
)
def test_what_a_stranger_will_try(namespace, tmp_path, lines, code, sentence):
    config = tmp_path / "v.conf"
    spool = "" if "spooldir" in lines else f"spooldir = {tmp_path}\n"
    config.write_text(f"[general]\nringbuffer = 4\n{spool}control_socket = {tmp_path}/control\n{lines}\n")
    done = subprocess.run(
        [*namespace, *VOIPFLEET, "run", "--config", str(config)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
