"""A sensor at work: 200,000 packets/s across a veth pair, ring to stored records, beside `tcpdump -w /dev/null`. Root.

    python benchmarks/live.py [--rate 200000] [--seconds 12]

The whole daemon runs: engine (capture, analysis) and courier (outbox, delivery into SQLite), with calls of four
seconds, so that about 500 of them end in every second and the courier is at work all the time. tcpreplay sends from the
other end of the pair on the same machine. Every call must come out once, with the loss that was put into it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.daemon import Daemon
from support.netns import veth_namespace
from traffic import write

LENGTH = 4.0  # s of a call
TICKS = os.sysconf("SC_CLK_TCK")


def seconds_of(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def family(pid: int) -> dict[str, int]:
    """Name -> process id of the daemon's two processes."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {"courier": pid, "engine": int(children[0])}


def replay(space: str, path: Path, rate: int) -> tuple[int, float]:
    """(packets sent, seconds)."""
    before = time.monotonic()
    command = ["ip", "netns", "exec", space, "tcpreplay", "-K", "--pps", str(rate), "-i", "va", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds = next(float(line.split()[-2]) for line in said.splitlines() if line.startswith("Actual"))
    sent = next(int(line.split()[1]) for line in said.splitlines() if line.startswith("Actual"))
    return sent, min(seconds, time.monotonic() - before)


def sensor(space: str, folder: Path, path: Path, made: dict, rate: int) -> None:
    daemon = Daemon(folder / "sensor", prefix=["ip", "netns", "exec", space], interface="vb", ringbuffer=128)
    daemon.start()
    try:
        who = family(daemon.process.pid)
        before = {name: seconds_of(pid) for name, pid in who.items()}
        sent, seconds = replay(space, path, rate)
        status = daemon.until(lambda s: s["capture"].get("calls", 0) >= made["calls"], 60)
        daemon.until(lambda s: s["records"]["acknowledged"] >= made["calls"], 60)
        used = {name: seconds_of(pid) - before[name] for name, pid in who.items()}
        calls = daemon.calls()
        capture = status["capture"]
        got, drops = capture["capture_packets_total"], capture["capture_kernel_drops_total"]
        lost = sum(stream["lost"] for call in calls for stream in call["streams"])
        print(f"voipfleet: {sent:,} packets sent in {seconds:.1f} s ({sent / seconds:,.0f}/s), {got:,} captured,"
              f" {drops:,} dropped by the kernel;")  # fmt: skip
        print(f"  {len(calls):,} of {made['calls']:,} calls stored, {lost:,} of {made['lost']:,} lost packets found")
        for name, cpu in used.items():
            print(f"  {name:8} {100 * cpu / seconds:5.1f} % of a core, {cpu / sent * 1e6:5.2f} us a packet")
        print(f"  together {sum(used.values()) / sent * 1e6:5.2f} us a packet; memory {memory(who)} MiB (PSS of both)")
    finally:
        daemon.kill()


def memory(who: dict[str, int]) -> int:
    lines = [line for pid in who.values() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) // 1024


def tcpdump(space: str, path: Path, rate: int) -> None:
    command = ["ip", "netns", "exec", space, "tcpdump", "-i", "vb", "-B", "131072", "-w", "/dev/null"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(1)
        before = seconds_of(process.pid)
        sent, seconds = replay(space, path, rate)
        time.sleep(1)
        cpu = seconds_of(process.pid) - before
        process.terminate()
        said = " ".join(process.stderr.read().split("\n")[-4:]).strip()
    print(f"tcpdump -w /dev/null: {sent:,} sent, {said};")
    print(f"  {100 * cpu / seconds:.1f} % of a core, {cpu / sent * 1e6:.2f} us a packet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=12)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vf-bench-") as folder, veth_namespace() as space:
        subprocess.run(["ip", "netns", "exec", space, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"], check=True)
        path = Path(folder) / "traffic.pcap"
        calls = int(args.rate * args.seconds / (100 * LENGTH))
        made = write(path, calls, LENGTH, True, spread=args.seconds)
        tcpdump(space, path, args.rate)
        sensor(space, Path(folder), path, made, args.rate)


if __name__ == "__main__":
    main()
