"""An engine that writes and evicts, readers, holders and erasers, all at once: nobody is disturbed."""

import random
import threading
import time

from support import pools
from support.pools import START, Row, law
from voipfleet.errors import VoipfleetError
from voipfleet.packetstore import catalogue, erase, holds, retention
from voipfleet.packetstore.lookup import plan
from voipfleet.packetstore.reader import Stream
from voipfleet.packetstore.retention import Limits

SECONDS = 2.0
KEYS = list(range(1, 61, 2))
ERASED = KEYS[:10]


def payload(key: int, number: int) -> bytes:
    return b"<%d/%d>" % (key, number) * 20


def test_all_at_once(tmp_path):
    faults, done, end = [], {"read": 0, "gone": 0, "held": 0, "erased": 0, "given": 0}, time.monotonic() + SECONDS
    pool = pools.store(tmp_path, limits=Limits(size=400_000), segment=20_000)

    def again(work):
        rng = random.Random(work.__name__)

        def run() -> None:
            try:
                while time.monotonic() < end:
                    work(rng)
            except Exception as error:
                faults.append((work.__name__, repr(error)))
                raise

        return threading.Thread(target=run)

    def read(rng) -> None:
        key = rng.choice(KEYS)
        found = plan(tmp_path, [key], 0, 1 << 62)
        stream = Stream(found, cut_audio=rng.random() < 0.2)
        data = b"".join(stream)
        if data:
            line, _, pcap = data.partition(b"\n")
            assert line == b'{"pcap": %d}' % len(pcap)
            for _, _, raw in pools.records(pcap[24:]):
                assert not any(raw) or raw.startswith(b"<%d/" % key) or len(raw) <= 14
        assert "damaged" not in stream.missing or found.damaged
        done["read"] += 1
        done["gone"] += "removed" in stream.missing

    def hold(rng) -> None:
        key = rng.choice(KEYS[10:])
        uuid = key.to_bytes(16, "big")
        try:
            made = holds.hold(tmp_path, uuid, plan(tmp_path, [key], 0, 1 << 62), who="", why="")
        except VoipfleetError:
            return
        assert not Stream(made.plan).missing
        done["held"] += 1
        holds.release(tmp_path, uuid)

    def wipe(rng) -> None:
        done["erased"] += erase.erase(tmp_path, [rng.choice(ERASED)], 0, 1 << 62).packets

    def take(rng) -> None:
        done["given"] += retention.give_back(tmp_path, rng.choice([1, 20_000]))
        time.sleep(0.05)

    threads = [again(work) for work in (read, read, hold, wipe, take)]
    for thread in threads:
        thread.start()
    number = 0
    while time.monotonic() < end:
        pools.give(pool, "audio", [Row(key, START + number, payload(key, number)) for key in KEYS])
        pool.tick()
        number += 1
        time.sleep(0.001)
    for thread in threads:
        thread.join()
    pool.close(time.monotonic() + 10)
    assert not faults
    counters = pool.counters
    assert law(counters) and counters["pool_failed_packets_total"] == 0 and not pool._writer.fault
    assert all(done[name] for name in ("read", "held", "erased", "given")), done
    assert counters["pool_evicted_segments_total"] > 0
    for key in ERASED:
        erase.erase(tmp_path, [key], 0, 1 << 62)
    assert not plan(tmp_path, ERASED, 0, 1 << 62).pieces
    left = [path.read_bytes() for path in tmp_path.glob("*/*.pcap")]
    assert left and not any(b"<%d/" % key in data for data in left for key in ERASED)
    for entry in catalogue.read(tmp_path):
        assert catalogue.path_of(tmp_path, entry.name, ".idx").exists()
    assert not list(tmp_path.glob("*/*.part"))
