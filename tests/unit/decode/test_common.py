"""The path of the common packets gives what the long way gives, whatever lies in the block."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.capture.block import Block
from voipfleet.decode import frames
from voipfleet.decode.columns import COLUMNS

UDP = struct.pack("!HHHH", 4000, 5060, 20, 0) + b"abcdefghijkl"
V4 = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 17, 0, b"\n\0\0\1", b"\n\0\0\2") + UDP
V6 = struct.pack("!IHBB", 6 << 28, 20, 17, 64) + bytes(range(32)) + UDP
MACS = bytes(12)
FRAMES = [
    MACS + b"\x08\x00" + V4, MACS + b"\x81\x00\x00\x05\x08\x00" + V4, MACS + b"\x86\xdd" + V6,
    MACS + b"\x81\x00\x00\x05\x86\xdd" + V6, MACS + b"\x88\xa8\x00\x01\x81\x00\x00\x02\x08\x00" + V4,
    MACS + b"\x08\x06" + bytes(28), MACS + b"\x08\x00\x46" + V4[1:20] + bytes(4) + UDP, b"short",
]  # fmt: skip


def block_of(packets):
    sizes = np.array([len(packet) for packet in packets], np.int64)
    return Block(data=np.frombuffer(b"".join(packets), np.uint8), ts=np.arange(len(packets), dtype=np.int64) * 10,
                 offset=np.cumsum(sizes) - sizes, caplen=sizes, wirelen=sizes)  # fmt: skip


def decode(block):
    return frames.Decoder(np.ones(65536, bool), lambda *_: None).parse(block)


def the_long_way(block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames.common, "parse", lambda block: (None, np.zeros(len(block), bool)))
        return decode(block)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(FRAMES), st.integers(0, 70), st.binary(max_size=3), st.integers(0, 90)),
                min_size=1, max_size=12))  # fmt: skip
def test_equals_the_long_way(parts):
    block = block_of([(frame[:at] + junk + frame[at + len(junk) :])[: 90 - cut] for frame, at, junk, cut in parts])
    found, expected = decode(block), the_long_way(block)
    assert found.ignored == expected.ignored
    for name in COLUMNS:
        assert getattr(found, name).tolist() == getattr(expected, name).tolist(), name
    assert len(block) + found.made + found.lost == len(found) + sum(found.ignored.values()) + found.held


def test_whole_common_packets_do_not_go_the_long_way(monkeypatch):
    went = []
    block = block_of([*FRAMES[:4] * 3, bytes(80)])
    link = frames.Walk.link
    monkeypatch.setattr(frames.Walk, "link", lambda walk, kind, index, *rest: (went.extend(index.tolist()),
                        link(walk, kind, index, *rest)))  # fmt: skip
    assert len(decode(block)) == 12
    assert went == [12]
