"""Sensors in view: what they said, what follows from it, what is not as usual."""

import time

import pytest
from support.records import EPOCH, call, count, row
from voipfleet.central import registry, schema
from voipfleet.central.registry import MINUTE, SECOND
from voipfleet.central.store import Peer
from voipfleet.commands import sensors as command
from voipfleet.records.messages import Batch, Status

PEER = Peer(b"s" * 16, "branch1", "ab12-cd34", "10.0.0.1")
COUNTERS = {"capture_packets_total": 1000, "calls_active": 3, "records_queued": 2, "capture_kernel_drops_total": 4,
            "pipe_packets_dropped_total": 1, "disk_free_bytes": 5 * 10**9, "disk_size_bytes": 10**10,
            "pool_oldest_ns": 77, "clock_offset_us": -1500}  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    now = [1_700_000_000 * SECOND]
    monkeypatch.setattr(time, "time_ns", lambda: now[0])
    return now


def status(packets=1000, started=1, **more):
    return Status("branch1", 7, "1.0", "sensor", "north", started, COUNTERS | {"capture_packets_total": packets} | more)


def test_what_it_said_and_what_follows(store, clock):
    store.seen([(PEER, status(), "relay1", 5)])
    clock[0] += 5 * SECOND
    store.seen([(PEER, status(2000), "relay1", 5)])
    (one,) = store.sensors()
    assert one | {"uuid": "", "last_seen": 0} == {
        "uuid": "", "name": "branch1", "id": 7, "site": "north", "address": "10.0.0.1", "via": "relay1",
        "mode": "sensor", "version": "1.0", "key": "ab12-cd34", "up_since": 1, "connected_since": 5, "last_seen": 0,
        "packets_per_second": 200.0, "calls": 3, "drops": 5, "backlog": 2, "disk_free": 5 * 10**9, "disk_size": 10**10,
        "pool_bytes": None, "oldest": 77, "clock_offset_ms": -1.5, "last_call": 0, "remark": "",
    }  # fmt: skip
    clock[0] += 5 * SECOND
    store.seen([(PEER, status(10, started=2), "", 0)])  # it has begun anew: nothing to compare with
    assert store.sensors()[0]["packets_per_second"] is None


def test_its_figures_are_kept_among_hundreds_of_others(store, clock):
    many = {f"n{number}": number for number in range(300)} | COUNTERS
    store.seen([(PEER, Status("branch1", 7, "1.0", "", "", 1, many))])
    assert store.sensors()[0]["clock_offset_ms"] == -1.5


def test_a_row_a_minute(store, clock):
    clock[0] -= clock[0] % MINUTE
    for _ in range(30):
        store.seen([(PEER, status())])
        clock[0] += 10 * SECOND
    found = store.history("branch1")
    assert [one["at"] for one in found] == [clock[0] - n * MINUTE for n in (5, 4, 3, 2, 1)]
    assert (found[0]["calls"], found[0]["drops"], found[0]["clock_offset_ms"]) == (3, 5, -1.5)
    assert len(store.history("branch1", clock[0] - 2 * MINUTE)) == 2 and store.history("other") == []


def test_it_is_listed_until_it_is_forgotten(store, clock):
    store.seen([(PEER, status())])
    assert store.forget("other") == 0 and store.forget("branch1") == 1
    assert store.sensors() == [] and count(store, schema.sensor_history) == 0


@pytest.mark.parametrize(("seen", "last_call", "usual", "said"), [
    (5, 60, 120.0, ""), (200, 60, 120.0, "silent for 3 min"),
    (5, 2400, 120.0, "no call for 40 min, usually every 2 min"),
    (5, 2400, None, ""), (5, 2400, 600.0, ""), (5, 200, 1.0, ""), (30, 0, 1.0, "silent for 30 s"),
    (86_400 * 3, 0, None, "silent for 3 d"),
])  # fmt: skip
def test_what_is_not_as_usual_is_said(seen, last_call, usual, said):
    now = 1_700_000_000 * SECOND
    assert registry.remark(now, now - seen * SECOND, now - last_call * SECOND, usual) == said


def test_the_rhythm_is_that_of_the_hour():
    day = 24 * 60 * MINUTE
    busy = [n * day + 10 * 60 * MINUTE + k * MINUTE for n in range(9) for k in range(30)]
    quiet = [n * day + 3 * 60 * MINUTE + k * 20 * MINUTE for n in range(9) for k in range(3)]
    times = sorted(busy + quiet, reverse=True)
    assert registry.usual_gap(times, 10) == 60.0 and registry.usual_gap(times, 3) == 1200.0
    assert registry.usual_gap(times[:3], 10) is None


def test_a_sensor_without_its_usual_calls_is_marked(store, clock):
    ends = [clock[0] - 3600 * SECOND - n * MINUTE for n in range(50)]
    store.ingest(PEER, Batch(EPOCH, [row(n, call(setup_time=at, call_id=str(n))) for n, at in enumerate(ends, 1)]))
    store.seen([(PEER, status())])
    assert store.sensors()[0]["remark"] == "no call for 60 min, usually every 1 min"


def test_the_table_is_harmless_and_in_words(store, clock, capsys):
    store.seen([(Peer(b"t" * 16, "evil\x1b[31m", "", "10.0.0.2"), status(), "relay1")])
    clock[0] += 200 * SECOND
    store.seen([(PEER, status())])
    command._console().print(command._table(store.sensors()))
    shown = capsys.readouterr().out
    assert "evil\\x1b[31m" in shown and "silent for 3 min" in shown and "10.0.0.2 via relay1" in shown
    assert "5 GB of 10 GB" in shown and "-1.5" in shown
