"""What was put together names the frames it came in, whole and in order; the rest costs nothing."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.packets import block_of, fragments, frame, ip, tcp, udp
from voipfleet.decode.frames import Decoder

PORTS = np.arange(65536) == 5060
MESSAGES = [f"OPTIONS sip:{n} SIP/2.0\r\nCall-ID: {n}\r\nContent-Length: 0\r\n\r\n".encode() for n in range(3)]


def decoder(pieces: bool = True) -> Decoder:
    return Decoder(PORTS, lambda *_: None, pieces=pieces)


def payload(piece) -> bytes:
    return piece.frame[piece.start : piece.start + piece.length]


@pytest.mark.parametrize("ends", [{}, {"src": "2001:db8::1", "dst": "2001:db8::2"}])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_fragments_of_a_datagram(ends, size):
    parts = [frame(part) for part in fragments(ip(udp(bytes(range(256)) * 4), **ends), 304)]
    random.Random(size).shuffle(parts)
    packets, made = decoder(), None
    for at in range(0, len(parts), size):
        found = packets.parse(block_of([frame(ip(udp(b"beside"))), *parts[at : at + size]], start=at))
        made = found if found.made else made
    (row,) = made.pieces
    assert made.frame[row] == (len(parts) - 1) % size + 1 and row == len(made) - 1
    pieces = made.pieces[row]
    assert sorted(piece.frame for piece in pieces) == sorted(parts)
    assert b"".join(payload(piece) for piece in pieces) == udp(bytes(range(256)) * 4)


def test_frames_are_not_kept_unasked():
    parts = [frame(part) for part in fragments(ip(udp(bytes(1000))), 304)]
    segment = frame(ip(tcp(MESSAGES[0], 1), 6))
    found = decoder(pieces=False).parse(block_of([*parts, segment]))
    assert found.made == 2 and not any(found.pieces.values())


def test_rows_of_plain_packets_name_their_frames():
    packets = [frame(ip(udp(b"one"))), b"no packet", frame(ip(tcp(MESSAGES[0], 1), 6)), frame(ip(udp(b"two")), 5)]
    found = decoder().parse(block_of(packets))
    assert found.frame.tolist() == [0, 2, 3] and list(found.pieces) == [1]
    assert decoder().parse(block_of([packets[0], frame(ip(udp(bytes(60))))])).frame is None


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_messages_in_segments(data):
    """Each message has just the segments that hold a byte of it, whatever the order."""
    stream = b"".join(MESSAGES)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)) | {0, len(stream)})
    parts = [(a, stream[a:b]) for a, b in itertools.pairwise(cuts)]
    first, rest = parts[0], parts[1:]
    random.Random(data.draw(st.integers(0, 99))).shuffle(rest)
    packets = [frame(ip(tcp(part, 100 + at), 6)) for at, part in (first, *rest)]
    size, found, packing = data.draw(st.integers(1, 9)), {}, decoder()
    for at in range(0, len(packets), size):
        block = packing.parse(block_of(packets[at : at + size]))
        for row, pieces in block.pieces.items():
            start = int(block.start[row])
            found[block.data[start : start + int(block.length[row])].tobytes()] = [payload(piece) for piece in pieces]
    at = 0
    for message in MESSAGES:
        wanted = [part for start, part in parts if start < at + len(message) and start + len(part) > at]
        assert found[message] == wanted
        at += len(message)


def test_a_message_in_fragments_in_tcp():
    """SIP over TCP whose segment came in fragments: the frames are those of the wire."""
    parts = [frame(part) for part in fragments(ip(tcp(MESSAGES[0], 5), 6), 32)]
    found = decoder().parse(block_of(parts))
    (pieces,) = found.pieces.values()
    assert [piece.frame for piece in pieces] == parts
