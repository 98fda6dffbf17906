"""The packet store on disks of its own: traffic that never ends fills none, whatever the limits are, and what runs full
meanwhile costs packets, counted, and nothing else."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from faults.disks import fill, small
from support import pools
from support.pools import START, law
from voipfleet import room
from voipfleet.packetstore import catalogue, holds
from voipfleet.packetstore.lookup import plan
from voipfleet.packetstore.reader import Stream
from voipfleet.packetstore.retention import Limits
from voipfleet.packetstore.writer import StoreSettings, segment_size
from voipfleet.packetstore.writing import Writer

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mkfs.ext4"), reason="needs root and e2fsprogs"),
]
MB = 1 << 20
PACKETS, SIZE = 5000, 230  # of a block


def open_store(disk: Path, size: int | None = None) -> pools.PacketStore:
    total = shutil.disk_usage(disk).total
    limits = Limits(size=size, floor=room.floor_of(total, 5, 1))
    return pools.PacketStore(StoreSettings(disk / "pool", limits, segment=segment_size(limits, total)),
                             verdict=pools.all_kept)  # fmt: skip


def traffic(pool: pools.PacketStore, begin: int, megabytes: int, keys: np.ndarray) -> int:
    """So much of it, as fast as the disk takes it; the number of the next packet."""
    data, each = np.zeros(PACKETS * SIZE, np.uint8), np.full(PACKETS, SIZE)
    numbers = np.arange(PACKETS)
    end = begin + megabytes * MB // SIZE
    while begin < end:
        pool.add("audio", 1, keys[(begin + numbers) % len(keys)], START + (begin + numbers) * 200_000, numbers * SIZE,
                 each, each, data)  # fmt: skip
        pool.add_frames("sip", 1, 2, [(START + begin * 200_000, 500, bytes(500))])
        pool.tick()
        while pool.counters["pool_waiting_packets"] > 20_000:
            time.sleep(0.001)
        begin += PACKETS
    return begin


@pytest.mark.parametrize("inodes", [0, 700], ids=["tmpfs", "ext4"])
def test_traffic_that_never_ends_fills_no_disk(tmp_path, inodes):
    """Five times the disk; the floor is kept all the time, and what is there is the latest."""
    keys = np.arange(1, 400, 2, dtype=np.uint64)
    with small(tmp_path / "disk", 64, inodes) as disk:
        pool, at, least = open_store(disk), 0, 1 << 60
        floor = pool._settings.limits.floor
        assert floor == shutil.disk_usage(disk).total // 10
        for _ in range(32):
            at = traffic(pool, at, 10, keys)
            least = min(least, room.free(disk))
            assert law(pool.counters)
        pool.close(time.monotonic() + 20)
        counters = pool.counters
        assert law(counters) and counters["pool_failed_packets_total"] == counters["pool_dropped_packets_total"] == 0
        assert least >= floor and room.free(disk) >= floor
        assert counters["pool_evicted_floor_bytes_total"] > 200 * MB and counters["pool_evicted_segments_total"] > 50
        entries = sorted(catalogue.read(disk / "pool"))
        assert sum(entry.size for entry in entries) == counters["pool_bytes"] > 30 * MB
        assert max(entry.name.last for entry in entries) >= START + (at - PACKETS) * 200_000
        stream = Stream(plan(disk / "pool", [1], 0, 1 << 62))
        assert sum(map(len, stream)) > 0 and not stream.missing


def test_a_limit_is_kept_and_a_held_call_stays(tmp_path):
    keys = np.arange(1, 400, 2, dtype=np.uint64)
    with small(tmp_path / "disk", 64) as disk:
        pool = open_store(disk, size=20 * MB)
        at = traffic(pool, 0, 10, keys)
        pool.seal()
        traffic(pool, at, 1, keys)
        found = plan(disk / "pool", [1, 2], 0, 1 << 62)
        held = holds.hold(disk / "pool", bytes(16), found, who="", why="")
        at = traffic(pool, at, 60, keys)
        pool.close(time.monotonic() + 20)
        counters = pool.counters
        assert 15 * MB < counters["pool_bytes"] <= 20 * MB and counters["pool_evicted_floor_bytes_total"] == 0
        assert not [piece for piece in found.pieces if Path(piece.path).exists()]
        stream = Stream(holds.get(disk / "pool", bytes(16)).plan)
        assert sum(map(len, stream)) > held.plan.bytes and not stream.missing and stream.packets > 100


@pytest.mark.parametrize("inodes", [0, 700], ids=["tmpfs", "ext4"])
def test_a_disk_that_others_fill_costs_packets_only(tmp_path, caplog, inodes):
    keys = np.arange(1, 400, 2, dtype=np.uint64)
    with small(tmp_path / "disk", 64, inodes) as disk:
        pool = open_store(disk)
        at = traffic(pool, 0, 20, keys)
        made = fill(disk, bool(inodes))
        at = traffic(pool, at, 20, keys)
        pool.seal()
        while pool.counters["pool_waiting_packets"]:
            time.sleep(0.01)
        during = pool.counters
        assert law(during) and during["pool_failed_packets_total"] + during["pool_evicted_segments_total"] > 0
        for path in made:
            path.unlink()
        traffic(pool, at, 20, keys)
        pool.close(time.monotonic() + 20)
        after = pool.counters
        assert law(after) and after["pool_stored_packets_total"] > during["pool_stored_packets_total"]
        assert not pool._writer.fault
        assert caplog.text.count("packets cannot be kept") <= 1
        assert not list((disk / "pool").glob("*/*.part"))


def test_a_write_that_finds_the_disk_full_is_tried_again_with_more_room(tmp_path, monkeypatch):
    """The floor says nothing of what others write meanwhile."""
    keys = np.arange(1, 400, 2, dtype=np.uint64)
    with small(tmp_path / "disk", 64) as disk:
        pool = open_store(disk)
        at = traffic(pool, 0, 60, keys)
        while pool.counters["pool_waiting_packets"]:
            time.sleep(0.01)
        write, filled = Writer._write, []

        def others_first(self, sealed, size) -> None:
            if not filled:
                filled.extend(fill(disk, False))
            write(self, sealed, size)

        monkeypatch.setattr(Writer, "_write", others_first)
        traffic(pool, at, 4, keys)
        pool.close(time.monotonic() + 20)
        counters = pool.counters
        assert filled and law(counters) and counters["pool_stored_packets_total"] > at
        assert counters["pool_evicted_floor_bytes_total"] > MB
