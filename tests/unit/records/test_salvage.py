"""A damaged outbox: its file stays, what is whole in it goes on, and a gap record says the rest."""

import contextlib
import os
import random
import sqlite3
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.records import salvage
from voipfleet.records.messages import CALL, GAP, GapRecord
from voipfleet.records.outbox import Outbox, OutboxError
from voipfleet.records.salvage import open_outbox


def filled(path, count=300, acked=100, size=900):
    """An outbox of so many rows, closed; (its rows, its sensor_uuid, its epoch)."""
    box = Outbox(path)
    rows = [(os.urandom(16), 1, CALL, msgspec.msgpack.encode(os.urandom(size))) for _ in range(count)]
    box.append(rows)
    box.acknowledge(acked)
    names = box.sensor_uuid, box.epoch
    box.close()
    return rows, *names


def gaps(box):
    return [msgspec.msgpack.decode(row.body, type=GapRecord) for row in box.read(0, 10**6, 1 << 40) if row.kind == GAP]


def kept(box):
    return [(row.uuid, row.revision, row.kind, row.body) for row in box.read(0, 10**6, 1 << 40) if row.kind != GAP]


def balanced(box):
    state = box.state()
    assert state.created == state.acknowledged + state.queued + state.gaps
    assert state.queued == len(box.read(state.acked_through, 10**6, 1 << 40))
    return state


def strike(path, at, size=4096):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(random.Random(at).randbytes(size))


def test_a_whole_outbox_is_left_alone(tmp_path):
    path = tmp_path / "outbox.db"
    rows, uuid, epoch = filled(path)
    box = open_outbox(path)
    assert (box.sensor_uuid, box.epoch, kept(box)) == (uuid, epoch, rows)
    assert [file.name for file in tmp_path.iterdir() if "corrupt" in file.name] == []


@pytest.mark.parametrize("page", [2, 5, 12, 30])
def test_four_kilobytes_of_random_cost_the_records_in_them(tmp_path, caplog, page):
    """B18."""
    path = tmp_path / "outbox.db"
    rows, uuid, epoch = filled(path)
    strike(path, page * 4096)
    box = open_outbox(path)
    state = balanced(box)
    assert box.sensor_uuid == uuid and box.epoch != epoch and state.next_seq >= 301
    found = kept(box)
    assert set(found) <= set(rows) and found == sorted(found, key=rows.index)
    lost = len([row for row in rows[100:] if row not in found])
    assert sum(gap.count for gap in gaps(box)) == lost == state.gaps
    if page > 2:  # not what leads to all others
        assert len(found) > 280
    assert "damaged" in caplog.text and "are saved" in caplog.text
    aside = [file for file in tmp_path.iterdir() if ".corrupt-" in file.name]
    assert len(aside) == 1 and aside[0].stat().st_size > 100_000
    box.close()
    again = open_outbox(path)  # and never once more
    assert len([file for file in tmp_path.iterdir() if ".corrupt-" in file.name]) == 1
    assert kept(again) == found and again.append(rows[:1]) == state.next_seq


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be one" * 100, os.urandom(50_000)])
def test_what_is_no_database_at_all(tmp_path, content):
    """B18."""
    path = tmp_path / "outbox.db"
    filled(path)
    path.write_bytes(content)
    box = open_outbox(path)
    balanced(box)
    assert [(gap.count, gap.reason) for gap in gaps(box)] == [(0, salvage.DAMAGED)]
    assert len(list(tmp_path.glob("*.corrupt-*"))) == 1
    box.append([(b"u" * 16, 1, CALL, b"x")])
    balanced(box)


