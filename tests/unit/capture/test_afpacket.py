import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from voipfleet.capture.afpacket import open_ring, packet_offsets, walk
from voipfleet.errors import ConfigError

packets = st.lists(st.tuples(st.binary(max_size=120), st.none() | st.integers(0, 65535)), max_size=30)


def ring_block(content) -> bytes:
    """A block as the kernel writes it: linux/if_packet.h, tpacket_block_desc and tpacket3_hdr."""
    out = bytearray(48)
    for number, (data, tci) in enumerate(content):
        size = (82 + len(data) + 15) & ~15
        following = 0 if number == len(content) - 1 else size
        status = 1 | (0x10 if tci is not None else 0)
        head = struct.pack("=6IHHIIHH8x", following, 1000 + number, 999_999_999, len(data), len(data) + 7, status,
                           82, 96, 0, tci or 0, 0x8100, 0)  # fmt: skip
        out += (head + bytes(82 - len(head)) + data).ljust(size, b"\0")
    struct.pack_into("=5I", out, 0, 1, 0, 1, len(content), 48)
    return bytes(out)


@given(packets)
def test_every_packet_comes_back(content):
    block = walk(ring_block(content), linktype=1)
    got = [bytes(block.data[o : o + n]) for o, n in zip(block.offset, block.caplen, strict=True)]
    assert got == [data for data, _ in content]
    assert block.vlan.tolist() == [-1 if tci is None else tci for _, tci in content]
    assert block.ts.tolist() == [(1000 + n) * 10**9 + 999_999_999 for n in range(len(content))]
    assert (block.wirelen - block.caplen == 7).all()


@given(st.integers(2, 50), st.integers(0, 49))
def test_one_odd_packet_among_equal_ones_is_found(count, odd):
    content = [(bytes(60 + 40 * (n == odd)), None) for n in range(count)]
    assert walk(ring_block(content), linktype=1).caplen.tolist() == [len(d) for d, _ in content]


def test_a_chain_out_of_the_block_is_refused():
    words = np.array([4 * 100] * 40, dtype=np.uint32)
    with pytest.raises(ValueError, match="outside"):
        packet_offsets(words, 3, 0)


def test_an_interface_that_does_not_exist():
    with pytest.raises(ConfigError, match=r"interface: nosuch0 does not exist; choose from .*lo"):
        open_ring("nosuch0", ring_mb=4, snaplen=200, promisc=False)
