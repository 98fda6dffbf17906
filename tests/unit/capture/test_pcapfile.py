"""Capture files: formats, truncation, sentences; and what the decoder counts."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.calls.analyser import Analyser
from voipfleet.capture.pcapfile import read_blocks
from voipfleet.errors import VoipfleetError

IP = bytes.fromhex("450000200001000040110000 0a000001 0a000002") + struct.pack(">HHHH", 4000, 5000, 12, 0) + b"abcd"
FRAME = bytes(12) + b"\x81\x00\x00\x64\x08\x00" + IP
FRAGMENT = bytes(12) + b"\x08\x00" + IP[:6] + b"\x20\x00" + IP[8:]


def pcap(frames, order="<", magic=0xA1B2C3D4):
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    return head + b"".join(struct.pack(order + "IIII", 9, 5, len(f), len(f)) + f for f in frames)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "ns"), [(0xA1B2C3D4, 5000), (0xA1B23C4D, 5)])
def test_pcap_of_both_orders_and_units(tmp_path, order, magic, ns):
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([FRAME, FRAGMENT], order, magic))
    (block,) = read_blocks(str(path))
    assert block.ts.tolist() == [9_000_000_000 + ns] * 2
    ends = zip(block.offset.tolist(), (block.offset + block.caplen).tolist(), strict=True)
    assert [block.data[start:end].tobytes() for start, end in ends] == [FRAME, FRAGMENT]
    assert len(list(read_blocks(str(path), 1))) == 2


def test_truncated_gives_what_it_holds(tmp_path, capsys):
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([FRAME, FRAME])[:-3])
    assert [len(block) for block in read_blocks(str(path))] == [1]
    assert "truncated" in capsys.readouterr().err


def test_sentences(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("hello world")
    with pytest.raises(VoipfleetError, match="not a capture file; give a pcap or pcapng file"):
        list(read_blocks(str(path)))
    with pytest.raises(VoipfleetError, match="cannot be read"):
        list(read_blocks(str(tmp_path / "none")))


@settings(max_examples=150, deadline=None)
@given(frames=st.lists(st.tuples(st.sampled_from([FRAME, FRAGMENT]), st.integers(0, 60), st.binary(max_size=8)),
                       min_size=1, max_size=8))  # fmt: skip
def test_received_is_parsed_plus_ignored(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("f") / "a.pcap"
    path.write_bytes(pcap([frame[:at] + junk + frame[at + len(junk) :] for frame, at, junk in frames]))
    analyser = Analyser()
    for block in read_blocks(str(path)):
        analyser.feed(block)
    c = analyser.counters
    read = c["sip"] + c["rtp"] + c["rtcp"] + c["other"]
    assert c["packets"] == len(frames) == c["ignored"] + c["held"] + read - c["made"]