def test_a_log_that_is_cut_off_costs_what_was_in_it(tmp_path):
    """B18. What SQLite can still read of it goes on, under the numbers that the central may know otherwise."""
    path = tmp_path / "outbox.db"
    rows, uuid, _ = filled(path)
    box = Outbox(path)
    for number in range(50):
        box.append([(os.urandom(16), 1, CALL, b"%d" % number)])
    wal = path.with_name("outbox.db-wal")
    copy, log = path.read_bytes(), wal.read_bytes()
    box.close()
    path.write_bytes(copy)
    wal.write_bytes(log[: len(log) // 2])
    again = open_outbox(path)
    state = balanced(again)
    assert again.sensor_uuid == uuid and set(rows) <= set(kept(again)) and 310 < state.next_seq < 351


def test_calls_that_were_up_and_cursors_are_saved_too(tmp_path):
    path = tmp_path / "outbox.db"
    filled(path)
    box = Outbox(path)
    box.append([], {(b"o" * 16, b"e" * 16): 7}, {b"c" * 16: b"open"})
    box.close()
    box = salvage.renew(path, "for the test")
    assert box.origins() == {(b"o" * 16, b"e" * 16): 7}
    assert (b"c" * 16, 1, CALL, b"open") in kept(box) and gaps(box) == []
    balanced(box)


@pytest.mark.parametrize("far", [1 << 60, (1 << 63) - 1, -(1 << 62)])
def test_a_number_that_is_damaged_does_not_keep_the_start_up(tmp_path, far):
    """Who goes through all numbers up to it never ends."""
    path = tmp_path / "outbox.db"
    rows, *_ = filled(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE outbox SET seq = ? WHERE seq = 300", (far,))
    started = time.monotonic()
    with contextlib.closing(open_outbox(path)) as box:
        assert {row[0] for row in rows[:299]} <= {row[0] for row in kept(box)}
        balanced(box)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("at", range(5))
def test_a_kill_between_the_renames_loses_nothing(tmp_path, monkeypatch, at):
    path = tmp_path / "outbox.db"
    rows, uuid, _ = filled(path)
    box = Outbox(path, keep_acked_hours=0)  # its pages are others than those of the new file
    box.acknowledge(200)
    box.append([(b"l" * 16, 1, CALL, b"x")])  # in the log, since the file is open: it must not come upon the new one
    left, rename = [at], Path.rename

    def killed(self, target):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    with contextlib.suppress(KeyboardInterrupt):
        salvage.renew(path, "for the test").append([(b"m" * 16, 1, CALL, b"y")])
    monkeypatch.undo()
    again = open_outbox(path)
    found = kept(again)
    assert again.sensor_uuid == uuid and found[:101] == [*rows[200:], (b"l" * 16, 1, CALL, b"x")]
    assert len(found) == 101 + (at == 4)
    balanced(again)
    box.close()


def test_a_folder_that_cannot_be_written_is_not_taken_for_damage(tmp_path, monkeypatch):
    path = tmp_path / "outbox.db"
    filled(path)
    monkeypatch.setattr(salvage, "prepare", lambda db: (_ for _ in ()).throw(sqlite3.OperationalError("disk full")))
    with pytest.raises(OutboxError, match=r"cannot be replaced .*; make room on its file system"):
        salvage.renew(path, "for the test")
    monkeypatch.undo()
    assert len(kept(open_outbox(path))) == 300
    assert list(tmp_path.glob("*.corrupt-*")) == []


def test_only_the_newest_damaged_files_are_kept(tmp_path):
    path = tmp_path / "outbox.db"
    filled(path, 10, 0)
    for _ in range(6):
        salvage.renew(path, "for the test").close()
    assert len(list(tmp_path.glob("*.corrupt-*"))) == salvage.KEPT
    assert len(kept(open_outbox(path))) == 10


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_is_destroyed_there_is_an_outbox_that_holds_only_what_was_written(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("o") / "outbox.db"
    rows, _, _ = filled(path, 120, 40, 300)
    size = path.stat().st_size
    for at in data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=4)):
        strike(path, at, data.draw(st.integers(1, 3000)))
    box = open_outbox(path)
    balanced(box)
    assert set(kept(box)) <= set(rows)
    last = box.append([(b"n" * 16, 1, CALL, b"new")])
    assert box.uuid_at(last) == b"n" * 16
    balanced(box)
