"""What the packet store costs, and how fast a call comes out of it, beside a file a call and beside tshark.

    python benchmarks/packetstore.py [--gib 2.5] [--calls 2000] [--folder /var/tmp]

G.711 with savertp = yes: all calls are up at once, 100 packets/s each, with some SIP; blocks as a kernel's ring gives
them, from memory, as fast as they are taken. Both writers get the same blocks, in one run: the store (segments, index,
synced), and a file a call, which is appended to once a block with all that the block has for it, by the same NumPy, and
synced at the end. Then calls are fetched with the page cache dropped for every file of the store, and again without.
"""

import argparse
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from traffic import PAYLOAD, START, address, sip, udp_packet, voice
from voipfleet import memory
from voipfleet.arrays import run_starts
from voipfleet.capture.block import Block
from voipfleet.packetstore.keys import call_key, stream_key
from voipfleet.packetstore.lookup import plan
from voipfleet.packetstore.reader import Stream
from voipfleet.packetstore.retention import Limits
from voipfleet.packetstore.segment import heads
from voipfleet.packetstore.writer import PacketStore, StoreSettings

PACKETS = 17_000  # of a block, 4 MiB with the ring's distances
STRIDE, FRAME = 240, 54 + PAYLOAD
FETCHED = 20  # calls
SHOWN = 2  # segments that tshark reads


