"""The vector table equals the scalar definition, bit for bit, for any cut into blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.calls import stream_scalar, streams

STEP = st.tuples(
    st.integers(0, 3), st.integers(0, 90_000_000), st.sampled_from([1, 1, 1, 1, 2, 5, 70, 0, -1, -3, -40, 9000]),
    st.sampled_from([160, 160, 160, 0, 320, 90_000]), st.sampled_from([0, 0, 0, 101]),
)  # fmt: skip


@pytest.mark.parametrize("few", [1, 24])
@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEP, max_size=120), start=st.integers(0, 65535), cut=st.integers(1, 50))
def test_vector_equals_scalar(few, steps, start, cut):
    table, oracle = streams.StreamTable(), [stream_scalar.new() for _ in range(4)]
    rows = [table.allot() for _ in range(4)]
    seq, stamp, now, packets = [start] * 4, [2**32 - 500] * 4, 10**18, []
    for which, gap, ahead, ticks, pt in steps:
        now, seq[which], stamp[which] = now + gap, seq[which] + ahead, stamp[which] + ticks
        packets.append((rows[which], now, seq[which] & 0xFFFF, stamp[which] & 0xFFFFFFFF, pt))
        stream_scalar.step(oracle[which], *packets[-1][1:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "FEW", few)
        for at in range(0, len(packets), cut):
            table.feed(*np.array(packets[at : at + cut], np.int64).T)
    assert [table.state(row) for row in rows] == oracle


def figures(sequence):
    state = stream_scalar.new()
    for n, seq in enumerate(sequence):
        stream_scalar.step(state, n * 20_000_000, seq & 0xFFFF, seq * 160 & 0xFFFFFFFF, 0)
    return stream_scalar.result(state)


def test_wrap_loss_duplicate_and_reordered_first_packet():
    assert figures(range(65500, 65600))["lost"] == 0
    burst = figures([*range(10), *range(13, 20), *range(21, 30)])
    assert (burst["lost"], burst["loss_bursts"][:3]) == (4, [1, 0, 1])
    assert figures([5, 5, 6])["duplicates"] == 1
    early = figures([6, 5, 7])
    assert (early["expected"], early["received"], early["lost"], early["reordered"]) == (3, 3, 0, 1)


@pytest.mark.parametrize("cut", [1, 7, 500, 4000, 100_000])
@pytest.mark.parametrize("count", [3, 60])
def test_long_segments_and_many_streams_equal_the_definition(cut, count):
    """Mostly sound streams, each with faults of its own: loss, disorder, wraps, jumps, a clock that restarts."""
    rng = np.random.default_rng(count * 7 + cut)
    table, oracle, packets = streams.StreamTable(), [], []
    for number in range(count):
        row, n = table.allot(), int(rng.integers(1, 400))
        seq = (rng.integers(0, 65536) + np.arange(n)) & 0xFFFF
        stamp = (rng.integers(0, 1 << 32) + 160 * np.arange(n)) & 0xFFFFFFFF
        ts = 10**18 + 20_000_000 * np.arange(n) + rng.integers(0, 30_000_000, n)
        pt = np.where(rng.random(n) < (0.05 if number % 3 else 0), 101, 0)
        if number % 4 == 1:
            keep = rng.random(n) > 0.03
            seq, stamp, ts, pt = seq[keep], stamp[keep], ts[keep], pt[keep]
        if number % 4 == 2 and len(seq) > 40:
            seq[20:] = (seq[20:] + 20_000) & 0xFFFF
            stamp[30:] = (stamp[30:] + 10**8) & 0xFFFFFFFF
        if number % 5 == 3 and len(seq) > 20:
            seq[10], seq[12], seq[15] = seq[12], seq[10], seq[14]
        packets += zip([row] * len(seq), np.sort(ts).tolist(), seq.tolist(), stamp.tolist(), pt.tolist(), strict=True)
        oracle.append(stream_scalar.new())
        for packet in packets[-len(seq) :] if len(seq) else ():
            stream_scalar.step(oracle[-1], *packet[1:])
    packets.sort(key=lambda packet: packet[1])
    for at in range(0, len(packets), cut):
        table.feed(*np.array(packets[at : at + cut], np.int64).T)
    for row, expected in enumerate(oracle):
        assert table.state(row) == expected
