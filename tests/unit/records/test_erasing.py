"""Erased calls are in no outbox any more, its books are what they were, and no byte of them is in its files."""

import pytest
from support.records import call
from voipfleet.calls import record
from voipfleet.records.messages import CALL, PROBE
from voipfleet.records.outbox import Outbox

NUMBER = "4930987654321"
OTHERS = ("100", f"{NUMBER}0", f"x{NUMBER}")


def filled(path) -> tuple[Outbox, list]:
    """With records of which two are of the number, one acknowledged, and a checkpoint each."""
    outbox = Outbox(path)
    calls = [call(caller=NUMBER), call(caller="1", callee=NUMBER), *(call(caller=other) for other in OTHERS)]
    outbox.append([(one.uuid, 1, CALL, record.encode(one)) for one in calls])
    outbox.acknowledge(1)
    up = [call(caller=NUMBER), call(caller="200")]
    outbox.append([], {}, {one.uuid: record.encode(one) for one in up})
    return outbox, calls + up


@pytest.mark.parametrize("by", ["number", "uuid"])
def test_it_is_gone_and_the_books_are_whole(tmp_path, by):
    outbox, calls = filled(tmp_path / "outbox.db")
    before = outbox.state()
    mine = {one.uuid for one in calls if NUMBER in (one.caller, one.callee)}
    assert len(mine) == 3 and outbox.erase(*((mine,) if by == "uuid" else ((), NUMBER))) == 3
    assert outbox.state() == before
    rows = outbox.read(0)
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5]
    assert [(row.kind, row.body) for row in rows[:2]] == [(PROBE, b"")] * 2
    assert [record.decode(row.body).caller for row in rows[2:]] == list(OTHERS)
    outbox.close()
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert files.count(NUMBER.encode()) == len(OTHERS) - 1  # those of which it is a part
    assert {row.kind for row in Outbox(tmp_path / "outbox.db").read(5)} == {CALL}  # of the checkpoint that is left


def test_what_nobody_knows_is_no_error(tmp_path):
    outbox, _ = filled(tmp_path / "outbox.db")
    assert outbox.erase([bytes(16)], "no such number") == 0
    assert outbox.erase(()) == 0
