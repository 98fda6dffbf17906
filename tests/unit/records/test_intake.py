"""Records and checkpoints are kept until it is known of which blocks they are."""

import os

import pytest
from voipfleet.calls import record
from voipfleet.calls.record import CallRecord
from voipfleet.records.intake import Intake
from voipfleet.records.messages import CALL, CHECKPOINT


class Spool:
    def __init__(self):
        self.rows, self.cursors = [], []

    def put(self, uuid, revision, kind, body):
        self.rows.append((uuid, kind, body))

    def note(self, cursors):
        self.cursors.append((len(self.rows), cursors))


def call(**fields):
    return CallRecord(**{"uuid": os.urandom(16), "call_id": "c", "setup_time": 1, "sensor": "me"} | fields)


def test_a_checkpoint_is_never_kept_before_the_blocks_that_are_in_it():
    spool = Spool()
    intake = Intake(spool, "me", lambda: None)
    early, late, ended = call(), call(), call()
    intake.analysed(5)
    intake.note({})
    intake.checkpoint(5, record.encode(early))
    assert [row[:2] for row in spool.rows] == [(early.uuid, CHECKPOINT)]
    intake.checkpoint(6, record.encode(late))
    intake.record(record.encode(ended))
    assert len(spool.rows) == 1
    intake.analysed(6)
    intake.note({("o", "e"): 6})
    assert [row[:2] for row in spool.rows[1:]] == [(late.uuid, CHECKPOINT), (ended.uuid, CALL)]
    assert spool.cursors == [(3, {("o", "e"): 6})]


def test_what_was_seen_here_says_how_far_our_clock_is_off_and_what_others_saw_stays():
    spool = Spool()
    intake = Intake(spool, "me", lambda: 0.0123)
    other = call(sensor="other", analysed_by="me", clock_offset_ms=7.0)
    for one in (call(analysed_by="me"), other):
        intake.record(record.encode(one))
        intake.checkpoint(0, record.encode(one))
    intake.note({})
    told = [record.decode(body) for _, _, body in spool.rows]
    assert [(one.analysed_by, one.clock_offset_ms) for one in told] == [
        ("", 12.3), ("me", 7.0), ("", 12.3), ("me", 7.0)]  # fmt: skip


@pytest.mark.parametrize("come_again", [True, False])
def test_what_an_engine_that_was_killed_left_half_said_is_not_kept_if_its_blocks_come_again(come_again):
    spool = Spool()
    intake = Intake(spool, "me", lambda: None)
    intake.record(record.encode(call()))
    intake.checkpoint(3, record.encode(call()))
    intake.end(come_again=come_again)
    assert len(spool.rows) == (0 if come_again else 2)
