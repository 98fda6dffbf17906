"""The store on SQLite: exactly once, newer revisions only, poison rows aside, all in one transaction."""

import os

import msgspec
import pytest
import sqlalchemy as sa
from support.records import EPOCH, call, count, row
from voipfleet.central import schema
from voipfleet.central.store import Peer, Store, StoreUnavailable
from voipfleet.records.messages import CALL, GAP, PROBE, Batch, GapRecord, Row, Status

PEER = Peer(sensor_uuid=b"s" * 16, name="branch1", key="ab", address="127.0.0.1")


def test_a_batch_is_stored_once_however_often_it_comes(store):
    batch = Batch(EPOCH, [row(seq, call()) for seq in range(1, 6)])
    assert store.ingest(PEER, batch).through_seq == 5
    assert store.ingest(PEER, batch).through_seq == 5
    assert store.ingest(PEER, Batch(b"f" * 16, batch.rows)).through_seq == 5  # another epoch: uuids decide
    assert count(store, schema.calls) == 5
    assert store.cursor(PEER.sensor_uuid) == (b"f" * 16, 5, batch.rows[-1].uuid)


def test_an_overlapping_batch_adds_what_is_new(store):
    rows = [row(seq, call()) for seq in range(1, 8)]
    store.ingest(PEER, Batch(EPOCH, rows[:4]))
    assert store.ingest(PEER, Batch(EPOCH, rows[2:])).through_seq == 7
    assert count(store, schema.calls) == 7


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_only_a_greater_revision_replaces(store, order):
    uuid = os.urandom(16)
    for seq, revision in enumerate(order, 1):
        store.ingest(PEER, Batch(EPOCH, [row(seq, call(uuid, revision, callee=f"r{revision}"))]))
    (stored,) = store.calls()
    assert (stored.revision, stored.callee) == (2, "r2")


def test_a_poison_row_is_kept_aside_and_the_rest_stored(store):
    bad = Row(2, b"p" * 16, 1, CALL, b"\xc1 not msgpack")
    far = call(setup_time=2**63 - 1)  # no calendar has that day
    batch = Batch(EPOCH, [row(1, call()), bad, row(3, far), row(4, call())])
    assert store.ingest(PEER, batch).through_seq == 4
    assert count(store, schema.calls) + count(store, schema.quarantine) == 4
    assert count(store, schema.quarantine) >= 1


def test_a_row_that_the_database_refuses_is_found_by_halving(store):
    with store._engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON calls WHEN new.caller = 'poison'"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    rows = [row(seq, call(caller="poison" if seq == 37 else "ok")) for seq in range(1, 101)]
    assert store.ingest(PEER, Batch(EPOCH, rows)).through_seq == 100
    assert (count(store, schema.calls), count(store, schema.quarantine)) == (99, 1)


def test_odd_text_is_stored_and_comes_back_whole(store):
    odd = "x" * 1000 + "\0'; DROP TABLE calls; --\x1b[31m\ud800".encode("utf-8", "replace").decode()
    store.ingest(PEER, Batch(EPOCH, [row(1, call(caller=odd))]))
    assert store.calls()[0].caller == odd


def test_probe_and_gap_are_not_calls(store):
    gap = msgspec.msgpack.encode(GapRecord(5, 9, 5, "outbox full", 1))
    batch = Batch(EPOCH, [Row(1, b"q" * 16, 1, PROBE, b""), Row(2, b"g" * 16, 1, GAP, gap)])
    assert store.ingest(PEER, batch).through_seq == 2
    assert store.calls() == []
    assert count(store, schema.gaps) == 1


def test_a_gap_that_grew_is_the_same_gap(store):
    for seq, number in ((1, 5), (2, 9), (3, 7)):
        gap = msgspec.msgpack.encode(GapRecord(5, 4 + number, number, "outbox full", 1))
        store.ingest(PEER, Batch(EPOCH, [Row(seq, b"g" * 16, seq, GAP, gap)]))
    with store._engine.connect() as connection:
        assert connection.execute(sa.select(schema.gaps.c.count, schema.gaps.c.to_seq)).all() == [(9, 13)]


def test_a_key_is_bound_at_first_use(store):
    def never(old):
        return False

    assert store.bind_key(b"n" * 16, b"k" * 32, never)
    assert store.bind_key(b"n" * 16, b"k" * 32, never)
    assert not store.bind_key(b"n" * 16, b"o" * 32, never)
    assert store.bind_key(b"n" * 16, b"o" * 32, lambda old: old == b"k" * 32)
    assert not store.bind_key(b"n" * 16, b"k" * 32, never)


def test_who_came_himself_is_known_apart_from_who_was_told_of(store):
    status = Status("branch1", 7, "0.1.0", "capture", "north", 1, {})
    assert store.bind_key(b"n" * 16, b"k" * 32, lambda old: False)
    store.seen([(Peer(b"n" * 16, "branch1", "", ""), status), (Peer(b"o" * 16, "branch2", "", ""), status, "relay", 1)])
    found = {(uuid, name, came) for uuid, name, _, came in store.known()}
    assert found == {(b"n" * 16, "branch1", True), (b"o" * 16, "branch2", False)}


def test_a_sensor_is_registered_by_what_it_says(store):
    other = Peer(b"o" * 16, "branch2", "", "10.0.0.2")
    status = Status("branch1", 7, "0.1.0", "capture", "north", 1, {"calls_active": 2})
    store.seen([(PEER, status), (other, Status("branch2", 8, "0.1.0", "", "", 1, {}))])
    with store._engine.connect() as connection:
        found, second = connection.execute(sa.select(schema.sensors).order_by(schema.sensors.c.name))
    assert (second.name, second.address, second.sensor_id) == ("branch2", "10.0.0.2", 8)
    assert (found.name, found.sensor_id, found.site, found.counters) == ("branch1", 7, "north", '{"calls_active": 2}')


def test_the_newest_calls_come_the_oldest_first(store):
    store.ingest(PEER, Batch(EPOCH, [row(n, call(call_id=str(n), setup_time=n)) for n in range(1, 5)]))
    assert [found.call_id for found in store.calls()] == ["1", "2", "3", "4"]
    assert [found.call_id for found in store.calls(limit=2)] == ["3", "4"]


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path):
    store = Store(sa.make_url(f"sqlite:///{tmp_path}/no/calls.db"))
    with pytest.raises(StoreUnavailable, match=r"no/calls.db\): unable to open database file; check that it runs"):
        store.prepare()


def test_no_server_is_a_sentence_without_the_password():
    store = Store(sa.make_url("mysql+pymysql://u:topsecretpassword@127.0.0.1:1/voipfleet"))
    with pytest.raises(StoreUnavailable) as error:
        store.prepare()
    assert "127.0.0.1, database voipfleet" in str(error.value)
    assert "topsecret" not in str(error.value)


def test_a_database_of_the_first_release_gets_the_column_and_its_calls_are_calls(tmp_path):
    place = sa.make_url(f"sqlite:///{tmp_path}/calls.db")
    made = Store(place)
    made.prepare()
    made.ingest(PEER, Batch(EPOCH, [row(1, call(call_id="old"))]))
    with made._engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE calls DROP COLUMN method"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    made.close()
    made = Store(place)
    made.prepare()
    made.ingest(PEER, Batch(EPOCH, [row(2, call(call_id="phone", method="REGISTER"))]))
    assert [found.call_id for found in made.calls()] == ["old"]
    assert [found.call_id for found in made.calls(method="REGISTER")] == ["phone"]
    made.close()
