"""Packed blocks: what comes out is what went in, and nothing that arrives does harm."""

import contextlib
import random
import tracemalloc

import lz4.block
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.capture.block import Block
from voipfleet.relay import codec
from voipfleet.relay.codec import HEAD, METHODS, PackedError, pack, unpack

LIMIT = 2 << 20
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@st.composite
def blocks(draw):
    """Blocks with anything between and before their packets, in any order of times."""
    rows = draw(st.lists(st.tuples(INT64, st.binary(max_size=40), st.integers(0, (1 << 32) - 1),
                                   st.integers(-1, 4095), st.integers(0, 3)), max_size=30))  # fmt: skip
    data, offset = bytearray(), []
    grid = draw(st.sampled_from([None, 0, 2, 7]))  # where in a word of eight bytes all packets begin, as in a ring
    for _, packet, _, _, gap in rows:
        data += b"\xaa" * (gap if grid is None else (grid - len(data)) % 8 + 8 * gap)
        offset.append(len(data))
        data += packet
    data += b"\xbb" * draw(st.sampled_from([0, -len(data) % 8]))
    caplen = [len(row[1]) for row in rows]
    values = [row[0] for row in rows], offset, caplen, [row[2] for row in rows], [row[3] for row in rows]
    column = [np.array(each, np.int64) for each in values]
    return Block(np.frombuffer(bytes(data), np.uint8), *column[:4], linktype=draw(st.integers(0, 65535)),
                 vlan=draw(st.sampled_from([None, column[4]])), drops=draw(st.integers(0, 9)))  # fmt: skip


def content(parts):
    """What must survive: every packet with its columns, the link types, the drops."""
    rows, drops = [], 0
    for part in parts:
        drops += part.drops
        tags = part.vlan.tolist() if part.vlan is not None else [-1] * len(part)
        rows += [(ts, part.data[at : at + size].tobytes(), size, wire, tag, part.linktype)
                 for ts, at, size, wire, tag in zip(part.ts.tolist(), part.offset.tolist(), part.caplen.tolist(),
                                                    part.wirelen.tolist(), tags, strict=True)]  # fmt: skip
    return rows, drops


def sound(block):
    assert len(block.ts) == len(block.offset) == len(block.caplen) == len(block.wirelen)
    assert (block.offset >= 0).all() and (block.caplen >= 0).all()
    assert (block.offset + block.caplen <= len(block.data)).all() and len(block.data) <= LIMIT
    assert block.vlan is None or len(block.vlan) == len(block)


def speech(count=4000, size=214, gap=90):
    """Packets of one length in a ring, of which lz4 can make something."""
    rng = np.random.default_rng(1)
    data = rng.integers(0, 16, (count, size + gap), dtype=np.uint8)
    data[:, :40] = 7
    steps = np.arange(count, dtype=np.int64)
    length = np.full(count, size, np.int64)
    return Block(data.reshape(-1), 1_700_000_000_000_000_000 + steps * 50_001, steps * (size + gap), length, length + 4)


@settings(max_examples=300, deadline=None)
@given(blocks(), st.sampled_from(METHODS), st.sampled_from([60, 200, 1 << 20]), st.sampled_from([100, 50]))
def test_what_went_in_comes_out(block, method, limit, ratio):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "MAX_RAW", limit)
        patch.setattr(codec, "_MANY", 3)
        packed = pack(block, method=method, ratio=ratio)
    out = [unpack(piece.body, max_bytes=LIMIT) for piece in packed]
    for piece, part in zip(packed, out, strict=True):
        sound(part)
        assert piece.packets == len(part)
        assert piece.raw <= limit + HEAD.size or piece.packets == 1
    assert content(out) == content([block])
    assert all(part.vlan is None for part in out) == (block.vlan is None or not (block.vlan >= 0).any())


@settings(max_examples=500, deadline=None)
@given(blocks(), st.sampled_from(METHODS), st.randoms(use_true_random=False))
def test_anything_else_is_a_sound_block_or_the_documented_error(block, method, rng):
    for piece in pack(block, method=method):
        body = bytearray(piece.body)
        for _ in range(rng.randint(1, 4)):
            if body and rng.random() < 0.8:
                at = rng.randrange(min(len(body), rng.choice([16, 80, 4000])))
                body[at] = rng.choice([0, 255, body[at] ^ 1 << rng.randrange(8)])
            else:
                body = body[: rng.randint(0, len(body))] + rng.randbytes(rng.randint(0, 5))
        with contextlib.suppress(PackedError):
            sound(unpack(bytes(body), max_bytes=LIMIT))


