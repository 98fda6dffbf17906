"""Blocks as bytes: back as they were, whatever is done to the bytes on the way."""

import tracemalloc

import lz4.block
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.capture.block import Block
from voipfleet.relay import codec

PACKET = st.tuples(
    st.binary(max_size=60), st.integers(0, 40), st.integers(0, 9), st.integers(0, 2**62), st.integers(-1, 4095)
)
METHODS = st.sampled_from(["none", "lz4", "zstd"])


def block_of(packets, tagged=True, linktype=1):
    """Packets with gaps between them, as a ring has them."""
    data, offset = b"", []
    for packet, gap, *_ in packets:
        data += b"\xee" * gap
        offset.append(len(data))
        data += packet
    caplen = np.array([len(p[0]) for p in packets], np.int64)
    return Block(data=np.frombuffer(data, np.uint8), ts=np.array([p[3] for p in packets], np.int64),
                 offset=np.array(offset, np.int64), caplen=caplen, linktype=linktype,
                 wirelen=caplen + np.array([p[2] for p in packets], np.int64),
                 vlan=np.array([p[4] for p in packets], np.int64) if tagged else None)  # fmt: skip


def content(block):
    vlan = block.vlan if block.vlan is not None else np.full(len(block), -1)
    return [(block.data[at : at + size].tobytes(), *rest) for at, size, *rest in
            zip(*(column.tolist() for column in (block.offset, block.caplen, block.wirelen, block.ts, vlan)),
                strict=True)]  # fmt: skip


@settings(deadline=None)
@given(st.lists(PACKET, max_size=30), METHODS, st.booleans(), st.integers(1, 100), st.sampled_from([1, 101, 276]))
def test_there_and_back(packets, method, tagged, ratio, linktype):
    block = block_of(packets, tagged, linktype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "MAX_RAW", 200)
        made = list(codec.pack(block, method, ratio))
    found = [codec.unpack(one.body, "branch1") for one in made]
    assert [packet for one in found for packet in content(one)] == content(block)
    assert all(one.sensor == "branch1" and one.linktype == linktype for one in found)
    assert [one.packets for one in made] == [len(one) for one in found]
    assert all(int(one.caplen.sum()) <= 200 or len(one) == 1 for one in found)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(PACKET, min_size=1, max_size=8), METHODS, st.integers(0, 400), st.binary(max_size=6), st.integers(0, 30)
)
def test_changed_bytes_give_a_block_within_its_bounds_or_an_error(packets, method, at, junk, cut):
    (made,) = codec.pack(block_of(packets), method)
    body = made.body[:at] + junk + made.body[at + len(junk) :]
    try:
        block = codec.unpack(body[: len(body) - cut])
    except codec.CodecError:
        return
    assert all(0 <= start <= start + size <= len(block.data)
               for start, size in zip(block.offset.tolist(), block.caplen.tolist(), strict=True))  # fmt: skip


@pytest.mark.parametrize("method", ["lz4", "zstd"])
@pytest.mark.parametrize("says", [1000, codec.MAX_PLAIN, codec.MAX_PLAIN + 1, 0xFFFFFFFF])
def test_a_bomb_is_refused_without_the_memory(method, says):
    zeros = bytes(64 << 20)
    compressed = lz4.block.compress(zeros, store_size=False) if method == "lz4" else zstandard.compress(zeros)
    body = codec._HEAD.pack(1, codec.METHODS[method], 1, 1, says) + compressed
    del zeros
    tracemalloc.start()
    with pytest.raises(codec.CodecError):
        codec.unpack(body)
    assert tracemalloc.get_traced_memory()[1] < 4 * codec.MAX_PLAIN
    tracemalloc.stop()


def test_the_ratio():
    block = block_of([(b"a" * 50 + bytes(range(50)), 0, 0, n, -1) for n in range(50)])
    ((plain,), (squeezed,)) = (list(codec.pack(block, "lz4", ratio)) for ratio in (1, 100))
    assert plain.body[1] == 0 and squeezed.body[1] == 1 and len(squeezed.body) < len(plain.body)
    random = block_of([(np.random.default_rng(1).bytes(20_000), 0, 0, 1, -1)])
    (kept,) = codec.pack(random, "lz4", 100)
    assert kept.body[1] == 0  # it would have grown
