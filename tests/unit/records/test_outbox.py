"""The outbox: nothing leaves it before it is acknowledged, and its books balance."""

import contextlib
import os
import sqlite3

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.records import outbox
from voipfleet.records.messages import CALL, GAP, GapRecord
from voipfleet.records.outbox import Outbox, OutboxError
from voipfleet.records.salvage import open_outbox


def rows(count):
    return [(os.urandom(16), 1, CALL, b"body") for _ in range(count)]


def balance(box):
    state = box.state()
    assert state.created == state.acknowledged + state.queued + state.gaps
    return state


def test_rows_come_back_in_order_and_survive_a_restart(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    sent = rows(3)
    assert box.append(sent) == 3
    epoch, name = box.epoch, box.sensor_uuid
    box.close()
    again = Outbox(tmp_path / "outbox.db")
    assert [row.uuid for row in again.read(0)] == [row[0] for row in sent]
    assert (again.epoch, again.sensor_uuid) == (epoch, name)
    assert again.append(rows(1)) == 4


def test_sequence_goes_on_when_everything_was_acknowledged_and_deleted(tmp_path):
    box = Outbox(tmp_path / "outbox.db", keep_acked_hours=0)
    box.append(rows(5))
    box.acknowledge(5)
    assert box.read(0) == []
    box.close()
    assert Outbox(tmp_path / "outbox.db").append(rows(1)) == 6


def test_acknowledged_rows_are_kept_for_a_replay(tmp_path):
    box = Outbox(tmp_path / "outbox.db", keep_acked_hours=1)
    box.append(rows(5))
    box.acknowledge(5)
    assert len(box.read(0)) == 5
    assert balance(box).queued == 0


def test_an_older_acknowledgement_changes_nothing(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    box.append(rows(5))
    box.acknowledge(4)
    box.acknowledge(2)
    assert balance(box).acked_through == 4


def test_a_batch_is_bounded_in_bytes_but_never_empty(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    box.append([(os.urandom(16), 1, CALL, b"x" * 100)] * 1 + [(os.urandom(16), 1, CALL, b"x" * 100)])
    assert len(box.read(0, max_bytes=50)) == 1
    assert len(box.read(0, max_bytes=200)) == 2


def test_a_full_outbox_gives_up_the_oldest_and_says_how_many(tmp_path):
    box = Outbox(tmp_path / "outbox.db", quota_rows=100)
    box.append(rows(100))
    box.append(rows(10))
    state = balance(box)
    gaps = [msgspec.msgpack.decode(row.body, type=GapRecord) for row in box.read(0) if row.kind == GAP]
    assert sum(gap.count for gap in gaps) == state.gaps == 11
    assert gaps[0].from_seq == 1
    assert state.queued <= 101


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutboxError, match=r"cannot keep records here .*; make the folder writable"):
        Outbox(file / "outbox.db")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.floats(0, 1)), min_size=1, max_size=12))
def test_the_books_balance_whatever_happens(tmp_path_factory, steps):
    box = Outbox(tmp_path_factory.mktemp("o") / "outbox.db", keep_acked_hours=0, quota_rows=40)
    for count, share in steps:
        last = box.append(rows(count))
        box.acknowledge(int(last * share))
        balance(box)
    box.close()


