"""Packets per CPU-second of the offline analysis, beside tshark, sngrep and dpkt packet by packet, in one run.

    python benchmarks/offline.py [--calls 2000] [--seconds 30] [--rounds 3]

The captures are made by traffic.py (G.711 calls that are all up at once, SIP included, known loss and reordering), and
every result is compared with what was put into it. CPU time is user and system time of the whole process, start
included; the file is in memory; the rounds take turns, and the median counts. dpkt's loop does what a packet at a time
costs at least: parse Ethernet, IP, UDP and RTP, and count by stream. Then: where the time goes, what the size of blocks
does to it, how it grows with calls and with packets, memory, and the cases that the design does not like (cases.py).
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cases
from traffic import write

DPKT = """
import sys, dpkt
streams = {}
with open(sys.argv[1], "rb") as file:
    for ts, raw in dpkt.pcap.Reader(file):
        ip = dpkt.ethernet.Ethernet(raw).data
        udp = ip.data
        if isinstance(udp, dpkt.udp.UDP) and udp.dport != 5060 and len(udp.data) >= 12:
            rtp = dpkt.rtp.RTP(udp.data)
            key = (ip.src, ip.dst, udp.sport, udp.dport, rtp.ssrc)
            last = streams.get(key)
            streams[key] = (rtp.seq, (last[1] if last else 0) + 1)
print(len(streams))
"""
SNGREP = 60 << 20  # bytes
STAGES = """
import sys, time
from voipfleet.calls.analyser import Analyser
from voipfleet.calls.media import Media
from voipfleet.calls.copies import Copies
from voipfleet.calls.streams import StreamTable
from voipfleet.capture.pcapfile import read_blocks
from voipfleet.decode import rtp
from voipfleet.decode.frames import Decoder
spent = {}
def timed(where, name, stage):
    inner = getattr(where, name)
    def outer(*args):
        before = time.process_time()
        try:
            return inner(*args)
        finally:
            spent[stage] = spent.get(stage, 0.0) + time.process_time() - before
    setattr(where, name, outer)
if sys.argv[3] == "stages":
    timed(Decoder, "parse", "decode"); timed(rtp, "parse", "RTP headers"); timed(Media, "feed", "media")
    timed(Copies, "find", "copies"); timed(StreamTable, "feed_sorted", "figures")
    timed(Analyser, "_message", "SIP"); timed(Analyser, "_emit", "records")
analyser, packets, start = Analyser(), 0, time.process_time()
blocks = read_blocks(sys.argv[1], int(sys.argv[2]))
while True:
    before = time.process_time()
    block = next(blocks, None)
    spent["read"] = spent.get("read", 0.0) + time.process_time() - before
    if block is None:
        break
    packets += len(block)
    analyser.feed(block)
