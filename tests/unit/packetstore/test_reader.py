"""What is given to a store comes back by key, complete and byte for byte; whatever is in its files, nothing raises."""

import io
import json
import os
import shutil
import subprocess
import time
from hashlib import blake2b
from pathlib import Path

import dpkt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import pools
from support.pools import START, Row
from voipfleet.packetstore import lookup, reader, segment
from voipfleet.packetstore.keys import call_key, stream_key
from voipfleet.packetstore.lookup import Plan, plan
from voipfleet.packetstore.reader import Stream
from voipfleet.packetstore.segment import ENTRY, KINDS

MINUTE = 60_000_000_000
ALL = (0, 1 << 62)
SIP, RTP = [2, 4, 2**64 - 2], [1, 3, 2**64 - 1]
rows = st.builds(Row, key=st.integers(0, 2), ts=st.integers(0, 40).map(lambda n: START + n * MINUTE),
                 data=st.binary(max_size=30), wirelen=st.just(60))  # fmt: skip
blocks = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from([1, 101]), st.lists(rows, min_size=1, max_size=12)),
                  max_size=6)  # fmt: skip


def stored(folder: Path, given) -> dict[int, list]:
    """Give it to a store, a segment or more a block; what is in it, by key: (kind, link type, ns, data)."""
    wanted: dict[int, list] = {}
    pool = pools.store(folder)
    for kind, linktype, block in given:
        keys = SIP if kind == "sip" else RTP
        block = [row._replace(key=keys[row.key]) for row in block]
        pools.give(pool, kind, block, linktype)
        pool.seal()
        for row in block:
            wanted.setdefault(row.key, []).append((kind, linktype, row.ts, row.data))
    pool.close(time.monotonic() + 10)
    return wanted


def parts(data: bytes) -> list[tuple[int, list[tuple[int, bytes]]]]:
    """(link type, packets) of each file of a stream, as dpkt reads them."""
    out, file = [], io.BytesIO(data)
    while line := file.readline():
        pcap = dpkt.pcap.Reader(io.BytesIO(file.read(json.loads(line)["pcap"])))
        out.append((pcap.datalink(), [(round(ts * 10**9), raw) for ts, raw in pcap]))
    return out


def read(found: Plan, **more) -> tuple[bytes, Stream]:
    stream = Stream(found, **more)
    data = b"".join(stream)
    return data, stream


@settings(max_examples=40, deadline=None)
@given(blocks, st.sets(st.sampled_from(SIP + RTP)), st.integers(0, 5000))
def test_what_was_given_comes_back_by_key(tmp_path_factory, given, keys, offset):
    folder = tmp_path_factory.mktemp("pool")
    wanted = stored(folder, given)
    found = plan(folder, keys, *ALL)
    data, stream = read(found)
    expected = [row for key in keys for row in wanted.get(key, [])]
    got = [(link, raw) for link, some in parts(data) for _, raw in some]
    assert sorted(got) == sorted((link, raw) for _, link, _, raw in expected)
    assert stream.missing == "" and stream.packets == len(expected)
    assert (stream.bytes, stream.digest) == (len(data), blake2b(data, digest_size=16).hexdigest())
    assert len({link for link, _ in parts(data)}) == len(parts(data))  # one file a link type
    rest, again = read(found, offset=offset)
    assert rest == data[offset:] and again.digest == stream.digest and again.bytes == stream.bytes


@settings(max_examples=40, deadline=None)
@given(blocks, st.integers(-5, 45), st.integers(0, 20))
def test_only_segments_of_that_time_are_in_question_and_none_is_left_out(tmp_path_factory, given, since, minutes):
    folder = tmp_path_factory.mktemp("pool")
    wanted = stored(folder, given)
    low, high = START + since * MINUTE, START + (since + minutes) * MINUTE
    found = plan(folder, SIP + RTP, low, high)
    got = {(link, raw) for link, some in parts(read(found)[0]) for _, raw in some}
    assert got >= {(link, raw) for run in wanted.values() for _, link, ts, raw in run if low <= ts <= high}
    for piece in found.pieces:
        name = segment.parse_name(Path(piece.path).name)[0]
        assert name.first <= high and name.last >= low
    assert [segment.parse_name(Path(p.path).name)[0].first for p in found.pieces] == sorted(
        segment.parse_name(Path(p.path).name)[0].first for p in found.pieces
    )


