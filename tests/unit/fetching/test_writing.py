"""The files that are made: every reader finds the packets in them, in nanoseconds, and the sensors by name."""

import shutil
import struct
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.captures import packets_of, read, read_by_dpkt, source
from voipfleet.capture.block import ETHERNET, RAW
from voipfleet.errors import VoipfleetError
from voipfleet.fetching import writing
from voipfleet.fetching.merging import merge
from voipfleet.packetstore.segment import MAX_NS

TIME = 1_700_000_000_123_456_789


def written(path, pieces):
    path.write_bytes(b"".join(pieces))
    return path


def of_two(links=(ETHERNET, ETHERNET)):
    return merge([source("b1", [(TIME + 5, b"x" * 60), (TIME, b"y" * 61)], -2000.5, links[0]),
                  source("b2", [(TIME + 1_000_000, b"z" * 1500)], 3.0, links[1])])  # fmt: skip


packets = st.lists(st.tuples(st.integers(1, MAX_NS), st.binary(max_size=90)), max_size=30)


@pytest.mark.parametrize("name", ["pcap", "pcapng"])
@settings(max_examples=60, deadline=None)
@given(several=st.lists(packets, min_size=1, max_size=3))
def test_what_is_written_is_read_back(name, several, tmp_path_factory):
    merged = merge([source(f"s{n}", found) for n, found in enumerate(several)])
    path = written(tmp_path_factory.mktemp("w") / "a", getattr(writing, name)(merged))
    assert sorted(read(path)) == sorted(packets_of(merged))
    assert [ts for ts, _ in read(path)] == merged.ts.tolist()
    ours = [(ts / 1000, data) for ts, data in packets_of(merged)]
    theirs = read_by_dpkt(path)
    assert [data for _, data in theirs] == [data for _, data in ours]
    assert all(abs(a - b) <= 2 for (a, _), (b, _) in zip(theirs, ours, strict=True))


def test_many_packets_come_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "AT_ONCE", 3)
    merged = merge([source("a", [(TIME + n, bytes([n])) for n in range(10)])])
    for form in (writing.pcap, writing.pcapng):
        assert read(written(tmp_path / "a", form(merged))) == packets_of(merged)


def test_a_pcap_says_one_link_type_only(tmp_path):
    merged = of_two((ETHERNET, RAW))
    with pytest.raises(VoipfleetError) as error:
        next(iter(writing.pcap(merged)))
    assert str(error.value) == (
        "the sensors captured in different ways (link types 1, 101), and a pcap has room for one; give --pcapng"
    )
    assert read(written(tmp_path / "a", writing.pcapng(merged))) == packets_of(merged)
    unused = merge([source("a", [(TIME, b"x")]), source("b", [], linktype=RAW)])
    assert read(written(tmp_path / "b", writing.pcap(unused))) == [(TIME, b"x")]


def test_lengths_on_the_wire_stay(tmp_path):
    merged = merge([source("a", [(TIME, b"x" * 200)], cut=54)])
    assert struct.unpack("<4I", written(tmp_path / "a", writing.pcap(merged)).read_bytes()[24:40])[2:] == (54, 200)
    ng = written(tmp_path / "b", writing.pcapng(merged)).read_bytes()
    assert struct.pack("<II", 54, 200) in ng


def test_clocks_in_words():
    assert writing.clock(None, 0) == "how far its clock is off is not known; times are its own"
    assert writing.clock(3.0, 0) == "its clock is +3.0 ms from the central's; times are its own"
    assert writing.clock(-2000.5, -2_000_500_000) == (
        "its clock is -2000.5 ms from the central's; -2000.5 ms were taken off its times"
    )


@pytest.mark.skipif(not shutil.which("tshark"), reason="no tshark here")
def test_tshark_names_the_sensors_and_their_clocks(tmp_path):
    path = written(tmp_path / "a.pcapng", writing.pcapng(of_two()))
    fields = ["-e", "frame.interface_name", "-e", "frame.time_epoch", "-e", "frame.len"]
    out = subprocess.run(["tshark", "-r", path, "-T", "fields", *fields], capture_output=True, text=True, check=True)
    assert [line.split("\t") for line in out.stdout.splitlines()] == [
        ["b2", "1700000000.124456789", "1500"],
        ["b1", "1700000002.123956789", "61"],
        ["b1", "1700000002.123956794", "60"],
    ]
    assert b"-2000.5 ms were taken off its times" in path.read_bytes()
