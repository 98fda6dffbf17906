"""Names and indexes: what was written is read, and nothing else is taken for it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from voipfleet.packetstore import segment
from voipfleet.packetstore.segment import ENTRY, KINDS, MAX_NS, Name

times = st.integers(0, MAX_NS)
u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


@given(st.sampled_from(KINDS), times, times, st.integers(0, 0xFFFF), u32)
def test_a_name_says_all_that_a_reader_needs(kind, first, last, linktype, chance):
    name = segment.name_of(kind, first, last, linktype, chance)
    for suffix in ("", ".pcap", ".idx"):
        assert segment.parse_name(f"{name}{suffix}") == (name, suffix)
    assert name.linktype == linktype
    begins = segment.hour_ns(name.hour)
    assert begins <= first < begins + segment.HOUR_NS


@given(st.text(max_size=60))
def test_another_file_has_no_name(text):
    found = segment.parse_name(text)
    assert found is None or f"{found[0]}{found[1]}" == text


def test_names_of_other_things():
    for text in ("holds", "calls.db", "sip-1-2-0001abcd.pcap.part", "sip-1-2-0001abcd.pcap\n",
                 "voice-1-2-0001abcd.pcap", "sip-1-2-0001abcd.txt", "sip--1-2-0001abcd.pcap"):  # fmt: skip
        assert segment.parse_name(text) is None
    for text in ("2023-13-14T22", "2023-11-14T24", "2023-11-14", "holds", "2023-11-14T22\n"):
        assert segment.hour_ns(text) is None
    assert segment.hour_ns("2023-11-14T22") == 1_699_999_200_000_000_000
    assert Name("sip", 1_700_000_000_000_000_000, 1, "0001abcd").hour == "2023-11-14T22"


@given(st.lists(st.tuples(u64, u32, u32), max_size=40), u32, times, times)
def test_an_index_comes_back(rows, packets, first, last):
    entries = np.array(sorted(rows), ENTRY)
    found = segment.decode_index(segment.encode_index(entries, packets, first, last))
    assert found.entries.tolist() == entries.tolist() and found[1:] == (packets, first, last)


@given(st.lists(st.tuples(u64, u32, u32), max_size=8), st.data())
def test_a_damaged_index_is_none(rows, data):
    made = bytearray(segment.encode_index(np.array(sorted(rows), ENTRY), 1, 2, 3))
    at = data.draw(st.integers(0, len(made) - 1))
    assert segment.decode_index(bytes(made[:at])) is None
    made[at] ^= data.draw(st.integers(1, 255))
    assert segment.decode_index(bytes(made)) is None


@given(st.binary(max_size=200))
def test_random_bytes_are_no_index(data):
    assert segment.decode_index(data) is None
