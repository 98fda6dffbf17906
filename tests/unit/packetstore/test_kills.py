"""kill -9 while segments are written: every segment that is there is whole, what is not goes at the next start."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import dpkt
import pytest
from support import pools
from voipfleet.packetstore import segment
from voipfleet.packetstore.lookup import plan
from voipfleet.packetstore.reader import Stream

KEYS = [2 * n + 1 for n in range(50)]
WRITES = """
import sys, time
from pathlib import Path
import numpy as np
from voipfleet.packetstore.retention import Limits
from voipfleet.packetstore.writer import PacketStore, StoreSettings
pool = PacketStore(StoreSettings(Path(sys.argv[1]), Limits(size=24 << 20), segment=256 << 10),
                   verdict=lambda keys: np.zeros(len(keys), np.int8))
number, size, count = int(sys.argv[2]), 200, 500
print("up", flush=True)
while True:
    numbers = np.arange(number, number + count)
    data = np.repeat((numbers & 255).astype(np.uint8), size)
    each = np.full(count, size)
    pool.add("audio", 1, (2 * (numbers % 50) + 1).astype(np.uint64), 1_700_000_000_000_000_000 + numbers * 1_000_000,
             np.arange(count) * size, each, each, data)
    number += count
    pool.tick()
    time.sleep(0.001)
"""


@pytest.mark.parametrize("seed", range(6))
def test_every_segment_that_is_there_is_served_whole(tmp_path, seed):
    folder, rng = tmp_path / "pool", random.Random(seed)
    for turn in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITES, folder, str(turn * 1_000_000)], stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"up\n"
        time.sleep(rng.uniform(0.02, 0.25))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        names = [segment.parse_name(path.name)[0] for path in folder.glob("*/*.pcap")]
        whole(folder, names)
    pool = pools.store(folder)
    pool.close(time.monotonic() + 10)
    left = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert left <= {".pcap", ".idx"} and pool.counters["pool_damaged_segments"] == 0
    assert len(list(folder.glob("*/*.idx"))) == len(list(folder.glob("*/*.pcap"))) == len(names)


def whole(folder: Path, names: list[segment.Name]) -> None:
    """Every packet of the time that a segment's name says is in it, found by its key."""
    stream = Stream(plan(folder, KEYS, 0, 1 << 62))
    data = b"".join(stream)
    assert not stream.missing
    packets = 0
    for name in names:
        with (folder / name.hour / f"{name}.pcap").open("rb") as file:
            found = [(round(ts * 10**6) % 10**9, raw) for ts, raw in dpkt.pcap.Reader(file)]
        assert len(found) == (name.last - name.first) // 1_000_000 + 1
        assert all(raw == raw[:1] * 200 for _, raw in found)
        packets += len(found)
    assert packets == stream.packets and len(data) == (packets and 24 + packets * 216 + data.index(b"\n") + 1)