def test_a_call_that_was_up_becomes_a_record_once_and_only_if_it_has_none(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    a, b = (os.urandom(16) for _ in range(2))
    box.append([], checkpoints={a: b"a first", b: b"b"})
    box.append([(b, 1, CALL, b"b whole")], checkpoints={a: b"a second"})
    assert [(row.uuid, row.body) for row in box.read(0)] == [(b, b"b whole")]
    box.close()
    again = Outbox(tmp_path / "outbox.db")
    assert again.leftovers == 1
    assert [(row.uuid, row.body) for row in again.read(0)] == [(b, b"b whole"), (a, b"a second")]
    assert balance(again).created == 2
    again.close()
    assert Outbox(tmp_path / "outbox.db").leftovers == 0


def test_a_record_and_an_older_checkpoint_of_it_in_one_transaction_leave_the_record(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    box.append([(b"u" * 16, 1, CALL, b"whole")], checkpoints={b"u" * 16: b"open"})
    box.close()
    assert Outbox(tmp_path / "outbox.db").leftovers == 0


def fill_beyond(box, times, count=50):
    for _ in range(times):
        box.append(rows(count))
        balance(box)


def told(box):
    """The gap records that are held."""
    return [msgspec.msgpack.decode(row.body, type=GapRecord) for row in box.read(0, 10**6, 1 << 40) if row.kind == GAP]


def test_one_gap_record_says_all_that_was_given_up_in_an_outage(tmp_path):
    box = Outbox(tmp_path / "outbox.db", quota_rows=200)
    fill_beyond(box, 40)
    (gap,) = told(box)
    state = balance(box)
    assert (gap.from_seq, gap.count) == (1, state.gaps) and state.created == 2000 + 1
    assert state.queued == len(box.read(0, 10**6)) <= 200


def test_a_gap_record_that_may_be_on_its_way_comes_again_as_a_revision_and_one_that_arrived_does_not(tmp_path):
    box = Outbox(tmp_path / "outbox.db", quota_rows=200)
    fill_beyond(box, 5)
    (first,) = [row for row in box.read(0, 10**6, 1 << 40) if row.kind == GAP]
    fill_beyond(box, 5)
    (second,) = [row for row in box.read(0, 10**6, 1 << 40) if row.kind == GAP]
    assert (second.uuid, second.revision > first.revision) == (first.uuid, True)
    box.acknowledge(box.state().next_seq - 1)
    fill_beyond(box, 10)
    later = [row for row in box.read(box.state().acked_through, 10**6) if row.kind == GAP]
    assert len(later) == 1 and later[0].uuid != first.uuid


def test_what_was_acknowledged_goes_first_and_unnoticed(tmp_path):
    box = Outbox(tmp_path / "outbox.db", quota_rows=100)
    box.append(rows(90))
    box.acknowledge(60)
    box.append(rows(60))
    assert told(box) == [] and balance(box).gaps == 0 and box.read(60)[0].seq == 61


def test_the_bound_in_bytes(tmp_path):
    box = Outbox(tmp_path / "outbox.db", quota_bytes=1 << 20)
    for _ in range(40):
        box.append([(os.urandom(16), 1, CALL, os.urandom(1000)) for _ in range(100)])
        assert box.size <= 1.2 * (1 << 20)
        balance(box)
    (gap,) = told(box)
    assert gap.count == box.state().gaps > 2500


def test_rows_that_are_too_old_go_some_at_a_time(tmp_path, monkeypatch):
    box = Outbox(tmp_path / "outbox.db", keep_acked_hours=0)
    monkeypatch.setattr(outbox, "SWEEP", 10)
    box.append(rows(25))
    for through, left in ((20, 15), (21, 5), (25, 0)):
        box.acknowledge(through)
        assert len(box.read(0)) == left
    balance(box)


SCHEMA_1 = """
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY, uuid BLOB NOT NULL, revision INTEGER NOT NULL, kind INTEGER NOT NULL,
    body BLOB NOT NULL, created INTEGER NOT NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE origins (
    uuid BLOB, epoch BLOB, number INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (uuid, epoch)) WITHOUT ROWID;
INSERT INTO meta VALUES ('schema', 1), ('epoch', x'0102030405060708090a0b0c0d0e0f10'),
    ('sensor_uuid', x'1112131415161718191a1b1c1d1e1f20'), ('acked_through', 1), ('acknowledged', 1), ('gaps', 0),
    ('next_seq', 4);
INSERT INTO outbox VALUES
    (1, x'00000000000000000000000000000001', 1, 1, x'c0', 1700000000),
    (2, x'00000000000000000000000000000002', 1, 1, x'c0', 1700000000),
    (3, x'00000000000000000000000000000003', 2, 1, x'c0', 1700000000);
INSERT INTO origins VALUES (x'0a', x'0b', 7, 1700000000);
"""


def test_a_file_of_the_release_before_goes_on_as_it_is(tmp_path):
    """Made by the statements of that release."""
    with contextlib.closing(sqlite3.connect(tmp_path / "outbox.db")) as db:
        db.executescript("PRAGMA journal_mode=WAL;" + SCHEMA_1)
    box = open_outbox(tmp_path / "outbox.db", keep_acked_hours=1 << 20)
    assert [(row.seq, row.revision) for row in box.read(0)] == [(1, 1), (2, 1), (3, 2)]
    assert (box.epoch[0], box.sensor_uuid[0], box.origins()) == (1, 0x11, {(b"\n", b"\v"): 7})
    box.append(rows(1))
    box.acknowledge(3)
    state = balance(box)
    assert (state.next_seq, state.acknowledged, state.queued) == (5, 3, 1)
    box.close()
    assert list(tmp_path.glob("*.corrupt*")) == []
    assert len(open_outbox(tmp_path / "outbox.db").read(0)) == 4


def test_a_file_of_a_later_release_is_refused_and_not_touched(tmp_path):
    path = tmp_path / "outbox.db"
    Outbox(path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE meta SET value = 3 WHERE name = 'schema'")
        db.commit()
    before = path.read_bytes()
    with pytest.raises(OutboxError, match=r"written by another release \(schema 3, this one reads 2\)"):
        open_outbox(path)
    assert path.read_bytes() == before
