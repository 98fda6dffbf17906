"""A hold is the union of what it had and of what is there; what a kill leaves of one goes; what is missing is told."""

import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import pools
from support.pools import START, Row
from voipfleet.errors import VoipfleetError
from voipfleet.packetstore import catalogue, holds
from voipfleet.packetstore.lookup import plan
from voipfleet.packetstore.reader import Stream, read

ALL = (0, 1 << 62)
UUID = bytes(range(16))
KEYS = [2, 3]
kinds = st.sampled_from([("sip", 2), ("rtp", 3), ("audio", 3)])
rows = st.tuples(kinds, st.sampled_from([1, 101]), st.integers(0, 5), st.binary(max_size=3))
turns = st.lists(st.tuples(st.lists(rows, max_size=8), st.booleans()), min_size=1, max_size=4)


def segments(folder: Path, found) -> None:
    for kind, link in dict.fromkeys((kind, link) for kind, link, *_ in found):
        same = [Row(kind[1], START + ts, data) for *which, ts, data in found if which == [kind, link]]
        pools.fill(folder, kind[0], same, link)


def evict(folder: Path) -> None:
    for entry in list(catalogue.read(folder)):
        catalogue.remove(folder, entry.name)


def held(folder: Path) -> Counter:
    """How often each (class, link type, record) is in the hold."""
    found = Counter()
    for piece, data in read(holds.get(folder, UUID).plan.pieces):
        found.update((piece.kind, piece.linktype, record) for record in pools.records(data))
    return found


def hold(folder: Path, who: str = "a") -> holds.Hold:
    return holds.hold(folder, UUID, plan(folder, KEYS, *ALL), who=who, why="")


def test_what_only_the_hold_still_has_stays_in_it(tmp_path):
    pools.fill(tmp_path, "sip", [Row(2, START, b"INVITE")])
    first = hold(tmp_path)
    evict(tmp_path)
    pools.fill(tmp_path, "sip", [Row(2, START + n, b"much more of it") for n in range(1, 9)])
    made = hold(tmp_path, "b")
    assert made.plan.bytes > first.plan.bytes and made == holds.get(tmp_path, UUID) and made.who == "b"
    sent = b"".join(Stream(made.plan))
    assert sent.count(b"INVITE") == 1 and sent.count(b"much more of it") == 8
    assert hold(tmp_path, "c") == made  # nothing is added, nothing twice
    assert holds.release(tmp_path, UUID) and not list((tmp_path / "holds").iterdir())


@settings(max_examples=30, deadline=None)
@given(turns)
def test_a_hold_is_the_union(tmp_path_factory, turns):
    folder, there, wanted = tmp_path_factory.mktemp("pool"), [], Counter()
    for more, evicted in turns:
        segments(folder, more)
        there += more
        wanted |= Counter((kind[0], link, (START + ts, len(data), data)) for kind, link, ts, data in there)
        if wanted:
            assert not hold(folder).missing
            assert held(folder) == wanted
        if evicted:
            evict(folder)
            there = []


def test_a_file_of_a_hold_that_is_damaged_is_completed_from_segments(tmp_path):
    pools.fill(tmp_path, "sip", [Row(2, START + n, b"packet %d" % n) for n in range(3)])
    hold(tmp_path)
    (pcap,) = (tmp_path / "holds").glob("*.pcap")
    pcap.write_bytes(pcap.read_bytes()[:-4])
    hold(tmp_path)
    found = b"".join(data for _, data in read(holds.get(tmp_path, UUID).plan.pieces))
    assert all(b"packet %d" % n in found for n in range(3))


