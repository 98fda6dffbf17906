"""SIP out of TCP: the same messages however the bytes were cut, repeated, reordered or joined."""

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.decode import tcp
from voipfleet.decode.sipstream import SipStream
from voipfleet.decode.tcp import FIN, SYN, Connections

SECOND = 1_000_000_000
MESSAGES = [
    b"INVITE sip:b SIP/2.0\r\nContent-Length: 5\r\n\r\nv=0\r\n",
    b"SIP/2.0 200 OK\r\nl:0\r\n\r\n",
    b"ACK sip:b SIP/2.0\r\nX: 1\r\n\r\n",
    b"MESSAGE sip:b SIP/2.0\nContent-Length: 42\n\nBYE sip:b SIP/2.0\r\nContent-Length: 0\r\n\r\n..",
]


def counts():
    found = Counter()
    return found, lambda name, by=1: found.update({name: by})


def test_the_body_that_looks_like_a_message_is_a_body():
    assert SipStream(lambda *_: None).take(b"".join(MESSAGES)) == MESSAGES


@settings(deadline=None)
@given(st.lists(st.sampled_from([*MESSAGES, b"\r\n\r\n", b"\r\n"]), min_size=1, max_size=8), st.data())
def test_any_cut_any_order_any_repetition(parts, data):
    """Segments of 1 byte and more, each a few places off at most, some twice; the sequence number wraps."""
    stream, found, count = b"".join(parts), *counts()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(len(stream) - 1, 1)), max_size=12)) | {0, len(stream)})
    start = data.draw(st.sampled_from([5, (1 << 32) - 20, 1 << 31]))
    segments = [(start + 1 + a, stream[a:b]) for a, b in itertools.pairwise(cuts)]
    rng = random.Random(data.draw(st.integers(0, 1000)))
    segments += [segment for segment in segments if rng.random() < 0.3]
    rng.shuffle(segments)
    connections = Connections(count)
    connections.take(0, ("k",), start, SYN, b"")
    out = [m for n, (seq, part) in enumerate(segments) for m in connections.take(n, ("k",), seq & 0xFFFFFFFF, 24, part)]
    assert out == [part for part in parts if part.strip()]
    assert set(found) <= {"tcp_repeated"}


def test_joined_in_the_middle():
    found, count = counts()
    connections = Connections(count)
    out = connections.take(0, ("k",), 77, 24, MESSAGES[0][30:] + MESSAGES[1] + MESSAGES[2][:10])
    out += connections.take(
        1, ("k",), 77 + len(MESSAGES[0][30:] + MESSAGES[1] + MESSAGES[2][:10]), 24, MESSAGES[2][10:]
    )
    assert out == MESSAGES[1:3]
    assert found == {"tcp_skipped_bytes": len(MESSAGES[0][30:])}


def test_a_segment_that_was_not_captured_costs_its_message_only():
    found, count = counts()
    connections = Connections(count)
    connections.take(0, ("k",), 0, SYN, b"")
    whole = b"".join(MESSAGES[:3])
    out = connections.take(1, ("k",), 1, 24, whole[:20])
    out += connections.take(2, ("k",), 31, 24, whole[30:])  # ten bytes of the first are missing
    assert out == []
    out = connections.take(2 + SECOND + 1, ("k",), 1 + len(whole), 24, b"\r\n")
    assert out == MESSAGES[1:3]
    assert found["tcp_gaps"] == 1 and found["tcp_skipped_bytes"] > 0


def test_what_is_no_sip_is_passed_over():
    found, count = counts()
    stream = SipStream(count)
    assert stream.take(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(20000)) == []
    assert stream.take(b"\r\n" + MESSAGES[1]) == [MESSAGES[1]]
    assert found["tcp_skipped_bytes"] == 20027


@pytest.mark.parametrize("length", [b"70000", b"9999999999"])
def test_a_length_beyond_reason_is_given_up(length):
    found, count = counts()
    out = SipStream(count).take(b"INVITE sip:b SIP/2.0\r\nContent-Length: " + length + b"\r\n\r\n" + MESSAGES[1])
    assert out == [MESSAGES[1]] and found["tcp_oversize"] == 1


@given(st.lists(st.one_of(st.sampled_from(MESSAGES), st.binary(max_size=60)), max_size=10), st.integers(1, 50))
def test_the_cut_of_garbage_changes_nothing(parts, size):
    data = b"".join(parts)
    at_once, in_pieces = SipStream(lambda *_: None), SipStream(lambda *_: None)
    pieces = [m for at in range(0, len(data), size) for m in in_pieces.take(data[at : at + size])]
    assert pieces == at_once.take(data)


def test_the_state_is_bounded(monkeypatch):
    found, count = counts()
    monkeypatch.setattr(tcp, "MAX_STREAMS", 50)
    monkeypatch.setattr(tcp, "MAX_BYTES", 20_000)
    connections = Connections(count)
    for n in range(200):
        connections.take(n, (n,), 1, 24, b"INVITE sip:b SIP/2.0\r\nContent-Length: 60000\r\n\r\n" + bytes(900))
        assert len(connections._streams) <= 50 and connections._bytes <= 20_000
    assert found["tcp_evicted"] == 200 - len(connections._streams)
    for key in list(connections._streams):
        connections.take(300, key, 5000, FIN, b"")
    connections.take(300 + 61 * SECOND, ("other",), 1, 24, b"x")
    assert connections._bytes == 1 and len(connections._streams) == 1
