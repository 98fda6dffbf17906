"""What the daemon answers: a record as it was, holders with harmless names, and a sentence for anything else."""

import functools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scenario import A, B, Play
from voipfleet.calls import record
from voipfleet.calls.record import MediaRecord
from voipfleet.errors import VoipfleetError
from voipfleet.fetching import answers

HOLDER = {"sensor": "ab" * 16, "name": "b1", "uuid": "cd" * 16, "state": "connected"}
TEXT = st.text(max_size=9)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)


@functools.cache
def a_call():
    play = Play("one@x")
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), 50, ssrc=0xFFFFFFFF, lost=(7,))
    play.bye(3)
    call = play.the_call()
    names = {"codecs": {96: ("opus", 48_000)}, "until": 1_700_000_000_000_001_000}
    call.media = [MediaRecord(side="caller", address="[::1]:5", **names)]
    return call


def test_a_record_is_what_it_was():
    call = a_call()
    assert answers.call({"call": json.loads(record.to_json(call))}) == call


def test_holders_in_order_and_with_harmless_names():
    found = answers.holders({"holders": [
        HOLDER | {"name": "../../b\x1b]0;x\x07", "clock_offset_ms": 3, "since": 5.5, "more": "than is known"},
        HOLDER | {"name": "a" * 300, "state": "offline"},
        HOLDER | {"name": "\u202e", "sensor": "", "state": "here"},
    ]})  # fmt: skip
    assert [(one.name, one.there) for one in found] == [("a" * 64, False), ("b-0-x", True), ("here", True)]
    assert (found[1].clock_offset_ms, found[1].since, found[0].clock_offset_ms) == (3.0, 5.5, None)
    (odd,) = answers.holders({"holders": [HOLDER | {"clock_offset_ms": float("nan")}]})
    assert odd.clock_offset_ms is None
    with pytest.raises(VoipfleetError, match="257 holders of one call"):
        answers.holders({"holders": [HOLDER] * 257})


def test_what_was_served():
    said = answers.served({"bytes": 5, "digest": "0" * 32, "packets": 1, "missing": "2 segments\x1b[m", "name": "x"})
    assert (said.bytes, said.missing, said.clock_offset_ms) == (5, "2 segments\\x1b[m", None)


@pytest.mark.parametrize("odd", [{"sensor": "../x"}, {"uuid": "AB" * 16}, {"uuid": "ab" * 16 + "\n"}, {"name": None}])
def test_a_holder_that_is_none(odd):
    with pytest.raises(VoipfleetError, match="the daemon's answer is not as expected"):
        answers.holders({"holders": [HOLDER | odd]})


@settings(max_examples=200, deadline=None)
@given(JSON, st.sampled_from(["uuid", "setup_time", "streams", "media", "call_id", "partial"]))
def test_anything_else_is_a_sentence(value, name):
    row = json.loads(record.to_json(a_call()))
    for read, answer in (
        (answers.call, {"call": row | {name: value}}), (answers.call, {"call": value}),
        (answers.holders, {"holders": value}), (answers.served, {"bytes": value, "digest": value}),
    ):  # fmt: skip
        try:
            read(answer)
        except VoipfleetError as error:
            assert str(error).isprintable()