@pytest.mark.parametrize("lead", [0, 2, 7])
def test_packets_that_begin_at_one_place_of_a_word_travel_in_words(lead, monkeypatch):
    """As those of the kernel's ring do."""
    monkeypatch.setattr(codec, "_runs", None)
    sizes = np.array([60, 214, 1, 0, 1500] * 8, np.int64)
    room = (sizes + 90 + 15) // 16 * 16
    offset = np.cumsum(room) - room + lead
    ts = np.arange(len(sizes), dtype=np.int64)
    block = Block(np.random.default_rng(3).integers(0, 256, int(room.sum()), np.uint8), ts, offset, sizes, sizes)
    assert content([unpack(piece.body, max_bytes=LIMIT) for piece in pack(block)]) == content([block])


@given(st.binary(max_size=80))
def test_noise(body):
    with contextlib.suppress(PackedError):
        sound(unpack(body, max_bytes=LIMIT))


def test_a_large_block_is_cut_at_packets_and_a_larger_packet_goes_alone():
    sizes = np.array([600_000, 300_000, 200_000, 1_500_000, 10, 20], np.int64)
    ends = np.cumsum(sizes)
    ts = np.arange(6, dtype=np.int64)
    block = Block(np.random.default_rng(2).integers(0, 256, ends[-1], np.uint8), ts, ends - sizes, sizes, sizes)
    packed = pack(block)
    assert [piece.packets for piece in packed] == [2, 1, 1, 2]
    assert content([unpack(piece.body, max_bytes=LIMIT) for piece in packed]) == content([block])


@pytest.mark.parametrize("method", ["lz4", "zstd"])
def test_compressed_only_if_it_shrinks_enough(method):
    (packed,) = pack(speech(), method=method)
    percent = 100 * len(packed.body) / packed.raw
    assert packed.method == method and percent < 90
    assert pack(speech(), method=method, ratio=int(percent) + 1)[0].method == method
    (plain,) = pack(speech(), method=method, ratio=int(percent) - 1)
    assert plain.method == "none" and len(plain.body) == plain.raw
    noise = speech()
    noise.data = np.random.default_rng(3).integers(0, 256, len(noise.data), np.uint8)
    noise.ts = np.random.default_rng(4).integers(0, 1 << 62, len(noise))
    length = np.random.default_rng(5).integers(0, 1 << 32, len(noise))
    noise.wirelen = length
    assert len(pack(noise, method=method)[0].body) <= pack(noise, method=method)[0].raw


def bomb(method, packets, named, size):
    rest = bytes(size)
    body = zstandard.compress(rest, 19) if method == "zstd" else lz4.block.compress(rest, store_size=False)
    return HEAD.pack(METHODS.index(method), 0, 1, packets, named, 0) + body


@pytest.mark.parametrize("method", ["lz4", "zstd"])
@pytest.mark.parametrize("named", [100, LIMIT, LIMIT + 1, 0xFFFFFFFF])
def test_a_bomb_is_refused_without_the_memory(method, named):
    body = bomb(method, 1, named, 200 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(PackedError):
            unpack(body, max_bytes=LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 2 * LIMIT
    finally:
        tracemalloc.stop()


def test_zstd_may_not_ask_for_a_large_window():
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=0)
    writer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = HEAD.pack(2, 0, 1, 1, 1000, 0) + writer.compress(bytes(1000)) + writer.flush()
    with pytest.raises(PackedError, match="memory"):
        unpack(body, max_bytes=LIMIT)


@pytest.mark.parametrize("packets, caplen, size, why", [
    (1, 21, 20, "do not fill"), (1, 19, 20, "do not fill"), (1, 0xFFFFFFFF, 20, "do not fill"),
    (3, 0, 20, "3 packets and 36"), (0xFFFFFFFF, 0, 20, "4294967295 packets"), (0, 0, 20, "0 packets do not fill"),
])  # fmt: skip
def test_lengths_that_do_not_fit(packets, caplen, size, why):
    rest = bytes(8) + caplen.to_bytes(4, "little") + bytes(4) + bytes(size)
    with pytest.raises(PackedError, match=why):
        unpack(HEAD.pack(0, 0, 1, packets, len(rest), 0) + rest, max_bytes=LIMIT)


def test_speech_of_any_seed_survives_every_bit_that_flips():
    (packed,) = pack(speech(60))
    rng = random.Random(1)
    for _ in range(2000):
        body = bytearray(packed.body)
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        with contextlib.suppress(PackedError):
            sound(unpack(bytes(body), max_bytes=LIMIT))
