"""Where packets of a stream belong in time, whatever the network and the sender did to them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.fetching.placing import place

START, MS = 1_700_000_000_000_000_000, 1_000_000
SIZE = 160


def steady(count: int, seq: int = 65_500, stamp: int = 2**32 - 4000):
    """(arrival, seq, stamp) of packets every 20 ms; both numbers wrap soon."""
    n = np.arange(count)
    return START + n * 20 * MS, (seq + n) & 0xFFFF, (stamp + n * SIZE) & 0xFFFFFFFF


def placed(arrival, seq, stamp):
    """{number of the packet: sample from the start}, the packets being given in any order."""
    arrival, seq, stamp = map(np.asarray, (arrival, seq, stamp))
    by_time = np.argsort(arrival, kind="stable")
    order, at = place(arrival[by_time], seq[by_time], stamp[by_time])
    return {int(by_time[row]): int(where) - START // 125_000 for row, where in zip(order, at, strict=True)}


def even(numbers, shift: int = 0):
    return {n: n * SIZE + shift for n in numbers}


def test_steady_lost_twice_and_late():
    arrival, seq, stamp = steady(200)
    assert placed(arrival, seq, stamp) == even(range(200))
    rng = np.random.default_rng(1)
    jitter = rng.integers(0, 60, 200) * MS
    jitter[7] = 0
    assert placed(arrival + jitter, seq, stamp) == even(range(200))
    kept = np.array([n for n in range(200) if n % 7 and not 50 < n < 90])
    assert list(placed(arrival[kept], seq[kept], stamp[kept]).values()) == (kept * SIZE).tolist()
    again = np.append(np.arange(200), [20, 21, 199])
    later = arrival[again] + np.append(np.zeros(200, np.int64), [5 * MS] * 3)
    assert placed(later, seq[again], stamp[again]) == even(range(200))
    assert place(*[np.zeros(0, np.int64)] * 3)[1].tolist() == []


def test_silence_that_time_stamps_count_and_that_they_do_not():
    arrival, seq, stamp = steady(100)
    arrival[50:] += 7000 * MS
    spoken = even(range(50)) | even(range(50, 100), 56_000)
    assert placed(arrival, seq, np.append(stamp[:50], (stamp[50:] + 56_000) & 0xFFFFFFFF)) == spoken
    assert placed(arrival, seq, stamp) == spoken  # a hold


def test_time_stamps_that_jump():
    arrival, seq, stamp = steady(300)
    for jump in (1_000_000, -1_000_000, 2**30):
        stamps = np.concatenate([stamp[:100], stamp[100:200] + jump, stamp[200:] + 3 * jump]) & 0xFFFFFFFF
        assert placed(arrival, seq, stamps) == even(range(300))
    restarted = np.append(seq[:150], (seq[150:] + 30_000) & 0xFFFF)
    assert placed(arrival, restarted, np.append(stamp[:150], stamp[150:] + 77_777) & 0xFFFFFFFF) == even(range(300))


def test_numbers_that_begin_anew_among_those_that_were():
    arrival, seq, stamp = steady(5000)
    jitter = np.random.default_rng(2).integers(0, 60, 5000) * MS
    jitter[[0, 3999, 4000]] = 0
    for back, stamps in ((3500, stamp), (150, stamp), (3500, np.append(stamp[:4000], stamp[4000:] + 99_999))):
        anew = np.append(seq[:4000], (seq[4000:] - back) & 0xFFFF)
        assert placed(arrival + jitter, anew, stamps & 0xFFFFFFFF) == even(range(5000))
    late = arrival + np.where(np.arange(5000) == 3999, 25 * MS, 0)  # behind the first one of the new numbers
    assert placed(late, anew, stamps & 0xFFFFFFFF) == even(range(5000)) | {3999: 3999 * SIZE + 200}
    near = np.append(seq[:4000], (seq[4000:] - 50) & 0xFFFF)
    assert len(placed(arrival, near, stamp)) == 5000  # nothing is taken for a copy


def test_a_network_that_stands_still_and_then_delivers_all_at_once():
    arrival, seq, stamp = steady(400)
    held = np.where((np.arange(400) >= 100) & (np.arange(400) < 200), arrival[200] + np.arange(400), arrival)
    assert placed(held, seq, stamp) == even(range(400))
    alone = arrival.copy()
    alone[[50, 60]] += [900 * MS, 450 * MS]
    assert placed(alone, seq, stamp) == even(range(400))


@pytest.mark.parametrize("ppm", [100, -100, 20])
def test_a_clock_that_runs_off_is_followed(ppm):
    n = np.arange(90_000)  # half an hour
    arrival, seq, stamp = START + n * (20 * MS + 20 * ppm), n & 0xFFFF, n * SIZE & 0xFFFFFFFF
    at = np.array(list(placed(arrival, seq, stamp).values()))
    off = at * 125_000 - (arrival - START)
    assert abs(off).max() <= 21 * MS


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 65535), st.integers(0, 2**32 - 1)), max_size=40))
def test_any_numbers_have_some_place(packets):
    arrival, seq, stamp = np.array(sorted(packets), np.int64).reshape(-1, 3).T
    order, at = place(arrival, seq, stamp)
    assert len(order) == len(at) == len(set(order.tolist())) and (len(order) > 0) == (len(packets) > 0)
