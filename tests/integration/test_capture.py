"""The ring and the engine on a veth pair in a network namespace of the test's own."""

import json
import os
import shutil
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and iproute2"),
]


HEAD = """
import json, os, select, socket, struct, threading, time
from voipfleet.capture.afpacket import open_ring
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
out.bind(("va", 0))
def frame(n, size=100, vlan=None, port=5060):
    tag = struct.pack("!HH", 0x8100, vlan) if vlan is not None else b""
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + size, 0, 0, 64, 17, 0, bytes([10,0,0,1]), bytes([10,0,0,2]))
    return bytes(12) + tag + b"\\x08\\0" + ip + struct.pack("!HHHH", 5060, port, 8 + size, 0) + bytes(size)
def read(ring, seconds=0.5):
    blocks, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        select.select([ring], [], [], 0.06)
        blocks += ring.read()
    return blocks
"""


def run_in(namespace, script):
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, sys.executable, "-c", HEAD + script],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_packet_and_its_vlan_tag(namespace):
    got = run_in(namespace, """
ring = open_ring("vb", ring_mb=8, snaplen=90, promisc=True, bpf="udp port 7000")
for n in range(3000):
    out.send(frame(n, vlan=(3 << 13 | 42) if n % 3 == 0 else None, port=7000))
    out.send(frame(n, port=9))
blocks = read(ring)
print(json.dumps({"count": sum(map(len, blocks)), "vlan": sum(int((b.vlan == (3 << 13 | 42)).sum()) for b in blocks),
    "caplen": max(int(b.caplen.max()) for b in blocks), "wirelen": max(int(b.wirelen.max()) for b in blocks),
    "statistics": ring.statistics()}))
""")  # fmt: skip
    assert got == {"count": 3000, "vlan": 1000, "caplen": 90, "wirelen": 142, "statistics": [3000, 0]}


def test_nobody_reads_then_the_drops_are_counted(namespace):
    got = run_in(namespace, """
ring = open_ring("vb", ring_mb=4, snaplen=3200, promisc=False, bpf="udp port 7000")
for n in range(8000):
    out.send(frame(n, size=1000, port=7000))
blocks = read(ring)
print(json.dumps({"read": sum(map(len, blocks)), "drops": sum(b.drops for b in blocks),
                  "statistics": ring.statistics()}))
""")  # fmt: skip
    assert got["drops"] > 0
    assert got["read"] + got["drops"] == 8000
    assert got["statistics"] == [8000, got["drops"]]


def test_the_interface_goes_down_and_up(namespace):
    got = run_in(namespace, """
ring = open_ring("vb", ring_mb=4, snaplen=3200, promisc=False, bpf="udp port 7000")
os.system("ip link set vb down")
time.sleep(0.2)
ring.clear_error()
os.system("ip link set vb up")
time.sleep(0.5)
for n in range(100):
    out.send(frame(n, port=7000))
print(json.dumps({"read": sum(map(len, read(ring))), "errors": ring.errors}))
""")  # fmt: skip
    assert got == {"read": 100, "errors": 1}


def test_loopback_shows_a_packet_once(namespace):
    got = run_in(namespace, """
ring = open_ring("lo", ring_mb=4, snaplen=3200, promisc=False, bpf="udp port 7000")
user = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(50):
    user.sendto(b"x", ("127.0.0.1", 7000))
print(json.dumps(sum(map(len, read(ring)))))
""")  # fmt: skip
    assert got == 50


ENGINE = """
from voipfleet import engine, pipe, privileges
from voipfleet.calls.record import CallRecord
import msgspec, signal
class Stub:  # stands for the analysis: one call that is open until the end
    counters, active_calls, seen = {}, 1, 0
    def feed(self, block): self.seen += len(block); return []
    def tick(self, now): return []
    def checkpoints(self, now): return [], []
    def finish(self, why):
        return [CallRecord(uuid=bytes(16), call_id=str(self.seen), setup_time=1, end_reason=why, partial=True)]
ring = open_ring("vb", ring_mb=4, snaplen=3200, promisc=False, bpf="udp port 7000")
ours, theirs = socket.socketpair()
privileges.drop_all()
caps = [line.split()[1] for line in open("/proc/self/status") if line[:6] in ("CapEff", "CapPrm")]
it = engine.Engine([ring], Stub(), pipe.PipeSender(theirs), theirs)
for n in range(200):
    out.send(frame(n, port=7000))
signal.signal(signal.SIGTERM, it.stop)
END = lambda: %s
threading.Timer(0.02, END).start()
begin = time.monotonic()
it.run()
took = time.monotonic() - begin
theirs.close()
"""


def test_sigterm_hands_over_the_open_call_and_all_packets(namespace):
    got = run_in(namespace, ENGINE % "os.kill(os.getpid(), signal.SIGTERM)" + """
data = b"".join(iter(lambda: ours.recv(65536), b""))
kinds, calls, status = [], [], {}
while data:
    length, kind = struct.unpack("!IB", data[:5])
    body, data = data[5:4 + length], data[4 + length:]
    kinds.append(kind)
    if kind == pipe.RECORD: calls.append(msgspec.msgpack.decode(body))
    if kind == pipe.STATUS: status = msgspec.msgpack.decode(body)
print(json.dumps({"caps": caps, "last": kinds[-1], "end": calls[0]["end_reason"], "seen": calls[0]["call_id"],
    "status": [status["capture_packets_total"], status["capture_read_packets_total"]], "took": took}))
""")  # fmt: skip
    assert got.pop("took") < 2
    assert got == {"caps": ["0" * 16] * 2, "last": 5, "end": "sensor_restart", "seen": "200", "status": [200, 200]}


def test_the_courier_dies_and_the_engine_ends(namespace):
    assert run_in(namespace, ENGINE % "ours.close()" + "print(json.dumps(took))") < 2


def test_what_the_ring_holds_when_the_stop_comes_is_drained(namespace):
    script = (ENGINE % "None").replace("begin =", "it.stop()\nbegin =")
    assert run_in(namespace, script + "print(json.dumps(it._analyser.seen))") == 200
