"""Spans in messages, and in the frames that carried them."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from voipfleet.masking.filling import apply, filled, mask_parts, merged, solid

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


@given(SPANS, SPANS)
def test_merged_spans_cover_the_same_bytes_once_and_in_order(one, two):
    found = merged(one, two)
    covered = [at for start, end in found for at in range(start, end)]
    assert covered == sorted(set(covered))
    assert set(covered) == {at for start, end in [*one, *two] for at in range(start, end)}


@given(st.binary(max_size=60), SPANS)
def test_what_is_outside_of_the_spans_stays(message, spans):
    found = filled(message, merged(spans))
    inside = {at for start, end in spans for at in range(start, end)}
    assert found == bytes(b"x"[0] if at in inside else byte for at, byte in enumerate(message))


@pytest.mark.parametrize("make", [bytearray, lambda data: memoryview(bytearray(data)),
                                  lambda data: memoryview(np.frombuffer(data, np.uint8).copy())])  # fmt: skip
def test_in_place_and_never_beyond_the_frame_or_its_part(make):
    frame = make(b"headMESSAGEtail")
    apply(frame, 4, [(0, 2), (5, 99)], 11)
    assert bytes(frame) == b"headxxSSAxxtail"
    apply(frame, 4, [(-9, 1), (9, 99)])
    assert bytes(frame) == b"headxxSSAxxtaxx"


def test_more_than_the_filling_is_long():
    frame = bytearray(200_000)
    apply(frame, 10, [(0, 180_000)])
    assert frame == bytes(10) + b"x" * 180_000 + bytes(19_990)


MESSAGE = b"one SECRET two"
SECRET = [(4, 10)]


@given(st.lists(st.integers(0, len(MESSAGE)), max_size=5), st.binary(max_size=9))
def test_a_message_in_several_frames(cuts, head):
    """Wherever it was cut: together the frames say what the masked message says; their own headers stay."""
    cuts = [0, *sorted(cuts), len(MESSAGE)]
    pieces = [MESSAGE[a:b] for a, b in itertools.pairwise(cuts)]
    parts = [(bytearray(head + piece + b"fcs"), len(head), len(piece)) for piece in pieces]
    assert mask_parts(MESSAGE, SECRET, parts)
    assert b"".join(bytes(frame[start : start + size]) for frame, start, size in parts) == b"one xxxxxx two"
    assert all(frame[: len(head)] == head and frame.endswith(b"fcs") for frame, _, _ in parts)


def test_of_other_messages_in_the_same_segments_nothing_is_left():
    parts = [(bytearray(b"IP" + text), 2, len(text)) for text in (b"INFO a\r\n\r\none SE", b"CRET twoone SECRET tw",
                                                                  b"oBYE b\r\n")]  # fmt: skip
    assert mask_parts(MESSAGE, SECRET, parts, others=True)
    assert [bytes(frame) for frame, _, _ in parts] == [
        b"IPxxxxxx\r\n\r\none xx", b"IPxxxx twoone xxxxxx tw", b"IPoxxxxx\r\n"]  # fmt: skip


def test_what_stands_beside_it_in_fragments_stays():
    """The header of UDP is payload of IP there."""
    parts = [(bytearray(b"IPudp:one SE"), 2, 10), (bytearray(b"IPCRET two"), 2, 8)]
    assert mask_parts(MESSAGE, iter(SECRET), parts)
    assert [bytes(frame) for frame, _, _ in parts] == [b"IPudp:one xx", b"IPxxxx two"]


@pytest.mark.parametrize("texts", [[b"one SEC", b"SECRET two"], [b"two", b"one SECRET "], [b""], []])
def test_a_message_that_the_frames_do_not_hold_changes_nothing(texts):
    parts = [(bytearray(text), 0, len(text)) for text in texts]
    assert not mask_parts(MESSAGE, SECRET, parts)
    assert [bytes(frame) for frame, _, _ in parts] == texts
    assert not mask_parts(b"", [], parts)


def test_a_frame_that_was_cut_short_by_the_capture():
    """Its payload is said to be longer than what is there."""
    frame = bytearray(b"IPone SEC")
    assert mask_parts(b"one SEC", SECRET, [(frame, 2, 400)])
    assert frame == b"IPone xxx"


def test_all_but_line_ends():
    data = b"a\r\n\nbc\r"
    assert filled(data, solid(data, 0, len(data))) == b"x\r\n\nxx\r"
