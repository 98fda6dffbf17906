"""A sensor at work: 200,000 packets/s across a veth pair, ring to stored records, beside `tcpdump -w /dev/null`. Root.

    python benchmarks/live.py [--rate 200000] [--seconds 12] [--method lz4]

The whole daemon runs: engine (capture, analysis) and courier (outbox, delivery into SQLite), with calls of four
seconds, so that about 500 of them end in every second and the courier is at work all the time. tcpreplay sends from the
other end of the pair on the same machine. Every call must come out once, with the loss that was put into it.

Then once more with everything on: the sensor mirrors all packets as well, compressed and encrypted, to a receiver that
takes and acknowledges them (a process of its own, whose time is not the sensor's).
"""

import argparse
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.daemon import VOIPFLEET, Daemon
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


def sensor(space: str, folder: Path, path: Path, made: dict, rate: int, **settings) -> None:
    daemon = Daemon(
        folder / "sensor", prefix=["ip", "netns", "exec", space], interface="vb", ringbuffer=128, **settings
    )
    if settings:
        daemon.keygen()
    daemon.start()
    try:
        who = family(daemon.process.pid)
        before = {name: seconds_of(pid) for name, pid in who.items()}
        sent, seconds = replay(space, path, rate)
        status = daemon.until(lambda s: s["capture"].get("calls", 0) >= made["calls"], 60)
        daemon.until(lambda s: s["records"]["acknowledged"] >= made["calls"], 60)
        if settings:
            daemon.until(lambda s: not any(s["packets"]["links"][0]["buffer"][at] for at in ("memory", "disk")), 60)
        used = {name: seconds_of(pid) - before[name] for name, pid in who.items()}
        calls = daemon.calls()
        capture = status["capture"]
        got, drops = capture["capture_packets_total"], capture["capture_kernel_drops_total"]
        lost = sum(stream["lost"] for call in calls for stream in call["streams"])
        print(f"voipfleet: {sent:,} packets sent in {seconds:.1f} s ({sent / seconds:,.0f}/s), {got:,} captured,"
              f" {drops:,} dropped by the kernel;")  # fmt: skip
        print(f"  {len(calls):,} of {made['calls']:,} calls stored, {lost:,} of {made['lost']:,} lost packets found")
        for link in status.get("packets", {}).get("links", []):
            all_in(daemon, link)
        for name, cpu in used.items():
            print(f"  {name:8} {100 * cpu / seconds:5.1f} % of a core, {cpu / sent * 1e6:5.2f} us a packet")
        print(f"  together {sum(used.values()) / sent * 1e6:5.2f} us a packet; memory {memory(who)} MiB (PSS of both)")
    finally:
        daemon.kill()


def all_in(daemon: Daemon, link: dict) -> None:
    """What its link to the receiver says."""
    link = daemon.until(lambda _: True)["packets"]["links"][0]
    buffer = link["buffer"]
    print(f"  mirrored {link['packets']:,} packets, {link['bytes'] / max(1, link['packets']):.0f} bytes each,"
          f" {link['ratio']:.0%} of their size; {buffer['dropped']:,} dropped, acknowledged"
          f" {buffer['acknowledged']:,}")  # fmt: skip


@contextlib.contextmanager
def receiving(space: str, folder: Path):
    """The sink in its process, with a password and a key."""
    (folder / "password").write_text(secrets.token_urlsafe(32))
    subprocess.run([*VOIPFLEET, "keygen", "--file", str(folder / "sink.key")], check=True, capture_output=True)
    command = ["ip", "netns", "exec", space, sys.executable, __file__, "--sink", str(folder)]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.kill()


def sink(folder: Path) -> None:
    """A receiver that takes every block and acknowledges it; runs until it is killed."""
    import asyncio

    import msgspec
    from support.lines import board
    from voipfleet.link import keys, server, types
    from voipfleet.records.messages import Welcome
    from voipfleet.relay.receive import Receiver

    class Sink:
        async def put(self, source, origin, packets, body):
            safe = asyncio.get_running_loop().create_future()
            safe.set_result(None)
            return safe

        async def nothing(self, *_): ...

        lost = heard = nothing

    async def main() -> None:
        receiver = Receiver(bytes(16), Sink())

        async def welcome(peer) -> bytes:
            stream = receiver.expect(peer.sensor_uuid, peer.hello.spool_epoch, peer.hello.next_seq)
            return msgspec.msgpack.encode(Welcome(b"", bytes(16), "sink", stream.epoch, stream.safe))

        async def serve(session, peer) -> None:
            with board().server(session, peer) as line:
                await receiver.serve(session, peer.sensor_uuid, peer.name, line)

        async def yes(*_) -> bool:
            return True

        psk = keys.psk_from_password((folder / "password").read_text().strip(), "default")
        listening = server.LinkServer(
            (keys.load(folder / "sink.key"),), (psk,), policy=server.Policy("password", {}, False, yes),
            welcome=welcome, on_session=serve, roles=frozenset({types.ROLE_PACKETS}),
        )  # fmt: skip
        await listening.start("127.0.0.1", 5090)
        await asyncio.Event().wait()

    asyncio.run(main())


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
    parser.add_argument("--method", default="lz4", help="how mirrored packets are compressed (%(default)s)")
    parser.add_argument("--sink", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.sink:
        sink(args.sink)
        return
    with tempfile.TemporaryDirectory(prefix="vf-bench-") as folder, veth_namespace() as space:
        subprocess.run(["ip", "netns", "exec", space, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"], check=True)
        path = Path(folder) / "traffic.pcap"
        calls = int(args.rate * args.seconds / (100 * LENGTH))
        made = write(path, calls, LENGTH, True, spread=args.seconds, speech=True)
        tcpdump(space, path, args.rate)
        sensor(space, Path(folder) / "alone", path, made, args.rate)
        print("everything on:")
        with receiving(space, Path(folder)):
            sensor(space, Path(folder) / "all", path, made, args.rate, mirror_destination="127.0.0.1",
                   server_bind="127.0.0.1", server_password_file=Path(folder) / "password",
                   packetbuffer_compress_method=args.method)  # fmt: skip


if __name__ == "__main__":
    main()
