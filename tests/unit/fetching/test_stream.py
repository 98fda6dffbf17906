"""The stream of pcap files that a sensor sends: what is in it, and that nothing in it does harm."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.captures import pcap, sent
from voipfleet.capture.block import ETHERNET, RAW
from voipfleet.errors import VoipfleetError
from voipfleet.fetching import stream


def parse(octets: bytes):
    return stream.parse(np.frombuffer(octets, np.uint8), "b1")


def test_one_capture_a_file():
    first = [(1_700_000_000_000_000_001, b"abc"), (5, b"")]
    captures = parse(sent(pcap(first, cut=2), pcap([(7, b"x" * 3000)], RAW), pcap([])))
    assert [(c.linktype, len(c)) for c in captures] == [(ETHERNET, 2), (RAW, 1), (ETHERNET, 0)]
    assert captures[0].ts.tolist() == [1_700_000_000_000_000_001, 5]
    assert (captures[0].caplen.tolist(), captures[0].wirelen.tolist()) == ([2, 0], [3, 0])
    at = int(captures[1].offset[0])
    assert captures[1].data[at : at + 3000].tobytes() == b"x" * 3000
    assert parse(b"") == []


def test_what_stands_for_vanished_packets_is_none():
    (capture,) = parse(sent(pcap([(0, bytes(50)), (7, b"abc"), (0, b"")])))
    assert capture.ts.tolist() == [7] and capture.caplen.tolist() == [3]


def test_the_old_numbers_of_raw_are_one():
    (capture,) = parse(sent(pcap([(1, b"E")], 12)))
    assert capture.linktype == RAW


WHOLE = pcap([(1, b"abc")])
HUGE = pcap([]) + struct.pack("<4I", 0, 0, (256 << 10) + 1, 0) + bytes(100)


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (b"nonsense", "a file does not begin or end where it should"),
        (b'{"pcap": 24}', "a file does not begin or end where it should"),
        (b'{"pcap": true}\n' + WHOLE, "a file does not begin or end where it should"),
        (b'{"pcap": -5}\n' + WHOLE, "a file does not begin or end where it should"),
        (b"[" * 60 + b"\n" + WHOLE, "a file does not begin or end where it should"),
        (b'{"pcap": 99999}\n' + WHOLE, "a file does not begin or end where it should"),
        (sent(WHOLE) + b"\n", "a file does not begin or end where it should"),
        (sent(b"\xd4\xc3\xb2\xa1" + WHOLE[4:]), "what it sent is no pcap with nanoseconds"),
        (sent(b"\n\r\r\n" + WHOLE[4:]), "what it sent is no pcap with nanoseconds"),
        (sent(WHOLE[:-1]), "its last packet is not whole"),
        (sent(WHOLE + b"x"), "its last packet is not whole"),
        (sent(HUGE), "a packet of 262145 bytes"),
        (sent(*[WHOLE] * 65), "more than 64 files at once"),
    ],
)
def test_what_is_no_such_stream_is_told(octets, fault):
    with pytest.raises(VoipfleetError) as error:
        parse(octets)
    assert str(error.value) == f"b1: {fault}; its packets cannot be used; look at that sensor's log, and report it"


def test_a_capture_longer_than_a_stretch_is_read_whole():
    packets = [(n, bytes([n & 255]) * (n % 1400)) for n in range(1, 9001)]
    (capture,) = parse(sent(pcap(packets)))
    assert capture.ts.tolist() == list(range(1, 9001)) and capture.caplen.tolist() == [len(d) for _, d in packets]
    at, size = int(capture.offset[-1]), int(capture.caplen[-1])
    assert capture.data[at : at + size].tobytes() == packets[-1][1]


def damaged(draw) -> bytes:
    """A sound stream with some bytes changed, cut or put in: what comes far into the parser."""
    octets = bytearray(sent(pcap([(n, bytes(n % 90)) for n in range(draw(st.integers(0, 40)))]), WHOLE))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(octets) - 1))
        octets[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(octets)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda data: sent(WHOLE[:24] + data)),
                 st.composite(damaged)()))  # fmt: skip
def test_any_bytes_are_packets_or_a_sentence(octets):
    try:
        captures = parse(octets)
    except VoipfleetError as error:
        assert str(error).startswith("b1: ")
    else:
        for capture in captures:
            assert (capture.offset + capture.caplen <= len(capture.data)).all() and (capture.caplen >= 0).all()
            assert (capture.wirelen >= capture.caplen).all() and (capture.ts >= 0).all()
        assert not octets or json.loads(octets.partition(b"\n")[0])["pcap"] == len(captures[0].data)
