"""What a faulty or hostile sensor may send: its rows are put aside or cut, and nothing blocks it or the others."""

import os

import msgspec
import pytest
import sqlalchemy as sa
from support.records import DAY, EPOCH, NOON, call, count, row
from voipfleet import filters
from voipfleet.calls import record
from voipfleet.calls.record import StreamRecord
from voipfleet.central import schema, search
from voipfleet.central.conditions import Query
from voipfleet.central.store import Peer
from voipfleet.records.messages import CALL, GAP, Batch, GapRecord, Row, Status

PEER = Peer(sensor_uuid=b"s" * 16, name="branch1", key="ab", address="127.0.0.1")


@pytest.mark.parametrize(
    "fields",
    [
        {"setup_time": 2**63}, {"answer_time": 2**64 - 1}, {"end_time": 2**63}, {"final_response": 2**63},
        {"revision": 2**63}, {"duration": float("nan")}, {"connect_duration": float("inf")},
        {"streams": [StreamRecord(direction="caller", src="", dst="", ssrc=1, lost=2**63)]},
        {"streams": [StreamRecord(direction="caller", src="", dst="", ssrc=1, lost=2**62)] * 4},
        {"streams": [StreamRecord(direction="callee", src="", dst="", ssrc=1, mos=float("-inf"))]},
    ],
)  # fmt: skip
def test_a_number_that_no_column_holds_is_put_aside(store, fields):
    bad = call(**fields)
    batch = Batch(EPOCH, [row(1, call()), Row(2, bad.uuid, 1, CALL, record.encode(bad)), row(3, call())])
    assert store.ingest(PEER, batch).through_seq == 3
    assert (count(store, schema.calls), count(store, schema.quarantine)) == (2, 1)


@pytest.mark.parametrize("odd", [b"\xed\xa0\x80", b"\xff", b"\xc0\x80"], ids=["surrogate", "no UTF-8", "overlong"])
def test_bytes_that_are_no_text_are_put_aside(store, odd):
    good = call(caller="A" * len(odd))
    bad = Row(1, good.uuid, 1, CALL, record.encode(good).replace(b"A" * len(odd), odd))
    assert store.ingest(PEER, Batch(EPOCH, [bad, row(2, call())])).through_seq == 2
    assert (count(store, schema.calls), count(store, schema.quarantine)) == (1, 1)


@pytest.mark.parametrize("odd", ["\0", "\U0001f4de" * 300, "x" * 70_000, "' OR 1=1 --\\"])
def test_odd_text_is_stored_and_found_by_its_beginning(store, odd):
    store.ingest(PEER, Batch(EPOCH, [row(1, call(caller=odd, call_id=odd, site=odd))]))
    number = filters.Filter(number=filters.Number((filters.Pattern((odd.casefold(), "")),)))
    for query in (Query(call_id=odd), Query(number, site=odd)):
        assert [found.caller for found in store.search(query, search.Order()).calls] == [odd]


@pytest.mark.parametrize(
    "body",
    [
        msgspec.msgpack.encode(GapRecord(2**64 - 1, 1, 1, "", 1)), msgspec.msgpack.encode([1]), b"", b"\xc1",
        msgspec.msgpack.encode(GapRecord(1, 2, 2, "x" * 5000, -(2**63))),
    ],
)  # fmt: skip
def test_a_poison_gap_blocks_nobody(store, body):
    batch = Batch(EPOCH, [Row(1, b"g" * 16, 1, GAP, body), row(2, call())])
    assert store.ingest(PEER, batch).through_seq == 2
    assert (count(store, schema.calls), count(store, schema.gaps) + count(store, schema.quarantine)) == (1, 1)


def test_a_body_under_the_name_of_another_is_put_aside(store):
    """Who names a row decides what it replaces, so the two names must agree."""
    honest = call()
    store.ingest(PEER, Batch(EPOCH, [row(1, honest)]))
    forged = record.encode(call(honest.uuid, 9))
    rows = [Row(2, os.urandom(16), 9, CALL, forged), Row(3, honest.uuid, 8, CALL, forged)]
    assert store.ingest(PEER, Batch(EPOCH, rows)).through_seq == 3
    assert [found.revision for found in store.calls()] == [1]
    assert count(store, schema.quarantine) == 2


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("revisions", [(1, 2), (2, 1), (1, 1)])
def test_a_call_keeps_the_day_that_it_was_first_stored_under(store, revisions, together):
    """The key has the day in it: another day must not make a second row of the call."""
    uuid = os.urandom(16)
    rows = [row(seq, call(uuid, revision, setup_time=NOON + seq * DAY)) for seq, revision in enumerate(revisions, 1)]
    for batch in [rows] if together else [[one] for one in rows]:
        store.ingest(PEER, Batch(EPOCH, batch))
    (stored,) = store.calls()
    assert stored.revision == max(revisions)
    with store._engine.connect() as connection:
        assert connection.execute(sa.select(schema.calls.c.day)).scalar_one().isoformat() == "2023-11-15"


@pytest.mark.parametrize(
    "status",
    [
        Status("n", 2**64 - 1, "v", "m", "s", 1, {}), Status("n", -1, "v", "m", "s", 2**64 - 1, {}),
        Status("n" * 9999, 1, "v" * 9999, "m" * 9999, "s" * 9999, 1, {"\0": 2**64 - 1}),
        Status("n", 1, "v", "m", "s", 1, {f"{number:04d}" + "\1" * 90: 2**63 for number in range(9000)}),
    ],
)  # fmt: skip
def test_a_status_beyond_all_measure_is_cut(store, status):
    store.seen([(PEER, status)])
    with store._engine.connect() as connection:
        found = connection.execute(sa.select(schema.sensors)).one()
    assert found.last_seen > 0
    assert len(found.counters.encode()) < 1 << 16


def test_a_batch_that_is_none_is_refused_before_the_store_sees_it():
    decode = msgspec.msgpack.Decoder(Batch).decode
    rows = [row(1, call())]
    assert decode(msgspec.msgpack.encode(Batch(EPOCH, rows))).rows == rows
    for bad in (Batch(b"e" * 17, rows), Batch(b"", rows), Batch(EPOCH, rows * 501)):
        with pytest.raises(msgspec.ValidationError):
            decode(msgspec.msgpack.encode(bad))