@pytest.mark.parametrize("runs", [0, 1, 2, 300, 20_000])
def test_a_look_up_finds_every_key_and_reads_little(tmp_path, monkeypatch, runs):
    rng = np.random.default_rng(runs)
    entries = np.zeros(runs, ENTRY)
    entries["key"] = np.sort(rng.integers(0, 1 << 63, runs, dtype=np.uint64) * 2 + 1)
    entries["offset"], entries["length"] = np.arange(runs), 7
    path = tmp_path / "x.idx"
    path.write_bytes(segment.encode_index(entries, runs, 1, 2))
    reads = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: reads.append(size) or pread(file, size, at))
    file = os.open(path, os.O_RDONLY)
    try:
        some = list(range(runs))[:: max(1, runs // 500)]
        for number in some:
            assert lookup.look_up(file, int(entries["key"][number])) == (number, 7)
        assert not reads or (max(reads) <= 12_000 and len(reads) < 1.05 * len(some) + 2)
        for key in (0, 2, 1 << 63, 2**64 - 1):
            assert lookup.look_up(file, key) is None
    finally:
        os.close(file)


@given(st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=60), st.integers(0, 2**64 - 1))
def test_keys_that_are_not_spread_are_found_too(tmp_path_factory, keys, other):
    entries = np.array([(key, n, 1) for n, key in enumerate(sorted(keys))], ENTRY)
    path = tmp_path_factory.mktemp("idx") / "x.idx"
    path.write_bytes(segment.encode_index(entries, 1, 1, 1))
    file = os.open(path, os.O_RDONLY)
    try:
        for number, key in enumerate(sorted(keys)):
            assert lookup.look_up(file, key) == (number, 1)
        assert (lookup.look_up(file, other) is None) == (other not in keys)
    finally:
        os.close(file)


def test_an_index_of_keys_in_one_corner_is_searched_to_its_end(tmp_path):
    entries = np.array([(key, key, 1) for key in range(5000)], ENTRY)
    (tmp_path / "x.idx").write_bytes(segment.encode_index(entries, 1, 1, 1))
    file = os.open(tmp_path / "x.idx", os.O_RDONLY)
    try:
        assert [lookup.look_up(file, key) for key in (0, 1, 777, 4999)] == [(0, 1), (1, 1), (777, 1), (4999, 1)]
    finally:
        os.close(file)


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(SIP + RTP), st.binary(max_size=100), st.booleans())
def test_random_bytes_in_the_files_never_raise(tmp_path_factory, idx, key, pcap, cut):
    folder = tmp_path_factory.mktemp("pool")
    for kind in KINDS:
        name = segment.name_of(kind, START, START, 1, 5)
        path = folder / name.hour / f"{name}.pcap"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pcap)
        path.with_suffix(".idx").write_bytes(idx)
    found = plan(folder, [key, 1, 2], *ALL)
    read(found, cut_audio=cut)
    head = segment.encode_index(np.array([(key, 24, 40)], ENTRY), 1, START, START)
    for path in folder.rglob("*.idx"):
        path.write_bytes(head)
    found = plan(folder, [key], *ALL)
    data, stream = read(found, cut_audio=cut)
    parts(data)
    assert bool(stream.missing) == bool(found.damaged or found.pieces) or stream.packets


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_an_index_that_is_damaged_somewhere_never_raises_and_costs_no_other_segment(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("pool")
    pools.fill(folder, "sip", [Row(2, START, b"here"), Row(4, START, b"other")])
    pools.fill(folder, "sip", [Row(2, START + MINUTE, b"there")])
    idx = sorted(folder.rglob("*.idx"))[0]
    content = bytearray(idx.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[at:]
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    idx.write_bytes(content)
    sent, _ = read(plan(folder, [2], *ALL))
    assert b"there" in [raw for _, some in parts(sent) for _, raw in some]


def test_what_vanishes_is_told_and_the_size_that_was_said_is_kept(tmp_path):
    for n in range(3):
        pools.fill(tmp_path, "sip", [Row(2, START + n, b"packet %d" % n)] * 3)
    found = plan(tmp_path, [2], *ALL)
    whole, _ = read(found)
    Path(found.pieces[1].path).unlink()
    data, stream = read(found)
    assert len(data) == len(whole) == stream.bytes
    assert stream.missing == "packets are missing: 1 segments were removed meanwhile" and stream.packets == 6
    assert [raw for _, raw in parts(data)[0][1] if any(raw)] == [b"packet 0"] * 3 + [b"packet 2"] * 3
    Path(found.pieces[2].path).with_suffix(".idx").unlink()
    assert plan(tmp_path, [2], *ALL).damaged == 1  # and the one that is gone is no more in question
    shutil.rmtree(tmp_path)
    assert plan(tmp_path, [2], *ALL) == Plan()
    assert "3 segments were removed" in read(found)[1].missing


@pytest.mark.parametrize("most", [1, 128])
def test_who_reads_no_further_leaves_no_file_open(tmp_path, monkeypatch, most):
    monkeypatch.setattr(lookup, "AHEAD", most)
    for n in range(4):
        pools.fill(tmp_path, "sip", [Row(2, START + n, b"x")])
    found = plan(tmp_path, [2], *ALL)
    files = Path("/proc/self/fd")
    before = len(list(files.iterdir()))
    some = reader.read(found.pieces)
    assert next(some)[1] and len(list(files.iterdir())) == before + min(most + 1, 4)
    assert next(some)[1]
    some.close()
    assert len(list(files.iterdir())) == before
    assert len(list(reader.read(found.pieces))) == 4 and len(list(files.iterdir())) == before


@given(st.integers(16, 1_200_000))
def test_packets_that_stand_for_what_is_gone_have_the_size(size):
    data = reader._nothing(size)
    assert len(data) == size and all(not any(raw) for _, _, raw in pools.records(data))


def test_runs_that_follow_each_other_are_read_at_once(tmp_path):
    pools.fill(tmp_path, "sip", [Row(2, START, b"a"), Row(4, START, b"b"), Row(6, START, b"c")])
    assert [(p.length, p.runs) for p in plan(tmp_path, [2, 4], *ALL).pieces] == [(34, 2)]
    assert [(p.length, p.runs) for p in plan(tmp_path, [6, 2], *ALL).pieces] == [(17, 1), (17, 1)]


def rtp_frame(voice: bytes, *, vlan: bool = False, csrc: int = 0) -> tuple[bytes, int]:
    """An RTP packet, and where its payload begins."""
    rtp = bytes([0x80 | csrc, 0]) + bytes(10) + bytes(4 * csrc)
    udp = (5000).to_bytes(2, "big") * 2 + (8 + len(rtp) + len(voice)).to_bytes(2, "big") + bytes(2)
    ip = bytes([0x45, 0]) + (28 + len(rtp) + len(voice)).to_bytes(2, "big") + bytes([0, 0, 0, 0, 64, 17, 0, 0])
    ip += bytes([10, 0, 0, 1, 10, 0, 0, 2])
    head = bytes(12) + (b"\x81\x00\x00\x05" if vlan else b"") + b"\x08\x00" + ip + udp + rtp
    return head + voice, len(head)


def test_voice_is_cut_off_for_those_who_may_not_hear_it(tmp_path):
    voice = b"VOICE" * 40
    made = [rtp_frame(voice), rtp_frame(voice, vlan=True), rtp_frame(voice, csrc=3)]
    fragment = bytearray(made[0][0])
    fragment[20] = 0x20  # more fragments
    later = bytearray(made[0][0])
    later[21] = 5  # a fragment from the middle
    rows = [Row(1, START + n, bytes(raw), 300) for n, raw in enumerate([*(raw for raw, _ in made), fragment, later])]
    pools.fill(tmp_path, "audio", rows)
    pools.fill(tmp_path, "sip", [Row(2, START, b"INVITE VOICE")])
    pools.fill(tmp_path, "rtp", [Row(1, START, b"VOICE not looked at: kept as headers")])
    found = plan(tmp_path, [1, 2], *ALL)
    data, stream = read(found, cut_audio=True)
    ((link, some),) = parts(data)
    raws = sorted(raw for _, raw in some)
    assert raws == sorted([b"INVITE VOICE", b"VOICE not looked at: kept as headers", *(raw[:at] for raw, at in made),
                           bytes(fragment[:14]), bytes(later[:14])])  # fmt: skip
    assert stream.packets == 7 and stream.missing == "" and link == 1
    assert read(found, cut_audio=True, offset=70)[0] == data[70:]
    whole, _ = read(found)
    assert whole.count(b"VOICEVOICE") > 5
    assert stream.digest == read(found, cut_audio=True)[1].digest


def test_voice_of_a_damaged_run_does_not_leave_either(tmp_path):
    raw, _ = rtp_frame(b"VOICE" * 40)
    pools.fill(tmp_path, "audio", [Row(1, START, raw, 300)] * 2)
    found = plan(tmp_path, [1], *ALL)
    path = Path(found.pieces[0].path)
    content = bytearray(path.read_bytes())
    content[24 + 8] ^= 7  # the length of the first packet
    path.write_bytes(content)
    data, stream = read(found, cut_audio=True)
    assert b"VOICE" not in data and "damaged" in stream.missing and stream.packets == 0


@pytest.mark.skipif(not shutil.which("tshark"), reason="no tshark")
def test_tshark_opens_a_segment_and_a_call(tmp_path):
    frames = [rtp_frame(bytes([n]) * 160)[0] for n in range(50)]
    keys = [stream_key("s", "a:1", "b:1", n) for n in range(5)]
    pools.fill(tmp_path, "audio", [Row(keys[n % 5], START + n, raw, len(raw)) for n, raw in enumerate(frames)])
    pools.fill(tmp_path, "sip", [Row(call_key(b"x"), START, frames[0], 300)])
    (path,) = tmp_path.rglob("audio-*.pcap")
    data, _ = read(plan(tmp_path, [keys[0], call_key(b"x")], *ALL))
    (tmp_path / "call.pcap").write_bytes(data.partition(b"\n")[2])
    for file, count in ((path, 50), (tmp_path / "call.pcap", 11)):
        command = ["tshark", "-r", file, "-T", "fields", "-e", "udp.srcport"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["5000"] * count


def test_a_plan_of_nothing_is_an_empty_stream():
    data, stream = read(Plan())
    assert (data, stream.bytes, stream.packets, stream.missing) == (b"", 0, 0, "")
