"""Telephone numbers in RTCP: in what its ends say of themselves, and nowhere else."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from voipfleet.decode import rtcp
from voipfleet.masking import reports
from voipfleet.masking.filling import filled

# The figures of a report are digits too, as bytes.
RECEIVER = struct.pack("!BBHI", 0x81, 201, 7, 8) + b"1234567890" * 2 + b"1234"


def chunk(*items: tuple[int, bytes], ssrc: bytes = b"0123") -> bytes:
    text = ssrc + b"".join(bytes([kind, len(said)]) + said for kind, said in items)
    return text + bytes(4 - len(text) % 4)


def description(*chunks: bytes) -> bytes:
    body = b"".join(chunks)
    return struct.pack("!BBH", 0x80 | len(chunks), 202, len(body) // 4) + body


def masked(packet: bytes, keep: int = 3) -> bytes:
    return filled(packet, reports.spans(packet, keep))


@pytest.mark.parametrize("name", [b"4930123456@10.0.0.1", b"+49 30 1234", b"1234", b"", b"no digit"])
def test_what_an_end_says_of_itself(name):
    hidden = {b"4930123456@10.0.0.1": b"xxxxxxxxxx@xx.0.0.1", b"+49 30 1234": b"+xx xx x234", b"1234": b"x234"}
    made, wanted = (RECEIVER + description(chunk((1, text), (4, text)), chunk((2, text), ssrc=b"9912"))
                    for text in (name, hidden.get(name, name)))  # fmt: skip
    assert masked(made) == wanted and rtcp.parse(masked(made)) == rtcp.parse(made)
    assert masked(made, 20) == made


def test_of_a_farewell_and_of_what_is_not_known():
    reason = b"\x0cto 493012345"
    bye = struct.pack("!BBH", 0x81, 203, 5) + b"1234" + reason + bytes(3)
    assert masked(bye) == bye.replace(b"493012345", b"xxxxxx345")
    app = struct.pack("!BBH", 0x80, 204, 3) + b"123456789012"
    assert masked(app) == app[:4] + b"xxxxxxxxx012"
    assert masked(b"no RTCP 1234") == b"no RTCP x234"


@given(st.binary(max_size=80), st.integers(0, 20))
def test_whatever_comes_the_spans_are_in_order_and_within(packet, keep):
    for data in (packet, description(chunk((1, packet[:40]))) + packet, b"\x81\xca" + packet):
        edges = [edge for span in reports.spans(data, keep) for edge in span]
        assert edges == sorted(set(edges)) and all(0 <= edge <= len(data) for edge in edges)
