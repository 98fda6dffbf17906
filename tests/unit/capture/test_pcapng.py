"""pcapng: what was written comes back, in any byte order, with any cut into blocks, also where it is cut short."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.capture import chain
from voipfleet.capture.pcapfile import read_blocks
from voipfleet.errors import VoipfleetError


def block(order, kind, body):
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order="<"):
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(order="<", link=1, resolution=None, shift=None):
    options = b"" if resolution is None else struct.pack(order + "HHBxxx", 9, 1, resolution)
    options += b"" if shift is None else struct.pack(order + "HHq", 14, 8, shift)
    return block(order, 1, struct.pack(order + "HHI", link, 0, 65535) + options)


def packet(order, which, stamp, data, kind=6, wire=None):
    names = (which,) if kind == 6 else (which, 7)  # the old block has drops beside the interface
    head = struct.pack(order + ("I" if kind == 6 else "HH"), *names)
    return block(order, kind, head + struct.pack(order + "4I", stamp >> 32, stamp & 0xFFFFFFFF, len(data),
                 len(data) if wire is None else wire) + data + bytes(-len(data) % 4))  # fmt: skip


def read(tmp_path, octets, size=4 << 20):
    """(link type, ns, octets) of each packet."""
    path = tmp_path / "a.pcapng"
    path.write_bytes(octets)
    found = []
    for got in read_blocks(str(path), size):
        for ts, at, length in zip(got.ts.tolist(), got.offset.tolist(), got.caplen.tolist(), strict=True):
            found.append((got.linktype, ts, got.data[at : at + length].tobytes()))
    return found


PIECES = st.lists(st.one_of(
    st.tuples(st.just("section"), st.sampled_from("<>")),
    st.tuples(st.just("interface"), st.sampled_from([1, 101, 12, 113]), st.sampled_from([None, 3, 6, 9, 0x80 | 20])),
    st.tuples(st.just("packet"), st.integers(0, 9), st.integers(0, 1 << 50), st.binary(max_size=90),
              st.sampled_from([6, 6, 6, 2])),
    st.tuples(st.just("other"), st.sampled_from([3, 4, 5, 0xBAD]), st.binary(max_size=40)),
), max_size=25)  # fmt: skip


def written(pieces):
    """(the file, its packets as read() gives them, where each ends in the file)."""
    order, known = "<", []
    octets, expected, ends = bytearray(section() + interface()), [], []
    known.append((1, 1_000_000))
    for kind, *rest in pieces:
        if kind == "section":
            order, known = rest[0], []
            octets += section(order)
        elif kind == "interface":
            link, resolution = rest
            octets += interface(order, link, resolution)
            ticks = 1_000_000 if resolution is None else 1 << (resolution & 127) if resolution > 127 else 10**resolution
            known.append((101 if link == 12 else link, ticks))
        elif kind == "other":
            octets += block(order, *rest)
        elif known:
            which, stamp, data, kind = rest
            which %= len(known)
            link, ticks = known[which]
            octets += packet(order, which, stamp, data, kind)
            latest = (1 << 63) // 10**9 - 1
            ns = stamp * 10**9 // ticks
            expected.append((link, ns if ns // 10**9 <= latest else latest * 10**9 + ns % 10**9, data))
            ends.append(len(octets))
    return bytes(octets), expected, ends


@settings(max_examples=200, deadline=None)
@given(PIECES, st.sampled_from([4 << 20, 200, 16]))
def test_what_was_written(tmp_path_factory, pieces, size):
    octets, expected, _ = written(pieces)
    assert read(tmp_path_factory.mktemp("ng"), octets, size) == expected


@settings(max_examples=100, deadline=None)
@given(PIECES, st.data())
def test_cut_short_it_gives_what_it_holds(tmp_path_factory, pieces, data):
    octets, expected, ends = written(pieces)
    cut = data.draw(st.integers(8, len(octets)))
    assert read(tmp_path_factory.mktemp("ng"), octets[:cut]) == expected[: sum(end <= cut for end in ends)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0, 5, 60, 214, 230, 1500]), min_size=30, max_size=200), st.sampled_from("<>"),
       st.integers(0, 50), st.sampled_from([b"\0", b"\6\0\0\0\x20\0\0\0", b"x"]))  # fmt: skip
def test_chains_together_as_one_by_one(sizes, order, cut, filler):
    octets = b"".join(packet(order, 0, 1 << 50, (filler * size)[:size]) for size in sizes)
    data = np.frombuffer(octets[: len(octets) - cut], np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "EVERY", 512)
        patch.setattr(chain, "WINDOW", 256)
        found, end = chain.starts(data, order, chain.PCAPNG)
    expected, last = chain._plain(data, 0, order, chain.PCAPNG)
    assert found.tolist() == expected.tolist() and end == last


def test_the_chains_do_go_together(monkeypatch):
    plain, after = chain._plain, []
    monkeypatch.setattr(chain, "_plain", lambda *args: after.append(args[1]) or plain(*args))
    data = np.frombuffer(b"".join(packet("<", 0, n, bytes(214)) for n in range(2000)), np.uint8)
    assert len(chain.starts(data, "<", chain.PCAPNG)[0]) == 2000
    assert len(after) == 1 and after[0] > len(data) - 3 * chain.EVERY


def test_the_offset_of_an_interface(tmp_path):
    octets = section() + interface(shift=1000) + interface(shift=-5) + interface(shift=1 << 62)
    found = read(tmp_path, octets + b"".join(packet("<", n, 7_000_001, b"") for n in range(3)))
    assert [ts for _, ts, _ in found] == [1007_000_001_000, 2_000_001_000, ((1 << 63) // 10**9 - 1) * 10**9 + 1000]


def test_a_large_block_of_another_kind_is_passed_over(tmp_path):
    octets = section() + interface() + block("<", 10, bytes(900_000)) + packet("<", 0, 5, b"after")
    assert read(tmp_path, octets, 1000) == [(1, 5000, b"after")]


def test_link_types_that_alternate_stay_few_blocks(tmp_path):
    path = tmp_path / "a.pcapng"
    path.write_bytes(section() + interface() + interface(link=101)
                     + b"".join(packet("<", n % 2, n, b"%d" % n) for n in range(5000)))  # fmt: skip
    blocks = list(read_blocks(str(path)))
    assert len(blocks) < 50 and sum(map(len, blocks)) == 5000
    whole = np.concatenate([found.ts for found in blocks])
    assert np.abs(whole - np.sort(whole)).max() <= 256_000


@pytest.mark.parametrize("fault", [
    packet("<", 1, 0, b"an interface that was never named"), struct.pack("<II", 6, 13) + bytes(20),
    struct.pack("<II", 6, 900_000) + bytes(20), struct.pack("<II", 6, 0) + bytes(20), block("<", 0x0A0D0D0A, bytes(16)),
    block("<", 1, b""), block("<", 6, struct.pack("<5I", 0, 0, 0, 5, 5)),
])  # fmt: skip
def test_damage_is_a_sentence_after_what_came_before(tmp_path, fault):
    path = tmp_path / "a.pcapng"
    path.write_bytes(section() + interface() + packet("<", 0, 0, b"sound") + fault + packet("<", 0, 0, b"x"))
    blocks = read_blocks(str(path))
    assert len(next(blocks)) == 1
    with pytest.raises(VoipfleetError, match="a damaged pcapng block; write the file again"):
        list(blocks)