def test_what_was_evicted_meanwhile_is_told(tmp_path):
    for n in range(3):
        pools.fill(tmp_path, "sip", [Row(2, START + n, b"packet %d" % n)])
    found = plan(tmp_path, [2], *ALL)
    Path(found.pieces[1].path).unlink()
    made = holds.hold(tmp_path, UUID, found, who="a", why="")
    assert made.missing == "packets are missing: 1 segments were removed meanwhile"
    assert made == holds.get(tmp_path, UUID) and made.plan.bytes == 2 * (16 + 8)
    pools.fill(tmp_path, "sip", [Row(2, START + 7, b"new")])
    assert hold(tmp_path).missing == made.missing  # what the first copy did not get is not here now either


def test_what_is_damaged_is_told(tmp_path):
    for n in range(2):
        pools.fill(tmp_path, "sip", [Row(2, START + n, b"packet %d" % n)] * 2)
    found = plan(tmp_path, [2], *ALL)
    path = Path(found.pieces[0].path)
    content = bytearray(path.read_bytes())
    content[24 + 24 + 8 + 3] = 0x7F  # the length of its second packet
    path.write_bytes(content)
    made = holds.hold(tmp_path, UUID, found, who="a", why="")
    assert made.missing == "packets are missing: 1 segments are damaged"
    assert made.plan.bytes == 3 * 24 and not Stream(made.plan).missing


def test_nothing_is_held_where_all_was_evicted_meanwhile(tmp_path):
    pools.fill(tmp_path, "sip", [Row(2, START, b"x")])
    found = plan(tmp_path, [2], *ALL)
    evict(tmp_path)
    with pytest.raises(VoipfleetError, match="no packets of this call"):
        holds.hold(tmp_path, UUID, found, who="a", why="")
    assert not list((tmp_path / "holds").iterdir())


@pytest.mark.parametrize("again", [False, True])
def test_a_kill_half_way_leaves_the_hold_as_it_was(tmp_path, monkeypatch, again):
    pools.fill(tmp_path, "sip", [Row(2, START, b"INVITE")])
    pools.fill(tmp_path, "audio", [Row(3, START, b"voice")], linktype=101)
    before = hold(tmp_path) if again else None
    names = {path.name for path in tmp_path.glob("holds/*")}
    pools.fill(tmp_path, "sip", [Row(2, START + 1, b"BYE")])
    put, left = holds.put, 1

    def killed(path, content):
        nonlocal left
        left -= 1
        if left < 0:
            path.with_name(path.name + ".part").write_bytes(b"half")
            raise KeyboardInterrupt
        put(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(holds, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            hold(tmp_path)
    assert holds.get(tmp_path, UUID) == before
    (tmp_path / "holds" / "lost+found").mkdir()
    (tmp_path / "holds" / "readme.pcap").write_bytes(b"of somebody else")
    assert {path.name for path in tmp_path.glob("holds/*")} > names | {"lost+found", "readme.pcap"}
    assert holds.recover(tmp_path) >= 1
    assert {path.name for path in tmp_path.glob("holds/*")} == names | {"lost+found", "readme.pcap"}
    assert holds.get(tmp_path, UUID) == before and holds.recover(tmp_path) == 0


def test_files_of_a_hold_that_cannot_be_read_are_left_alone(tmp_path):
    pools.fill(tmp_path, "sip", [Row(2, START, b"INVITE")])
    hold(tmp_path)
    (json,) = (tmp_path / "holds").glob("*.json")
    json.write_bytes(b"damaged")
    assert holds.recover(tmp_path) == 0 and len(list((tmp_path / "holds").iterdir())) == 2
    assert holds.recover(tmp_path / "nowhere") == 0


def test_a_disk_that_refuses_leaves_nothing_half(tmp_path, monkeypatch):
    pools.fill(tmp_path, "sip", [Row(2, START, b"INVITE")])

    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(holds, "sync_folder", lambda *_: time.sleep(0))
        patch.setattr(holds.json, "dumps", full)
        with pytest.raises(OSError, match="No space"):
            hold(tmp_path)
    assert not list((tmp_path / "holds").iterdir()) and hold(tmp_path).plan.bytes == 22
