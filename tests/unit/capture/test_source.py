"""Compressed captures: as if they were not, whole, in members, cut short, damaged; and in bounded memory."""

import contextlib
import gzip
import io
import os
import struct
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.capture import source
from voipfleet.capture.pcapfile import read_blocks
from voipfleet.capture.source import Source
from voipfleet.errors import VoipfleetError

HEAD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)


def pcap(count, size=50):
    return HEAD + b"".join(struct.pack("<4I", 9, n, size, size) + n.to_bytes(4, "big") + bytes(size - 4)
                           for n in range(count))  # fmt: skip


def numbers(path):
    return [int.from_bytes(block.data[at : at + 4].tobytes(), "big") for block in read_blocks(str(path))
            for at in block.offset.tolist()]  # fmt: skip


def test_as_if_it_were_not_compressed(tmp_path, monkeypatch):
    path = tmp_path / "a.pcap"  # by what it is, not by its name
    path.write_bytes(gzip.compress(pcap(300)))
    assert numbers(path) == list(range(300))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert numbers("-") == list(range(300))


def test_several_members_are_one_file_and_padding_is_none(tmp_path):
    path, whole = tmp_path / "a.gz", pcap(300)
    path.write_bytes(b"".join(gzip.compress(whole[at : at + 999]) for at in range(0, len(whole), 999)) + bytes(2000))
    assert numbers(path) == list(range(300))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_cut_short_it_gives_what_it_holds(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("z") / "a.gz"
    packed = gzip.compress(pcap(300), 1)
    path.write_bytes(packed[: data.draw(st.integers(len(packed) // 4, len(packed) - 1))])
    found = numbers(path)
    assert found == list(range(len(found)))


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda packed: packed[:-3], "the file is truncated; read what it holds"),
    (lambda packed: packed[:900] + bytes(9) + packed[909:], "its compression is damaged; read what it holds"),
    (lambda packed: packed[:-8] + bytes(8), "its compression is damaged; read what it holds"),
])  # fmt: skip
def test_what_is_wrong_is_said(tmp_path, capsys, change, sentence):
    path = tmp_path / "a.gz"
    path.write_bytes(change(gzip.compress(pcap(300), 1)))
    found = numbers(path)
    assert found == list(range(len(found)))
    assert capsys.readouterr().err == f"{path}: {sentence}\n"


def test_a_bomb_is_only_a_long_capture(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(pcap(1) + bytes(400 << 20)))  # then packets of no length without end
    blocks = read_blocks(str(path))
    tracemalloc.start()
    try:
        for _ in range(4):
            next(blocks)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("magic", "what"), [
    (b"\x28\xb5\x2f\xfd....", "packed by zstd"), (b"\xfd7zXZ...", "packed by xz"), (b"BZh9....", "packed by bzip2"),
    (b"PK\3\4....", "packed by zip"), (b"", "empty"),
    (gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "packed by gzip once more"),
    (b"<html>", "not a capture file"), (gzip.compress(b"", mtime=0), "empty"),
])  # fmt: skip
def test_what_is_no_capture(tmp_path, magic, what):
    path = tmp_path / "a"
    path.write_bytes(magic)
    with pytest.raises(VoipfleetError) as error:
        list(read_blocks(str(path)))
    assert str(error.value) == f"{path}: {what}; give a pcap or pcapng file, gzip or not"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_how_far_it_is(tmp_path, pack):
    path = tmp_path / "a"
    path.write_bytes(pack(pcap(20_000)))
    seen = []
    blocks = read_blocks(str(path), 100_000, seen.append)
    places = [seen[0].position for _ in blocks]
    assert seen[0].size == path.stat().st_size == places[-1]
    assert places == sorted(places)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_a_pipe_gives_is_taken_at_once(pack):
    """The first packets of a capture that goes on are analysed before the writer ends."""
    reading, writing = os.pipe()
    code = ("import sys\nfrom voipfleet.capture.pcapfile import read_blocks\n"
            "for block in read_blocks('-'): print(len(block), flush=True)")  # fmt: skip
    child = subprocess.Popen([sys.executable, "-c", code], stdin=reading, stdout=subprocess.PIPE, text=True)
    os.close(reading)
    os.write(writing, pack(pcap(7)))
    first = child.stdout.readline()
    os.close(writing)
    child.communicate()
    assert int(first) == 7


def test_nothing_is_read_twice(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    opened = Source(str(path))
    assert opened.exactly(4) + opened.exactly(0) + opened.exactly(200) == bytes(range(100))
    assert opened.into(memoryview(bytearray(5))) == 0 and not opened.fault and source.GZIP
    opened.close()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_changed_bytes_are_a_sentence_at_worst(tmp_path_factory, data):
    packed = bytearray(gzip.compress(pcap(40), 1, mtime=0) * data.draw(st.integers(1, 2)))
    for _ in range(data.draw(st.integers(0, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("x") / "a"
    path.write_bytes(packed)
    with contextlib.suppress(VoipfleetError):
        for block in read_blocks(str(path), 64):
            assert (block.offset + block.caplen <= len(block.data)).all()
