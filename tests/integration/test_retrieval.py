"""Packets of calls, fetched at the central over the sensors' own connections: those that were on the wire."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time

import dpkt
import pytest
from support.fleet import LOCAL, Hosts, arrive

pytestmark = pytest.mark.skipif(not shutil.which("tcpdump"), reason="needs tcpdump")
WHOLE = {"savertp": "yes", "pcap_mask": "no"}


@contextlib.contextmanager
def tcpdump(hosts: Hosts, path, interface: str = "vb"):
    """What is on the wire meanwhile, in a file."""
    words = [*hosts.prefix, "tcpdump", "-i", interface, "-w", str(path), "-U", "--immediate-mode", "--nano", "-s", "0", "-Z", "root"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        while "listening" not in process.stderr.readline():
            assert process.poll() is None
        yield
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)


def packets(path) -> list[tuple[int, bytes]]:
    """(ns, frame) of each packet of a file."""
    with path.open("rb") as file:
        reader = dpkt.pcap.UniversalReader(file)
        return [(round(ts * 1_000_000), bytes(frame)) for ts, frame in reader]


def of_call(found: list[tuple[int, bytes]], number: int) -> list[tuple[int, bytes]]:
    """Those of the call that was placed with that number: its Call-ID, or its ports."""
    ports = {20000 + 4 * number, 20002 + 4 * number}
    mine = []
    for ts, frame in found:
        udp = dpkt.ethernet.Ethernet(frame).data.data
        if b"Call-ID: %d@" % number in frame or {udp.sport, udp.dport} <= ports:
            mine.append((ts, frame))
    return mine


def test_a_call_is_fetched_as_it_was_on_the_wire(namespace, tmp_path):
    with Hosts(namespace, tmp_path) as hosts:
        hq = hosts.add("hq", server_bind="127.0.0.1")
        s1 = hosts.add("s1", interface="vb", **WHOLE, **LOCAL)
        hosts.start()
        with tcpdump(hosts, tmp_path / "wire.pcap"):
            hosts.place(1, 2, 3, rtp=60, lost=5)
        calls = {int(call["caller"]): call for call in arrive(hq, [1, 2, 3])}
        wire = packets(tmp_path / "wire.pcap")
        for number, call in calls.items():
            out = tmp_path / f"{number}.pcap"
            said = hq.command("pcap", call["call_id"] if number == 2 else call["uuid"], "-o", str(out))
            assert said.returncode == 0, said.stderr + hq.log() + s1.log()
            fetched = packets(out)
            assert len(fetched) == 6 + 60 - 5 + 60 and [ts for ts, _ in fetched] == sorted(ts for ts, _ in fetched)
            assert sorted(fetched) == sorted(of_call(wire, number))
        audit = hq.command("audit").stdout
        assert audit.count("pcap_fetch") == 3
        assert s1.command("audit").stdout.count("pcap_fetch") == 3
