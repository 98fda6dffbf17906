"""The outbox: nothing leaves it before it is acknowledged, and its books balance."""

import os

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.records.messages import CALL, GAP, GapRecord
from voipfleet.records.outbox import Outbox, OutboxError


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
