"""RTCP reports from bytes; anything else is a ParseError."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.decode import rtcp
from voipfleet.decode.rtcp import Metrics, Received, Sent
from voipfleet.decode.sip import ParseError


def block(ssrc=7, lost=3, jitter=80, ntp=0x11112222, delay=6553):
    return struct.pack("!IIIIII", ssrc, 10 << 24 | lost & 0xFFFFFF, 1000, jitter, ntp, delay)


def sender(*blocks):
    body = struct.pack("!IIIIII", 5, 0xAAAA1111, 0x2222BBBB, 0, 10, 1600) + b"".join(blocks)
    return struct.pack("!BBH", 0x80 | len(blocks), 200, len(body) // 4) + body


def receiver(*blocks):
    body = struct.pack("!I", 6) + b"".join(blocks)
    return struct.pack("!BBH", 0x80 | len(blocks), 201, len(body) // 4) + body


def extended(mos=41, delay=120):
    metrics = struct.pack("!IBBBBHHHHBBBBBBBBBBHHH", 7, *[0] * 6, delay, *[0] * 4, 16, 90, 127, mos, 127, *[0] * 5)
    body = struct.pack("!I", 6) + struct.pack("!BBH", 7, 0, len(metrics) // 4) + metrics
    return struct.pack("!BBH", 0x80, 207, len(body) // 4) + body


def test_reports():
    assert rtcp.parse(sender(block())) == [Sent(5, 0x11112222), Received(7, 5, 3, 80, 0x11112222, 6553)]
    assert rtcp.parse(receiver(block(lost=-2)) + struct.pack("!BBHI", 0x81, 202, 1, 6)) == [
        Received(7, 6, -2, 80, 0x11112222, 6553)
    ]
    assert rtcp.parse(extended()) == [Metrics(7, 4.1, 120)]
    assert rtcp.parse(extended(mos=127, delay=0)) == [Metrics(7, None, None)]


@pytest.mark.parametrize("broken", [sender(block())[:-4], b"\x00" + sender()[1:], receiver(*[block()] * 31) * 3])
def test_what_is_refused(broken):
    with pytest.raises(ParseError):
        rtcp.parse(broken)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.tuples(st.sampled_from([sender(block()), receiver(block()), extended()]),
                                                   st.integers(0, 80), st.binary(max_size=6))
                 .map(lambda p: p[0][: p[1]] + p[2] + p[0][p[1] + len(p[2]) :])))  # fmt: skip
def test_nothing_else_leaves_the_parser(data):
    try:
        for part in rtcp.parse(data):
            assert isinstance(part, Sent | Received | Metrics)
    except ParseError:
        pass
