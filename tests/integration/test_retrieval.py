"""Packets of calls, fetched at the central over the sensors' own connections: those that were on the wire."""

import contextlib
import json
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
    words = [*hosts.prefix, "tcpdump", "-i", interface, "-w", str(path), "-U", "--immediate-mode", "--nano", "-s", "0",
             "-Z", "root"]  # fmt: skip
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
        if not isinstance(udp, dpkt.udp.UDP):  # the kernel's own: neighbours, routers
            continue
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


def test_a_call_that_two_sensors_saw_is_merged(namespace, tmp_path):
    """Each packet once, and the file says who saw it; what one of them cannot give is told."""
    with Hosts(namespace, tmp_path) as hosts:
        hq = hosts.add("hq", server_bind="127.0.0.1")
        _, s2 = (hosts.add(name, interface="vb", **WHOLE, **LOCAL) for name in ("s1", "s2"))
        hosts.start()
        with tcpdump(hosts, tmp_path / "wire.pcap"):
            hosts.place(1, rtp=40)
        hq.until(lambda _: [call["views"] for call in hq.calls()] == [2])
        (call,) = hq.calls()
        out = tmp_path / "both.pcapng"
        said = hq.command("pcap", call["uuid"], "-o", str(out))
        assert said.returncode == 0 and "s1" in said.stderr and "s2" in said.stderr, said.stderr
        wire = of_call(packets(tmp_path / "wire.pcap"), 1)
        assert sorted(frame for _, frame in packets(out)) == sorted(frame for _, frame in wire)
        assert b"s1" in out.read_bytes() and b"s2" in out.read_bytes()
        s2.stop()
        said = hq.command("pcap", call["uuid"], "-o", str(tmp_path / "one.pcap"), timeout=120)
        assert said.returncode == 1 and "s2: is offline since" in said.stderr, said.stderr
        assert len(packets(tmp_path / "one.pcap")) == 86


def test_a_chain_and_a_restart(namespace, tmp_path):
    """Where another host analyses, that one has the packets; they are there after kill -9, once they are on its disk;
    all hosts are seen at the central, also those behind the receiver."""
    with Hosts(namespace, tmp_path) as hosts:
        hq = hosts.add("hq", server_bind="127.0.0.1")
        relay = hosts.add("relay", mirror_bind="127.0.0.1", **WHOLE, **LOCAL)
        hosts.add("source", interface="vb", mirror_destination="127.0.0.1")
        hosts.start()
        hosts.place(1, rtp=40)
        ((call,)) = arrive(hq, [1], 30)
        assert (call["sensor"], call["analysed_by"]) == ("source", "relay")
        first = tmp_path / "first.pcap"
        assert hq.command("pcap", call["uuid"], "-o", str(first)).returncode == 0
        assert len(packets(first)) == 86
        relay.kill()
        subprocess.run(["pkill", "-9", "-f", str(relay.config)], check=False)
        relay.start()
        again = tmp_path / "again.pcap"
        hq.until(lambda status: any(one["name"] == "relay" for one in status["sensors"]))
        said = hq.command("pcap", call["uuid"], "-o", str(again))
        assert said.returncode == 0 and again.read_bytes() == first.read_bytes(), said.stderr

        def known(_=None) -> dict[str, tuple[str, str]]:
            said = json.loads(hq.command("ctl", "sensors", "--json").stdout)["sensors"]
            return {one["name"]: (one["state"], one["via"]) for one in said}

        wanted = {"relay": ("connected", ""), "source": ("connected", "relay")}
        hq.until(lambda _: known().items() >= wanted.items())  # the source comes back after its relay
        assert json.loads(hq.command("ctl", "source", "version", "--json").stdout)["name"] == "source"


def test_headers_only_holds_and_erasure(namespace, tmp_path):
    """What is kept by default; a held call survives what retention does, an erased one is nowhere any more."""
    with Hosts(namespace, tmp_path) as hosts:
        hq = hosts.add("hq", server_bind="127.0.0.1")
        s1 = hosts.add("s1", interface="vb", **LOCAL)
        hosts.start()
        hosts.place(1, 2, rtp=40)
        calls = {int(call["caller"]): call for call in arrive(hq, [1, 2])}
        out = tmp_path / "1.pcap"
        assert hq.command("pcap", calls[1]["uuid"], "-o", str(out)).returncode == 0
        sizes = [len(frame) for _, frame in packets(out)]
        assert sizes.count(14 + 20 + 8 + 12) == 80 and len(sizes) == 86
        said = hq.command("listen", calls[1]["uuid"], "-o", str(tmp_path / "1.wav"))
        assert said.returncode == 1 and "savertp" in said.stderr, said.stderr
        said = hq.command("hold", calls[1]["uuid"], "--why", "complaint 7")
        assert said.returncode == 0, said.stderr
        for segment in (s1.folder / "spool" / "pool").glob("20*/*"):
            segment.unlink()
        held = tmp_path / "held.pcap"
        said = hq.command("pcap", calls[1]["uuid"], "-o", str(held))
        assert said.returncode == 0 and held.read_bytes() == out.read_bytes(), said.stderr
        said = hq.command("pcap", calls[2]["uuid"], "-o", str(tmp_path / "2.pcap"))
        assert said.returncode == 1 and "no packets" in said.stderr, said.stderr
        said = hq.command("erase", calls[1]["uuid"], "--yes")
        assert said.returncode == 1 and "held" in said.stderr, said.stderr
        assert hq.command("hold", "--release", calls[1]["uuid"]).returncode == 0
        said = hq.command("erase", calls[1]["uuid"], "--yes")
        assert said.returncode == 0, said.stderr
        assert [int(call["caller"]) for call in hq.calls()] == [2]
        assert "no call of that name" in hq.command("pcap", calls[1]["uuid"]).stderr
        lines = (s1.folder / "spool" / "audit.log").read_text().splitlines()
        events = {line["event"] for line in map(json.loads, lines)}
        assert {"pcap_fetch", "hold", "release", "erase"} <= events
