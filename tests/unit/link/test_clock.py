"""The other end's clock, out of time stamps that travel."""

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from voipfleet.link import clock


@given(st.integers(-(10**12), 10**12), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1))
def test_the_error_is_no_more_than_half_of_the_quickest_round_trip(ahead, ways):
    offset, now = clock.Offset(), 10**15
    for there, back in ways:
        offset.sample(now, now + there + ahead, now + there + back)
        now += there + back
    assert abs(offset.seconds - ahead / 1e6) <= offset.round_trip / 2 + 1e-6
    assert offset.round_trip == min(there + back for there, back in ways[-clock.SAMPLES :]) / 1e6


def test_before_the_first_exchange_and_after_one_that_cannot_be():
    offset = clock.Offset()
    offset.sample(100, 50, 99)  # our clock was set back meanwhile
    assert offset.seconds is None and offset.round_trip is None


@given(st.integers(200_000, 10**12), st.sampled_from([1, -1]), st.integers(0, 50_000))
def test_a_clock_that_was_set_is_believed_at_once_and_a_slow_answer_is_not(by, sign, way):
    offset = clock.Offset()
    offset.sample(0, 500, 1000)
    offset.sample(10**7, 10**7 + way, 10**7 + 2 * way)
    assert abs(offset.seconds) <= 0.0005
    later = 10**13
    offset.sample(later, later + sign * by + way, later + 2 * way)
    assert offset.seconds == pytest.approx(sign * by / 1e6)
    offset.sample(later, later + 2 * by + sign * by, later + 2 * by + 10)  # all the delay one way: nothing was set
    assert offset.seconds == pytest.approx(sign * by / 1e6)


@pytest.mark.parametrize(("ahead", "said"), [(1_900_000, ""), (2_100_000, "2.1 s ahead of ours"),
                                             (-600_000_000, "600.0 s behind ours")])  # fmt: skip
def test_a_clock_that_is_off_is_told_once(monkeypatch, caplog, ahead, said):
    monkeypatch.setattr(clock, "SETTLE", 0.0)
    monkeypatch.setattr(clock, "EVERY", 0.001)
    offset = clock.Offset()
    offset.sample(0, ahead, 0)

    async def main():
        watching = asyncio.create_task(clock.watch(offset, "branch1"))
        await asyncio.sleep(0.05)
        watching.cancel()

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert [said in message for message in caplog.messages] == [True] * bool(said)