analyser.finish()
total = time.process_time() - start
if "media" in spent:
    spent["streams found"] = spent.pop("media") - spent["copies"] - spent["figures"]
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(packets, total, int(peak.split()[1]) // 1024)
for stage, seconds in spent.items():
    print(f"{stage}:{seconds / packets * 1e9:.0f}")
"""


def cpu(command: list[str]) -> tuple[float, str]:
    """(CPU seconds, standard output) of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="vf-bench-") as folder:
        path = Path(folder) / "traffic.pcap"
        compare(path, args.calls // 2, args.seconds, False, args.rounds, others=False)
        compare(path, args.calls, args.seconds, True, args.rounds, others=True)
        stages(path)
        curve(path)
        growth(path, args.seconds)
    print("\nWhat the design does not like (in memory, without reading)")
    for row in cases.rows(400_000):
        print(row, flush=True)


def compare(path: Path, calls: int, seconds: float, mix: bool, rounds: int, others: bool) -> None:
    made = write(path, calls, seconds, mix)
    kind = "IPv4, 802.1Q and IPv6" if mix else "IPv4"
    print(f"\n{made['packets']:,} packets, {calls:,} calls at once, {kind}, {path.stat().st_size >> 20} MiB")
    commands = {"voipfleet": [sys.executable, "-m", "voipfleet", "read", "--json", str(path)]}
    if others:
        commands["dpkt, packet by packet"] = [sys.executable, "-c", DPKT, str(path)]
        if tshark := shutil.which("tshark"):
            heuristics = ["-o", "rtp.heuristic_rtp:TRUE"]
            commands["tshark -z rtp,streams"] = [tshark, "-r", str(path), "-q", "-z", "rtp,streams", *heuristics]
        if sngrep := shutil.which("sngrep"):  # its time grows with the square: a part of the file must do
            part = path.with_suffix(".part")
            with path.open("rb") as file:
                part.write_bytes(file.read(SNGREP))
            commands["sngrep -r"] = [sngrep, "-q", "-N", "-r", "-I", str(part)]
    spent: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds):
        for name, command in commands.items():
            if name == "voipfleet" or number == 0:  # the others take minutes and vary little
                warm(path)
                used, said = cpu(command)
                spent[name].append(used)
                if name == "voipfleet":
                    check(said, made)
    ours = made["packets"] / statistics.median(spent["voipfleet"])
    for name, all_of_them in spent.items():
        packets = made["packets"]
        if name == "sngrep -r":
            packets = packets * SNGREP // path.stat().st_size
            name += f", {packets:,} of them"
        rate = packets / statistics.median(all_of_them)
        beside = f", voipfleet is {ours / rate:5.1f} times that" if name != "voipfleet" else ""
        print(f"{name:30} {rate / 1e6:6.3f} M packets per CPU-second{beside}", flush=True)


def warm(path: Path) -> None:
    """Read the file once: it is the analysis that is measured, not the disk."""
    with path.open("rb") as file:
        while file.read(16 << 20):
            pass


def check(said: str, made: dict) -> None:
    calls = [json.loads(line) for line in said.splitlines()]
    lost = sum(stream["lost"] for call in calls for stream in call["streams"])
    assert (len(calls), lost) == (made["calls"], made["lost"]), f"wrong: {len(calls)} calls, {lost} lost, not {made}"


def run(path: Path, size: int, how: str = "") -> tuple[int, float, int, dict[str, str]]:
    """(packets, CPU seconds, MiB of memory at most, ns a packet by stage)."""
    warm(path)
    _, said = cpu([sys.executable, "-c", STAGES, str(path), str(size), how])
    head, *lines = said.splitlines()
    packets, seconds, memory = head.split()
    return int(packets), float(seconds), int(memory), dict(line.split(":") for line in lines)


def stages(path: Path) -> None:
    packets, seconds, memory, parts = run(path, 4 << 20, "stages")
    rest = round(seconds / packets * 1e9) - sum(int(part) for part in parts.values())
    print("ns a packet by stage: " + ", ".join(f"{name} {part}" for name, part in parts.items()) + f", rest {rest}")
    print(f"memory at most {memory} MiB", flush=True)


def curve(path: Path) -> None:
    print("\nblock size, M packets per CPU-second; ns a packet: reading, analysis")
    for size in (64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20):
        packets, seconds, _, parts = run(path, size)
        read = int(parts["read"])
        print(f"{size >> 10:8} KiB {packets / seconds / 1e6:7.3f}   {read:6} {seconds / packets * 1e9 - read:6.0f}",
              flush=True)  # fmt: skip


def growth(path: Path, seconds: float) -> None:
    print("\ncalls at once, seconds, packets, ns a packet, MiB of memory")
    for calls, length in ((100, 100.0), (500, 20.0), (1000, 10.0), (2000, 5.0), (4000, 2.5), (1000, seconds)):
        made = write(path, calls, length, True)
        packets, spent, memory, _ = run(path, 4 << 20)
        assert packets == made["packets"]
        print(f"{calls:8,} {length:8.1f} {packets:12,} {spent / packets * 1e9:8.0f} {memory:8}", flush=True)


if __name__ == "__main__":
    main()
