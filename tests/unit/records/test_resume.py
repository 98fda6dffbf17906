"""Where delivery goes on: the cases of two cursors that agree or do not."""

from voipfleet.records.messages import Welcome
from voipfleet.records.resume import Resume, Why, plan
from voipfleet.records.tables import OutboxState

E1, E2, U = b"1" * 16, b"2" * 16, b"u" * 16


def state(next_seq=11, acked=5, floor=1):
    return OutboxState(E1, next_seq, acked, floor, 0, 0, 0, 0)


def welcome(epoch, last, uuid=U):
    return Welcome(b"s", b"c", "hq", epoch, last, uuid)


def test_a_new_outbox_at_a_store_that_never_saw_it():
    assert plan(state(acked=0), None, welcome(b"", 0)) == Resume(0, Why.CONTINUE)


def test_the_store_has_what_we_think():
    assert plan(state(), U, welcome(E1, 5)) == Resume(5, Why.CONTINUE)


def test_an_acknowledgement_was_lost():
    assert plan(state(), U, welcome(E1, 8)) == Resume(8, Why.CONTINUE)


def test_the_store_was_restored_from_a_backup():
    assert plan(state(), U, welcome(E1, 3)) == Resume(3, Why.REPLAY)
    assert plan(state(floor=5), None, welcome(E1, 3)) == Resume(4, Why.REPLAY, gone=(4, 4))
    assert plan(state(), None, welcome(b"", 0)) == Resume(0, Why.REPLAY)
    assert plan(state(), None, welcome(E2, 77)) == Resume(0, Why.REPLAY)


def test_the_sensor_was_rolled_back():
    assert plan(state(), None, welcome(E1, 11)) == Resume(0, Why.ROLLED_BACK)
    assert plan(state(), b"x" * 16, welcome(E1, 8)) == Resume(0, Why.ROLLED_BACK)