class Traffic:
    """`calls` at once; streams take turns, so that neighbours in a block are of different calls."""

    def __init__(self, calls: int):
        self.calls, self.streams = calls, 2 * calls
        self.step = 20_000_000 // self.streams  # ns from packet to packet
        ends = [[address(0, call, side) for side in (1, 2)] for call in range(calls)]
        frames, keys = [], []
        for stream in range(self.streams):
            call, side = divmod(stream, 2)
            rtp = struct.pack("!BBHII", 0x80, 0, 0, 0, stream) + bytes(PAYLOAD)
            src, dst = ends[call][side], ends[call][1 - side]
            frames.append(udp_packet(0, src, dst, 20000 + side, 20000, rtp))
            keys.append(stream_key("bench", f"{_dotted(src)}:{20000 + side}", f"{_dotted(dst)}:20000", stream))
        self._frames = np.frombuffer(b"".join(frames), np.uint8).reshape(self.streams, FRAME)
        self.keys = np.array(keys, np.uint64)
        self._voice = voice(np.random.default_rng(1))
        self._sip = [[frame for at, frame in sip(call, 0, ends[call], (20000, 20002))] for call in range(calls)]

    def blocks(self, size: int) -> Iterator[tuple[Block, np.ndarray, list]]:
        """(block, stream of each packet, SIP as (call, ns, frame)) for `size` bytes of packets."""
        told = 0
        for begin in range(0, size // (FRAME + 16), PACKETS):
            number = np.arange(begin, begin + PACKETS)
            stream, seq = number % self.streams, number // self.streams
            rows = np.zeros((PACKETS, STRIDE), np.uint8)
            rows[:, :FRAME] = self._frames[stream]
            rows[:, 44:46] = (seq & 0xFFFF).astype(">u2").view(np.uint8).reshape(-1, 2)
            rows[:, 46:50] = (seq * PAYLOAD).astype(">u4").view(np.uint8).reshape(-1, 4)
            rows[:, 54:FRAME] = self._voice[(stream * 41 + seq) % len(self._voice)]
            ts = START + number * self.step
            each = np.full(PACKETS, FRAME, np.int64)
            upto = min(self.calls, int(number[-1]) // self.streams * 40)
            messages = [(call, int(ts[0]), frame) for call in range(told, upto) for frame in self._sip[call]]
            told = max(told, upto)
            yield Block(rows.reshape(-1), ts, np.arange(PACKETS) * STRIDE, each, each), stream, messages


def _dotted(raw: bytes) -> str:
    return ".".join(map(str, raw))


class Spent:
    """Seconds and CPU seconds of what is measured, without those of making traffic."""

    def __init__(self):
        self.wall = self.cpu = 0.0

    def __enter__(self):
        self._begun = time.perf_counter(), time.process_time()

    def __exit__(self, *_):
        self.wall += time.perf_counter() - self._begun[0]
        self.cpu += time.process_time() - self._begun[1]


def store(folder: Path, traffic: Traffic, size: int) -> tuple[Spent, dict]:
    pool = PacketStore(StoreSettings(folder, Limits()), verdict=lambda keys: np.zeros(len(keys), np.int8))
    spent = Spent()
    for block, stream, messages in traffic.blocks(size):
        with spent:
            pool.add("audio", 1, traffic.keys[stream], block.ts, block.offset, block.caplen, block.wirelen, block.data)
            for call, ts, frame in messages:
                pool.add_frames("sip", 1, call_key(b"%d@bench" % call), [(ts, len(frame), frame)])
            pool.tick()
            while pool.counters["pool_waiting_packets"] > 400_000:  # a kernel would wait no longer, and neither drop
                time.sleep(0.001)
    with spent:
        pool.close(time.monotonic() + 600)
    counters = pool.counters
    lost = [counters[f"pool_{name}_packets_total"] for name in ("dropped", "failed", "stranger")]
    if any(lost):
        raise SystemExit(f"packets were lost: {counters}")
    return spent, counters


def file_a_call(folder: Path, traffic: Traffic, size: int) -> tuple[Spent, int]:
    folder.mkdir()
    files = [os.open(folder / f"{call}.pcap", os.O_CREAT | os.O_WRONLY) for call in range(traffic.calls)]
    spent, packets = Spent(), 0
    for block, stream, messages in traffic.blocks(size):
        with spent:
            order = np.argsort((stream // 2).astype(np.uint16), kind="stable")
            call = (stream // 2)[order]
            rows = np.empty((len(order), 16 + FRAME), np.uint8)
            rows[:, :16] = heads(block.ts[order], block.caplen[order], block.wirelen[order]).view(np.uint8)
            rows[:, 16:] = block.data.reshape(PACKETS, STRIDE)[order, :FRAME]
            starts = run_starts(call).tolist()
            for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
                os.write(files[int(call[start])], memoryview(rows[start:stop]))
            for number, ts, frame in messages:
                head = struct.pack("<IIII", ts // 10**9, ts % 10**9, len(frame), len(frame))
                os.write(files[number], head + frame)
            packets += len(order) + len(messages)
    with spent:
        for file in files:
            os.fsync(file)
            os.close(file)
    return spent, packets


def drop_cache(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def read_bytes() -> int:
    """What this process had to read from disks, until now."""
    said = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(said["read_bytes"])


def fetch(folder: Path, traffic: Traffic, call: int) -> tuple[float, int, int]:
    """(ms, packets, bytes) of one call, all of it."""
    begun = time.perf_counter()
    keys = [call_key(b"%d@bench" % call), *traffic.keys[2 * call : 2 * call + 2].tolist()]
    stream = Stream(plan(folder, keys, 0, 1 << 62))
    size = sum(map(len, stream))
    return (time.perf_counter() - begun) * 1000, stream.packets, size


def extraction(folder: Path, traffic: Traffic) -> float:
    calls = np.random.default_rng(2).integers(0, traffic.calls, FETCHED).tolist()
    fetch(folder, traffic, 0)
    cold, read = [], []
    for call in calls:
        drop_cache(folder)
        before = read_bytes()
        cold.append(fetch(folder, traffic, call))
        read.append(read_bytes() - before)
    warm = [(fetch(folder, traffic, call), fetch(folder, traffic, call))[1][0] for call in calls]
    times = sorted(one[0] for one in cold)
    print(f"one call ({cold[0][1]:,} packets, {cold[0][2] / 1e6:.2f} MB), {FETCHED} calls one after the other:")
    print(f"  cold: median {statistics.median(times):.1f} ms, {times[0]:.1f} to {times[-1]:.1f}; "
          f"{statistics.median(read) / 1e6:.1f} MB read from the disk")  # fmt: skip
    print(f"  warm: median {statistics.median(warm):.1f} ms", flush=True)
    return statistics.median(times)


def beside_tshark(folder: Path, cold: float, gib: float) -> None:
    if not (tshark := shutil.which("tshark")):
        print("tshark is not here")
        return
    paths = sorted(folder.glob("*/audio-*.pcap"))[:SHOWN]
    drop_cache(folder)
    begun = time.perf_counter()
    for path in paths:
        out = subprocess.run([tshark, "-r", path, "-Y", "udp.port == 20001 && ip.addr == 10.1.0.5", "-w", "/dev/null"],
                             stderr=subprocess.DEVNULL, check=False)  # fmt: skip
        out.check_returncode()
    seconds = time.perf_counter() - begun
    size = sum(path.stat().st_size for path in paths) / (1 << 30)
    print(f"tshark -Y over {SHOWN} of the segments: {seconds:.1f} s, so {seconds / size * gib:,.0f} s for all; "
          f"{seconds / size * gib * 1000 / cold:,.0f} times the store's cold time")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=2.5)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"))
    args = parser.parse_args()
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    memory.keep()
    traffic, size = Traffic(args.calls), int(args.gib * (1 << 30))
    with tempfile.TemporaryDirectory(prefix="vf-bench-", dir=args.folder) as made:
        pool = Path(made) / "pool"
        ours, counters = store(pool, traffic, size)
        stored, packets = counters["pool_stored_bytes_total"], counters["pool_stored_packets_total"]
        index = sum(path.stat().st_size for path in pool.rglob("*.idx"))
        print(f"{stored / (1 << 30):.2f} GiB, {packets:,} packets of {args.calls:,} calls at once")
        print(f"store: {stored / ours.wall / 1e6:.0f} MB/s, {packets / ours.cpu / 1e6:.2f} M packets per CPU-second; "
              f"{counters['pool_segments_total']} segments, index {index / stored:.2%}", flush=True)  # fmt: skip
        cold = extraction(pool, traffic)
        beside_tshark(pool, cold, stored / (1 << 30))
        shutil.rmtree(pool)
        plain, count = file_a_call(Path(made) / "calls", traffic, size)
        print(f"a file a call: {stored / plain.wall / 1e6:.0f} MB/s, {count / plain.cpu / 1e6:.2f} M packets per "
              f"CPU-second; the store is {plain.wall / ours.wall:.1f} times as fast, "
              f"with {ours.cpu / packets * count / plain.cpu:.2f} of its CPU time")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
