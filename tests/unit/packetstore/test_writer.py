"""The store from the engine's side: what is given is on the disk, or counted; a disk that refuses ends nothing."""

import logging
import os
import shutil
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import pools
from support.pools import START, Row, law
from voipfleet import room
from voipfleet.packetstore import segment, writer, writing
from voipfleet.packetstore.retention import DAY_NS, Limits
from voipfleet.packetstore.staging import DROP, KEEP, WAIT
from voipfleet.packetstore.writer import PacketStore, StoreSettings, segment_size

MB = 1 << 20
rows = st.builds(Row, key=st.integers(0, 5), ts=st.integers(START, START + 1000), data=st.binary(max_size=50),
                 wirelen=st.just(60))  # fmt: skip
given_rows = st.lists(rows, min_size=1, max_size=20)
steps = st.lists(st.tuples(st.sampled_from(segment.KINDS), st.sampled_from([1, 113]), given_rows, st.booleans()),
                 max_size=8)  # fmt: skip


def wait(pool: PacketStore) -> None:
    number, end = pool.seal(), time.monotonic() + 5
    while not pool.written(number):
        assert time.monotonic() < end
        time.sleep(0.001)


def pcaps(folder, kind: str = "*"):
    return sorted(folder.glob(f"*/{kind}-*.pcap"))


def content(folder, kind: str) -> dict[int, list]:
    found: dict[int, list] = {}
    for path in pcaps(folder, kind):
        for key, run in pools.runs(path).items():
            found.setdefault(key, []).extend(pools.records(run))
    return found


