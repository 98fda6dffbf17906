"""What is erased is nowhere any more; what is not, stays as it was."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import pools
from support.pools import START, Row
from voipfleet.packetstore import catalogue, erase, holds, segment
from voipfleet.packetstore.lookup import plan
from voipfleet.packetstore.reader import Stream

ALL = (0, 1 << 62)
ODD = b"\x03\x00\x00\x00"  # the length of a packet that leads to a place where none begins
rows = st.builds(Row, key=st.sampled_from([1, 3, 5, 2**63 + 1]), ts=st.integers(START, START + 20),
                 data=st.binary(max_size=20), wirelen=st.just(60))  # fmt: skip


def content(folder: Path, keys: list[int]) -> bytes:
    return b"".join(Stream(plan(folder, keys, *ALL)))


@settings(max_examples=50, deadline=None)
@given(st.lists(rows, min_size=1, max_size=40), st.sets(st.sampled_from([1, 3, 5, 2**63 + 1])), st.integers(-1, 21),
       st.integers(0, 22))  # fmt: skip
def test_only_what_is_to_go_goes(tmp_path_factory, given, keys, since, length):
    folder = tmp_path_factory.mktemp("pool")
    pools.fill(folder, "audio", given)
    (pcap,) = folder.rglob("*.pcap")
    before, low, high = pcap.stat(), START + since, START + since + length
    done = erase.erase(folder, keys, low, high)
    gone = [row for row in given if row.key in keys and low <= row.ts <= high]
    assert done.packets == len(gone) and done.damaged == 0 and done.segments >= bool(gone)
    after = pcap.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    index = segment.decode_index(pcap.with_suffix(".idx").read_bytes())
    left = {row.key for row in given if row not in gone}
    found = {key: pools.records(pcap.read_bytes()[at : at + size]) for key, at, size in index.entries.tolist()}
    assert set(found) == left
    for key, run in found.items():
        wanted = sorted(((row.ts, row.wirelen, bytes(len(row.data)) if row in gone else row.data)
                         for row in given if row.key == key), key=lambda one: one[0])  # fmt: skip
        assert sorted(run) == sorted(wanted)
    assert erase.erase(folder, keys, low, high).packets == sum(
        row.key in keys and low <= row.ts <= high for row in given if row.key in left
    )


def test_nothing_of_it_is_left_in_any_file(tmp_path):
    for n in range(5):
        pools.fill(tmp_path, "sip", [Row(2, START + n, b"SECRET"), Row(4, START + n, b"public")])
    assert erase.erase(tmp_path, [2], *ALL) == erase.Erased(packets=5, segments=5)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 10 and not any(b"SECRET" in data for data in files)
    assert content(tmp_path, [2]) == b"" and content(tmp_path, [4]).count(b"public") == 5
    assert erase.erase(tmp_path, [2], *ALL) == erase.Erased()


def test_a_kill_in_the_middle_is_completed_by_erasing_again(tmp_path, monkeypatch):
    pools.fill(tmp_path, "sip", [Row(2, START, b"SECRET"), Row(4, START, b"public")])
    with monkeypatch.context() as patch:
        patch.setattr(erase, "put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            erase.erase(tmp_path, [2], *ALL)
    assert b"SECRET" not in content(tmp_path, [2]) and content(tmp_path, [4]).count(b"public") == 1
    assert erase.erase(tmp_path, [2], *ALL).packets == 1 and content(tmp_path, [2]) == b""


@pytest.mark.parametrize("length", [b"\xff\xff\xff\x7f", ODD], ids=["far", "near"])
@pytest.mark.parametrize("size", [1, 7, 1_000])
@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_run_with_a_broken_head_is_overwritten_whole(tmp_path, broken, size, length):
    """Nobody knows where its packets are from there on; the run behind it stays as it is."""
    pools.fill(tmp_path, "sip", [Row(2, START + n, b"SECRET" * size) for n in range(3)] + [Row(4, START, b"x")])
    (pcap,) = tmp_path.rglob("*.pcap")
    whole = bytearray(pcap.read_bytes())
    at = 24 + broken * (16 + 6 * size)
    whole[at + 8 : at + 12] = length
    pcap.write_bytes(whole)
    done = erase.erase(tmp_path, [2], *ALL)
    assert done == erase.Erased(packets=broken + (length == ODD), segments=1, broken=1)
    after = pcap.read_bytes()
    assert b"SECRET" not in after and len(after) == len(whole)
    assert length == ODD or not any(after[at : 24 + 3 * (16 + 6 * size)])
    assert not plan(tmp_path, [2], *ALL).pieces
    assert b"".join(Stream(plan(tmp_path, [4], *ALL))).endswith(b"x")


def test_a_kill_in_the_middle_of_a_broken_run_is_completed_too(tmp_path, monkeypatch):
    pools.fill(tmp_path, "sip", [Row(2, START + n, b"SECRET") for n in range(3)] + [Row(2, START + 10**12, b"later")])
    (pcap, *_) = sorted(tmp_path.rglob("*.pcap"))
    whole = bytearray(pcap.read_bytes())
    whole[24 + 22 + 8 : 24 + 22 + 12] = b"\xff\xff\xff\x7f"
    pcap.write_bytes(whole)
    with monkeypatch.context() as patch:
        patch.setattr(erase, "put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            erase.erase(tmp_path, [2], START, START + 9)
    assert b"SECRET" not in pcap.read_bytes()
    assert erase.erase(tmp_path, [2], START, START + 9).packets == 1
    assert [piece.path for piece in plan(tmp_path, [2], *ALL).pieces] == [
        str(path) for path in sorted(tmp_path.rglob("*.pcap"))[1:]
    ]


def test_a_damaged_index_is_told(tmp_path):
    pools.fill(tmp_path, "sip", [Row(2, START, b"SECRET"), Row(4, START, b"public")])
    (idx,) = tmp_path.rglob("*.idx")
    idx.write_bytes(idx.read_bytes()[:-1] + b"\x09")
    assert erase.erase(tmp_path, [2], *ALL) == erase.Erased(damaged=1)
    idx.unlink()
    assert erase.erase(tmp_path, [2], *ALL) == erase.Erased(damaged=1)


def test_many_at_once_and_retention_beside(tmp_path):
    keys = list(range(2, 82, 2))
    for n in range(20):
        pools.fill(tmp_path, "sip", [Row(key, START + n, b"SECRET%d" % key) for key in keys])
    with ThreadPoolExecutor(4) as threads:
        erased = [threads.submit(erase.erase, tmp_path, [key], *ALL) for key in keys[:30]]
        removed = [
            threads.submit(catalogue.remove, tmp_path, entry.name) for entry in list(catalogue.read(tmp_path))[:10]
        ]
        assert all(one.result().damaged <= 10 for one in erased) and all(one.result() for one in removed)
    assert content(tmp_path, keys[:30]) == b"" and len(list(tmp_path.rglob("*.idx"))) == 10
    assert content(tmp_path, keys[30:]).count(b"SECRET") == 10 * 10


def test_an_index_does_not_come_back_where_its_segment_went(tmp_path, monkeypatch):
    pools.fill(tmp_path, "sip", [Row(2, START, b"SECRET"), Row(4, START, b"x")])
    (pcap,) = tmp_path.rglob("*.pcap")
    fsync = os.fsync

    def remove_meanwhile(file: int) -> None:
        fsync(file)
        catalogue.remove(tmp_path, segment.parse_name(pcap.name)[0])

    with monkeypatch.context() as patch:
        patch.setattr(erase.os, "fsync", remove_meanwhile)
        assert erase.erase(tmp_path, [2], *ALL).segments <= 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# -- holds


def test_a_hold_outlives_its_segments(tmp_path):
    pools.fill(tmp_path, "sip", [Row(2, START, b"invite"), Row(4, START, b"other")])
    pools.fill(tmp_path, "audio", [Row(3, START + n, b"voice%d" % n) for n in range(5)])
    pools.fill(tmp_path, "audio", [Row(3, START + 9, b"tunnel")], linktype=101)
    found, uuid = plan(tmp_path, [2, 3], *ALL), bytes(range(16))
    made = holds.hold(tmp_path, uuid, found, who="anna", why="Az. 7")
    whole = b"".join(Stream(found))
    for entry in list(catalogue.read(tmp_path)):
        catalogue.remove(tmp_path, entry.name)
    there = holds.get(tmp_path, uuid)
    assert there == made and (there.who, there.why) == ("anna", "Az. 7") and there.plan.bytes == found.bytes
    assert sorted(b"".join(Stream(there.plan))) == sorted(whole)
    assert [piece.kind for piece in there.plan.pieces] == ["sip", "audio", "audio"]
    assert holds.listed(tmp_path) == [made]
    assert {path.name for path in (tmp_path / "holds").iterdir()} == {f"{uuid.hex()}{end}" for end in
                                                                      (".pcap", "-2.pcap", ".json")}  # fmt: skip
    assert len(catalogue.read(tmp_path).entries["sip"]) == 0
    assert holds.release(tmp_path, uuid) and not holds.release(tmp_path, uuid)
    assert not list((tmp_path / "holds").iterdir()) and holds.get(tmp_path, uuid) is None


def test_who_holds_again_has_no_less(tmp_path):
    pools.fill(tmp_path, "sip", [Row(2, START, b"one")])
    first, uuid = plan(tmp_path, [2], *ALL), bytes(16)
    holds.hold(tmp_path, uuid, first, who="a", why="")
    pools.fill(tmp_path, "sip", [Row(2, START + 1, b"two")])
    assert holds.hold(tmp_path, uuid, plan(tmp_path, [2], *ALL), who="b", why="").who == "b"
    for entry in list(catalogue.read(tmp_path)):
        catalogue.remove(tmp_path, entry.name)
    again = holds.hold(tmp_path, uuid, plan(tmp_path, [2], *ALL), who="c", why="")
    assert again.who == "b" and again.plan.bytes == 2 * 19


def test_what_cannot_be_held(tmp_path):
    with pytest.raises(holds.VoipfleetError, match="no packets of this call"):
        holds.hold(tmp_path, bytes(16), plan(tmp_path, [2], *ALL), who="", why="")
    pools.fill(tmp_path, "sip", [Row(2, START, b"one")])
    with pytest.raises(holds.VoipfleetError, match="cannot be held, the disk"):
        holds.hold(tmp_path, bytes(16), plan(tmp_path, [2], *ALL), who="", why="", floor=1 << 60)
    assert holds.listed(tmp_path) == []


@given(st.binary(max_size=80) | st.sampled_from([b'{"who":1,"why":2,"at":"x","files":[]}', b"[" * 9000, b'{"files": 7}',
       b'{"who":"","why":"","at":1,"files":[{"name":"../x","sizes":{},"linktype":1}]}']))  # fmt: skip
def test_a_hold_that_is_none(tmp_path_factory, said):
    folder = tmp_path_factory.mktemp("pool")
    (folder / "holds").mkdir()
    (folder / "holds" / f"{bytes(16).hex()}.json").write_bytes(said)
    (folder / "holds" / "other.json").write_bytes(said)
    found = holds.get(folder, bytes(16))
    assert found is None or not found.plan.pieces
    holds.listed(folder)
