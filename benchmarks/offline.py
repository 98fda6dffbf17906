"""Packets per CPU-second of the offline analysis, beside tshark and dpkt packet by packet, on one capture in one run.

    python benchmarks/offline.py [--calls 2000] [--seconds 8] [--rounds 3]

The capture is made by traffic.py (a mix of IPv4, 802.1Q and IPv6, SIP included, with known loss and reordering), and
every result is compared with what was put into it. CPU time is user and system time of the whole process, start
included; the rounds take turns, and the median counts. dpkt's loop does what a packet at a time costs at least: parse
Ethernet, IP, UDP and RTP, and count by stream.
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
BLOCKS = """
import sys, time
from voipfleet.calls.analyser import Analyser
from voipfleet.capture.pcapfile import read_blocks
start, analyser, packets, read = time.process_time(), Analyser(), 0, 0.0
blocks = read_blocks(sys.argv[1], int(sys.argv[2]))
while True:
    before = time.process_time()
    block = next(blocks, None)
    read += time.process_time() - before
    if block is None:
        break
    packets += len(block)
    analyser.feed(block)
analyser.finish()
total = time.process_time() - start
print(packets / total, read / packets * 1e9, (total - read) / packets * 1e9)
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
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="vf-bench-") as folder:
        path = Path(folder) / "traffic.pcap"
        made = write(path, args.calls, args.seconds, mix=True)
        print(f"{made['packets']:,} packets, {made['calls']:,} calls at once, {path.stat().st_size >> 20} MiB")
        compare(path, made, args.rounds)
        curve(path)


def compare(path: Path, made: dict, rounds: int) -> None:
    commands = {"voipfleet": [sys.executable, "-m", "voipfleet", "read", "--json", str(path)],
                "dpkt, packet by packet": [sys.executable, "-c", DPKT, str(path)]}  # fmt: skip
    if tshark := shutil.which("tshark"):
        commands["tshark -z rtp,streams"] = [
            tshark,
            "-r",
            str(path),
            "-q",
            "-z",
            "rtp,streams",
            "-o",
            "rtp.heuristic_rtp:TRUE",
        ]
    if sngrep := shutil.which("sngrep"):
        commands["sngrep -r"] = [sngrep, "-q", "-N", "-r", "-I", str(path)]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds):
        for name, command in commands.items():
            if name == "voipfleet" or number == 0:  # the others take minutes and vary little
                used, said = cpu(command)
                seconds[name].append(used)
                if name == "voipfleet":
                    check(said, made)
    ours = made["packets"] / statistics.median(seconds["voipfleet"])
    for name, all_of_them in seconds.items():
        rate = made["packets"] / statistics.median(all_of_them)
        print(f"{name:26} {rate / 1e6:6.3f} M packets per CPU-second, voipfleet is {ours / rate:5.1f} times that")


def check(said: str, made: dict) -> None:
    calls = [json.loads(line) for line in said.splitlines()]
    lost = sum(stream["lost"] for call in calls for stream in call["streams"])
    assert (len(calls), lost) == (made["calls"], made["lost"]), f"wrong: {len(calls)} calls, {lost} lost, not {made}"


def curve(path: Path) -> None:
    print("block size, M packets per CPU-second; ns a packet: reading, analysis")
    for size in (64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20):
        _, said = cpu([sys.executable, "-c", BLOCKS, str(path), str(size)])
        rate, read, analysis = map(float, said.split())
        print(f"{size >> 10:8} KiB {rate / 1e6:7.3f}   {read:6.0f} {analysis:6.0f}")


if __name__ == "__main__":
    main()
