"""Frames: whole and in order, or not at all."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.link import frames
from voipfleet.link.frames import FrameError, Opener, Sealer

KEY, HASH = b"k" * 32, b"h" * 64


def pair(limit=frames.MAX_FRAME):
    sealer = Sealer(KEY, HASH)
    return sealer, Opener(KEY, sealer.header, HASH, limit)


def give(opener, frame):
    size = opener.size(frame[:4])
    assert size == len(frame) - 4
    return opener.open(frame[:4], frame[4:])


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=20))
def test_everything_comes_back_in_order(messages):
    sealer, opener = pair()
    assert [give(opener, sealer.seal(*message)) for message in messages] == messages


@settings(max_examples=60)
@given(st.integers(0, 1000), st.integers(1, 255))
def test_a_changed_byte_is_refused(at, flip):
    sealer, opener = pair()
    frame = bytearray(sealer.seal(16, b"body"))
    frame[at % len(frame)] ^= flip
    with pytest.raises(FrameError):
        size = opener.size(bytes(frame[:4]))
        opener.open(bytes(frame[:4]), bytes(frame[4:]).ljust(size, b"x")[:size])


def test_replayed_reordered_dropped_and_of_another_session():
    sealer, opener = pair()
    one, two, three = (sealer.seal(16, bytes([n])) for n in range(3))
    give(opener, one)
    for wrong in (one, three):
        with pytest.raises(FrameError):
            opener.open(wrong[:4], wrong[4:])
    assert give(opener, two) == (16, b"\1")
    other = Opener(KEY, sealer.header, b"x" * 64)
    with pytest.raises(FrameError):
        other.open(one[:4], one[4:])


def test_nothing_follows_the_final_frame():
    sealer, opener = pair()
    give(opener, sealer.seal(4, b"bye", final=True))
    assert opener.final
    frame = sealer.seal(16, b"more")
    with pytest.raises(FrameError, match="after the final one"):
        opener.open(frame[:4], frame[4:])


def test_a_length_is_refused_before_it_is_believed():
    _, opener = pair(limit=frames.MAX_BEFORE_WELCOME)
    for size in (0, 18, 512 + 18, 2**32 - 1):
        with pytest.raises(FrameError):
            opener.size(size.to_bytes(4, "big"))
    assert opener.size((512 + 17).to_bytes(4, "big")) == 529


def test_the_stream_goes_on_over_a_rekey(monkeypatch):
    monkeypatch.setattr(frames, "REKEY_FRAMES", 3)
    sealer, opener = pair()
    for n in range(10):
        assert give(opener, sealer.seal(16, bytes([n]))) == (16, bytes([n]))


def test_a_frame_that_is_too_long_is_not_sent():
    sealer, _ = pair()
    with pytest.raises(ValueError, match="at most"):
        sealer.seal(16, os.urandom(frames.MAX_FRAME))
