"""The places of records found together are those that one after the other gives, whatever lies in the packets."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.capture import chain


def records(sizes, order="<", second=1_700_000_000, filler=b"\0"):
    return b"".join(
        struct.pack(order + "4I", second + n // 50, n % 1_000_000, size, size + n % 3) + (filler * size)[:size]
        for n, size in enumerate(sizes)
    )


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(chain, "EVERY", 512)
    monkeypatch.setattr(chain, "WINDOW", 256)


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(0, 80), st.sampled_from([214, 218, 1500])), min_size=20, max_size=120),
       st.sampled_from("<>"), st.integers(0, 40), st.binary(min_size=1, max_size=5))  # fmt: skip
def test_together_as_one_by_one(sizes, order, cut, filler):
    data = np.frombuffer(records(sizes, order, filler=filler), np.uint8)
    data = data[: len(data) - cut]
    expected, end = chain._plain(data, 0, order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "EVERY", 512)
        patch.setattr(chain, "WINDOW", 256)
        found, upto = chain.starts(data, order)
    assert found.tolist() == expected.tolist() and upto == end


def test_the_chains_do_go_together(short, monkeypatch):
    plain, lengths = chain._plain, []
    monkeypatch.setattr(chain, "_plain", lambda *args: lengths.append(args[1]) or plain(*args))
    data = np.frombuffer(records([214, 218, 234] * 200), np.uint8)
    assert len(chain.starts(data, "<")[0]) == 600
    assert len(lengths) == 1 and lengths[0] > len(data) - 1000


def test_packets_that_hold_records_do_not_mislead(short):
    """A capture of somebody sending a capture: what looks like a record lies within packets."""
    inner = records([30] * 5)
    data = np.frombuffer(b"".join(struct.pack("<4I", 1_700_000_000, 0, len(inner) + 3, len(inner) + 3) + b"abc" + inner
                                  for _ in range(60)), np.uint8)  # fmt: skip
    found, end = chain.starts(data, "<")
    assert np.diff(found).tolist() == [16 + 3 + len(inner)] * 59 and end == len(data)


def test_a_damaged_length_ends_the_chain(short):
    data = bytearray(records([200] * 60))
    data[216 * 40 + 8 : 216 * 40 + 12] = struct.pack("<I", chain.MAX_PACKET + 1)
    found, end = chain.starts(np.frombuffer(bytes(data), np.uint8), "<")
    assert (len(found), end) == (40, 216 * 40)