@settings(max_examples=40, deadline=None)
@given(steps)
def test_everything_that_is_given_is_on_the_disk(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("pool")
    pool = pools.store(folder)
    wanted: dict[str, dict[int, list]] = {kind: {} for kind in segment.KINDS}
    for kind, linktype, block, singly in steps:
        if singly:
            for row in block:
                pool.add_frames(kind, linktype, row.key, [(row.ts, row.wirelen, row.data)])
        else:
            pools.give(pool, kind, block, linktype)
        for row in block:
            wanted[kind].setdefault(row.key, []).append((row.ts, row.wirelen, row.data))
        assert law(pool.counters)
    pool.close(time.monotonic() + 5)
    counters = pool.counters
    assert law(counters) and counters["pool_stored_packets_total"] == counters["pool_given_packets_total"]
    for kind in segment.KINDS:
        found = content(folder, kind)
        assert {key: sorted(run) for key, run in found.items()} == {
            key: sorted(run) for key, run in wanted[kind].items()
        }
    assert not list(folder.glob("*/*.part")) and counters["pool_segments_total"] == len(pcaps(folder))


def test_link_types_have_segments_of_their_own_and_names_say_what_is_in_them(tmp_path):
    pool = pools.store(tmp_path)
    pools.give(pool, "sip", [Row(2, START, b"x"), Row(2, START + 5, b"y")], 113)
    pools.give(pool, "sip", [Row(2, START + 1, b"z")], 1)
    pool.close(time.monotonic() + 5)
    names = sorted((segment.parse_name(path.name)[0] for path in pcaps(tmp_path)), key=lambda name: name.linktype)
    assert [(n.kind, n.first, n.last, n.linktype) for n in names] == [("sip", START + 1, START + 1, 1),
                                                                      ("sip", START, START + 5, 113)]  # fmt: skip
    assert {path.parent.name for path in pcaps(tmp_path)} == {"2023-11-14T22"}
    assert oct(pcaps(tmp_path)[0].stat().st_mode)[-3:] == "600"


def test_a_segment_is_written_when_it_is_full_or_old_enough(tmp_path):
    now = [100.0]
    pool = PacketStore(StoreSettings(tmp_path, segment=10_000), verdict=pools.all_kept, clock=lambda: now[0])
    pools.give(pool, "rtp", [Row(1, START + n, bytes(84)) for n in range(99)])
    pool.tick()
    assert pool.counters["pool_staged_packets"] == 99
    pools.give(pool, "rtp", [Row(1, START + n, bytes(84)) for n in range(99, 350)])
    assert pool.counters["pool_staged_packets"] == 50
    now[0] += 29.9
    pool.add_frames("rtp", 1, 1, [(START + 400, 100, bytes(84))])
    pool.tick()
    assert pool.counters["pool_staged_packets"] == 51
    now[0] += 0.2
    pool.tick()
    assert pool.counters["pool_staged_packets"] == 0
    pool.close(time.monotonic() + 5)
    assert [len(pools.records(pools.runs(path)[1])) for path in pcaps(tmp_path)] == [100, 100, 100, 51]


def test_no_segment_reaches_over_more_than_five_minutes(tmp_path):
    minute = 60_000_000_000
    pool = pools.store(tmp_path)
    pools.give(pool, "rtp", [Row(1, START + n * minute, b"%d" % n) for n in range(60)])
    for n in (1000, 5, 1001, 6, 10_000_000, 7):  # a host that was away sends what waited, beside the others
        pools.give(pool, "rtp", [Row(1, START + n * minute, b"+%d" % n)])
    pools.give(pool, "rtp", [Row(1, -5, b"early"), Row(1, 1 << 62, b"late")])
    pool.close(time.monotonic() + 5)
    names = [segment.parse_name(path.name)[0] for path in pcaps(tmp_path)]
    assert all(0 <= name.last - name.first <= writer.SPAN_NS for name in names)
    assert len(names) < 40 and pool.counters["pool_stored_packets_total"] == 68
    assert all(segment.hour_of(name.first) == path.parent.name
               for name, path in zip(names, pcaps(tmp_path), strict=True))  # fmt: skip


def test_streams_wait_for_a_name_and_strangers_are_dropped_at_the_end(tmp_path):
    said = {1: WAIT, 3: KEEP, 5: DROP}
    pool = pools.store(tmp_path, lambda keys: np.array([said[key] for key in keys.tolist()], np.int8))
    pools.give(pool, "audio", [Row(key, START, b"a") for key in (1, 3, 5, 5)])
    pool.add_frames("sip", 1, 8, [(START, 1, b"s")])  # nobody is asked about signalling
    wait(pool)
    counters = pool.counters
    assert law(counters) and counters["pool_staged_packets"] == 1 and counters["pool_stranger_packets_total"] == 2
    said[1] = KEEP
    pools.give(pool, "audio", [Row(7, START, b"b")])
    said[7] = WAIT
    wait(pool)
    assert content(tmp_path, "audio") == {1: [(START, 1, b"a")], 3: [(START, 1, b"a")]}
    pool.close(time.monotonic() + 5)
    counters = pool.counters
    assert law(counters) and counters["pool_stranger_packets_total"] == 3 and counters["pool_staged_packets"] == 0


def test_a_slow_disk_costs_segments_and_never_a_wait(tmp_path, monkeypatch):
    gate = threading.Event()
    fsync = os.fsync
    monkeypatch.setattr(writing, "MOST_WAITING", 4)
    monkeypatch.setattr(os, "fsync", lambda file: (gate.wait(10), fsync(file)))
    pool = pools.store(tmp_path)
    begun = time.monotonic()
    for n in range(7):
        pools.give(pool, "audio", [Row(1, START + n, b"a%d" % n)] * 10)
        pool.seal()
        assert law(pool.counters)
    assert time.monotonic() - begun < 2
    counters = pool.counters
    assert (counters["pool_waiting_packets"], counters["pool_dropped_packets_total"]) == (40, 30)
    pool.close(time.monotonic() + 0.05)  # the deadline holds
    gate.set()
    pool.close(time.monotonic() + 5)
    assert law(pool.counters) and pool.counters["pool_stored_packets_total"] == 40
    assert [data for _, _, data in content(tmp_path, "audio")[1]] == [b"a%d" % n for n in range(4) for _ in range(10)]


@pytest.mark.parametrize("where", ["open", "fsync", "rename"])
def test_a_disk_that_refuses_is_told_once_and_when_it_is_well_again(tmp_path, monkeypatch, caplog, where):
    caplog.set_level(logging.WARNING)
    pool = pools.store(tmp_path)
    wait(pool)

    def refuse(*arguments, **more):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        if where == "rename":
            patch.setattr(writing.Path, "rename", refuse)
        elif where == "fsync":
            patch.setattr(os, "fsync", refuse)
        else:
            patch.setattr(writing, "_write_synced", refuse)
        for n in range(3):
            pools.give(pool, "sip", [Row(2, START + n, b"s")])
            wait(pool)
        assert pool._writer.fault == "Input/output error" and law(pool.counters)
    assert pool.counters["pool_failed_packets_total"] == 3 and not pcaps(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    pools.give(pool, "sip", [Row(2, START + 9, b"s")])
    wait(pool)
    assert pool._writer.fault == "" and len(pcaps(tmp_path)) == 1
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"{tmp_path}: packets cannot be kept (Input/output error), and are counted; make room, or the"
                    " folder writable", f"{tmp_path}: packets are kept again"]  # fmt: skip
    pool.close(time.monotonic() + 5)


def test_the_folder_of_an_hour_that_was_empty_for_others_is_made_again(tmp_path, monkeypatch):
    pool = pools.store(tmp_path)
    write, removed = writing._write_synced, []

    def remove_first(path, *arguments, **more):
        if not removed:
            removed.append(path.parent.rmdir())
        return write(path, *arguments, **more)

    monkeypatch.setattr(writing, "_write_synced", remove_first)
    pools.give(pool, "sip", [Row(2, START, b"s")])
    pool.close(time.monotonic() + 5)
    assert removed and pool.counters["pool_stored_packets_total"] == 1


def test_a_file_system_that_takes_nothing_past_its_cache(tmp_path, monkeypatch):
    opened, flags = os.open, []

    def refuse(path, flag, *more, **named):
        flags.append(flag & os.O_DIRECT)
        if flag & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return opened(path, flag, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    pool = pools.store(tmp_path)
    for n in range(2):
        pools.give(pool, "audio", [Row(1, START + n, bytes(400_000 >> 1))] * 2)
        wait(pool)
    pool.close(time.monotonic() + 5)
    assert sum(map(bool, flags)) == 1 and pool.counters["pool_stored_packets_total"] == 4 and not pool._writer.fault


@pytest.mark.parametrize("size", [262_144 - 40, 262_144, 300_001])
def test_a_pcap_ends_where_its_packets_end(tmp_path, size):
    pool = pools.store(tmp_path)
    for n in range(2):
        pools.give(pool, "audio", [Row(1, START + n, b"x" * size)] * (3 - n))
        wait(pool)
    pool.close(time.monotonic() + 5)
    for path, count in zip(pcaps(tmp_path), (3, 2), strict=True):
        kept = min(size, segment.MAX_CAPTURED)
        assert path.stat().st_size == 24 + count * (16 + kept) and len(pools.runs(path)[1]) == count * (16 + kept)


def test_a_defect_costs_its_segment_only(tmp_path, monkeypatch, caplog):
    pool = pools.store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(writing, "name_of", None)
        pools.give(pool, "sip", [Row(2, START, b"s")])
        wait(pool)
    assert "report this" in caplog.text
    pools.give(pool, "sip", [Row(2, START, b"s")])
    pool.close(time.monotonic() + 5)
    assert law(pool.counters) and pool.counters["pool_stored_packets_total"] == 1


def test_what_a_kill_left_half_written_goes_at_the_next_start(tmp_path, caplog):
    pools.fill(tmp_path, "sip", [Row(2, START, b"s")])
    (pcap,) = pcaps(tmp_path)
    hour = pcap.parent
    for name in ("sip-5-6-0001abcd.pcap.part", "sip-5-6-0001abcd.idx", "sip-5-6-0001abcd.idx.part"):
        (hour / name).write_bytes(b"x")
    alone = hour / f"sip-{START}-{START}-00010000.pcap"
    alone.write_bytes(pcap.read_bytes())
    empty = tmp_path / "2020-01-01T00"
    empty.mkdir()
    for name in ("holds", "other"):
        (tmp_path / name).mkdir()
    (hour / "notes.txt").write_bytes(b"not ours")
    pool = pools.store(tmp_path)
    pool.close(time.monotonic() + 5)
    assert {path.name for path in hour.iterdir()} == {pcap.name, pcap.stem + ".idx", alone.name, "notes.txt"}
    assert not empty.exists() and (tmp_path / "holds").exists()
    assert pool.counters["pool_damaged_segments"] == 1 and "no index" in caplog.text
    assert pool.counters["pool_sip_bytes"] == 3 * 4096 and pool.counters["pool_sip_oldest_ns"] == START


def test_others_remove_files_and_the_books_follow(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "UPKEEP", 0.01)
    pool = pools.store(tmp_path)
    for n in range(3):
        pools.give(pool, "rtp", [Row(1, START + n, b"s")])
        wait(pool)
    assert pool.counters["pool_bytes"] == 3 * 8192
    pcaps(tmp_path)[0].unlink()
    end = time.monotonic() + 5
    while pool.counters["pool_bytes"] != 2 * 8192:
        assert time.monotonic() < end
        time.sleep(0.01)
    pool.close(time.monotonic() + 5)


def test_settings_of_a_configuration(tmp_path):
    from voipfleet.config import parse

    text = f"""[general]
interface = lo
spooldir = {tmp_path}
savertp = yes
savertcp = no
maxpoolsize = 1000
maxpoolsipdays = 30
maxpoolaudiosize = 320
maxpooldays = 90
autocleanmingb = 0
"""
    found = StoreSettings.from_config(parse(text, "x"))
    assert found.folder == tmp_path / "pool" and (found.savesip, found.savertp, found.savertcp) == (True, "yes", False)
    assert found.limits == Limits(1000 * MB, 90 * DAY_NS, {"audio": 320 * MB}, {"sip": 30 * DAY_NS}, found.limits.floor)
    assert found.limits.floor == 3 * room.reserve_of(shutil.disk_usage(tmp_path).total) > 0
    assert found.saves and found.segment <= 20 * MB
    limits = [f"maxpool{kind}{what}" for kind in ("", *segment.KINDS) for what in ("size", "days")]
    nothing = SimpleNamespace(**dict.fromkeys(limits), spooldir=tmp_path / "none", savesip=False, savertp="no",
                              savertcp=False, autocleanmingb=5, autocleanspoolminpercent=1)  # fmt: skip
    assert not StoreSettings.from_config(nothing).saves


def test_how_large_a_segment_is():
    assert segment_size(Limits(), 0) == segment_size(Limits(size=100_000 * MB), 1 << 40) == 32 * MB
    assert segment_size(Limits(size=160 * MB, sizes={"sip": 80 * MB}), 1 << 40) == 5 * MB
    assert segment_size(Limits(), 64 * MB) == 2 * MB and segment_size(Limits(size=1), 1) == 64 << 10


class Told:
    """A clock that says what the test wants."""

    settled, time = True, 0

    def __init__(self, *_):
        pass

    def now(self, newest: int) -> int:
        return self.time


def test_days_count_from_when_a_segment_was_written_whatever_its_packets_say(tmp_path, monkeypatch):
    """A host's clock may have been wrong: packets of 1970 are not old, and those of 2099 do not stay for ever."""
    now = time.time_ns()
    monkeypatch.setattr(writing, "UPKEEP", 0.01)
    monkeypatch.setattr(writing, "Clock", Told)
    monkeypatch.setattr(Told, "time", 0)
    pool = pools.store(tmp_path, limits=Limits(ages={"sip": DAY_NS}))
    for ts in (10**9, START, 4 * 10**18):
        pools.give(pool, "sip", [Row(2, ts, b"s")])
        pools.give(pool, "rtp", [Row(1, ts, b"r")])
        wait(pool)
    old, future, _ = pcaps(tmp_path, "sip")
    os.utime(old, ns=(now - 2 * DAY_NS,) * 2)
    os.utime(future, ns=(now + 900 * DAY_NS,) * 2)
    for hour in {old.parent, future.parent}:
        os.utime(hour)  # as if something had changed in it, so that it is looked at
    wait_until(lambda: len(pool._writer.catalogue.entries["sip"]) == 3 and pool._writer.catalogue.newest > now + DAY_NS)
    assert len(pcaps(tmp_path)) == 6  # nobody knows the time yet
    monkeypatch.setattr(Told, "time", now)
    wait_until(lambda: pool.counters["pool_evicted_segments_total"] and len(pcaps(tmp_path)) == 5)
    assert not old.exists() and future.stat().st_mtime_ns == now
    counters = pool.counters
    assert counters["pool_evicted_days_bytes_total"] == counters["pool_evicted_sip_bytes_total"] == 8192
    monkeypatch.setattr(Told, "time", now + 2 * DAY_NS)
    wait_until(lambda: pool.counters["pool_sip_bytes"] == 0)
    assert len(pcaps(tmp_path, "rtp")) == len(pcaps(tmp_path)) == 3
    pool.close(time.monotonic() + 5)


def wait_until(true) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_other_limits_while_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "UPKEEP", 0.01)
    pool = pools.store(tmp_path)
    for n in range(4):
        pools.give(pool, "sip", [Row(2, START + n, b"s")])
        wait(pool)
    pool.limit(StoreSettings(tmp_path, Limits(size=2 * 8192)))
    wait_until(lambda: len(pcaps(tmp_path)) == 2)
    pool.close(time.monotonic() + 5)
    assert [segment.parse_name(path.name)[0].first for path in pcaps(tmp_path)] == [START + 2, START + 3]
