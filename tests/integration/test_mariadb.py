"""The store on a real MariaDB: what SQLite cannot show."""

import itertools
import os
import threading

import msgspec
import pytest
import sqlalchemy as sa
from support.daemon import Daemon
from support.records import EPOCH, call, count, row
from voipfleet.central import schema
from voipfleet.central.store import Peer, Store, StoreUnavailable
from voipfleet.records.messages import CALL, GAP, PROBE, Batch, GapRecord, Row

_names = (f"v{number}" for number in itertools.count())


@pytest.fixture
def peer():
    return Peer(sensor_uuid=os.urandom(16), name="branch1", key="ab", address="10.0.0.1")


@pytest.fixture
def instance(mariadb_server, tmp_path):
    """A configuration whose database is ready."""
    name = next(_names)
    mariadb_server.database(name)
    made = Daemon(tmp_path, server_bind="127.0.0.1", mysqlhost=mariadb_server.socket, mysqldb=name, mysqluser=name)
    said = made.command("db", "migrate", "--user", "root")
    assert said.returncode == 0, said.stderr
    assert "from nothing" in said.stdout
    made.database = name
    return made


@pytest.fixture
def store(mariadb_server, instance):
    made = open_store(mariadb_server, instance.database)
    made.prepare()
    yield made
    made.close()


def open_store(mariadb_server, name: str) -> Store:
    return Store(sa.URL.create("mysql+pymysql", username=name, database=name,
                               query={"charset": "utf8mb4", "unix_socket": str(mariadb_server.socket)}))  # fmt: skip


def test_a_second_migration_has_nothing_to_do_and_check_needs_no_administrator(instance):
    assert "nothing to do" in instance.command("db", "migrate", "--user", "root").stdout
    said = instance.command("db", "check")
    assert (said.returncode, said.stderr) == (0, "")
    assert f"database {instance.database}): ready, schema" in said.stdout


def test_an_administrator_with_a_password(mariadb_server, instance, tmp_path):
    mariadb_server.sql(f"CREATE USER a_{instance.database}@localhost IDENTIFIED BY 'quite-secret-7';"
               f"GRANT ALL ON {instance.database}.* TO a_{instance.database}@localhost")  # fmt: skip
    (tmp_path / "pw").write_text("quite-secret-7\n")
    words = ("db", "migrate", "--user", f"a_{instance.database}", "--password-file")
    assert "nothing to do" in instance.command(*words, str(tmp_path / "pw")).stdout
    (tmp_path / "pw").write_text("wrong")
    said = instance.command(*words, str(tmp_path / "pw"))
    assert (said.returncode, "Access denied" in said.stderr, "wrong" in said.stderr) == (1, True, False)
    assert instance.command(*words, "/nowhere").returncode == 2


def test_what_the_daemons_user_may_not(store):
    with pytest.raises(sa.exc.OperationalError, match="command denied"), store._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE calls")


def test_exactly_once_and_newer_revisions_only(store, peer):
    rows = [row(seq, call()) for seq in range(1, 601)]
    assert store.ingest(peer, Batch(EPOCH, rows[:500])).through_seq == 500
    assert store.ingest(peer, Batch(EPOCH, rows[400:])).through_seq == 600
    assert store.ingest(peer, Batch(b"f" * 16, rows)).through_seq == 600
    assert count(store, schema.calls) == 600
    uuid = rows[0].uuid
    for seq, (revision, callee) in enumerate([(3, "three"), (2, "two"), (3, "three again")], 601):
        store.ingest(peer, Batch(b"f" * 16, [row(seq, call(uuid, revision, callee=callee))]))
    (stored,) = [found for found in store.calls() if found.uuid == uuid]
    assert (stored.revision, stored.callee) == (3, "three")
    assert count(store, schema.calls) == 600


def test_rows_that_no_column_holds_are_put_aside_and_block_nobody(store, peer):
    odd = "\U0001f4de x" * 100 + "\0'; DROP TABLE calls; --\x1b[31m"
    gap = GapRecord(1, 2**64 - 1, 2**64 - 1, "r" * 4000, 2**64 - 1)
    rows = [
        row(1, call(setup_time=2**63 + 5)), row(2, call(answer_time=2**64 - 1)), row(3, call(final_response=2**40)),
        row(4, call(duration=float("inf"))), Row(5, os.urandom(16), 1, CALL, b"\xc1"),
        Row(6, os.urandom(16), 1, GAP, msgspec.msgpack.encode(gap)), Row(7, os.urandom(16), 1, 99, b""),
        row(8, call(caller=odd, call_id=odd)), row(9, call(caller="plain")), Row(10, os.urandom(16), 1, PROBE, b""),
    ]  # fmt: skip
    assert store.ingest(peer, Batch(EPOCH, rows)).through_seq == 10
    assert {found.caller for found in store.calls()} >= {odd, "plain"}
    assert count(store, schema.calls) + count(store, schema.quarantine) == 9
    assert count(store, schema.calls) == 2


def test_a_deadlock_is_tried_again(mariadb_server, store, peer):
    """Another transaction holds the row that the batch ends with and wants the one that it begins with."""
    first, last = call(), call()
    store.ingest(peer, Batch(EPOCH, [row(1, first), row(2, last)]))
    other = open_store(mariadb_server, store._engine.url.database)
    ready, go, survived = threading.Event(), threading.Event(), []

    def hold():
        with other._engine.begin() as connection:
            table = schema.calls
            for _ in range(50):  # the heavier transaction survives a deadlock
                connection.execute(schema.meta.insert().values(name=os.urandom(8).hex(), value=b""))
            connection.execute(sa.select(table.c.uuid).where(table.c.uuid == last.uuid).with_for_update()).all()
            ready.set()
            go.wait(1)
            connection.execute(sa.select(table.c.uuid).where(table.c.uuid == first.uuid).with_for_update()).all()
        survived.append(True)

    holding = threading.Thread(target=hold)
    holding.start()
    assert ready.wait(10)
    newer = [row(3, call(first.uuid, 2, callee="new")), row(4, call(last.uuid, 2, callee="new"))]
    assert store.ingest(peer, Batch(EPOCH, newer)).through_seq == 4
    holding.join(10)
    other.close()
    assert "LATEST DETECTED DEADLOCK" in mariadb_server.sql("SHOW ENGINE INNODB STATUS")
    assert survived == [True]  # so it was the store that had to try again
    assert [found.callee for found in store.calls()] == ["new", "new"]
    assert count(store, schema.quarantine) == 0


def test_two_connections_of_one_sensor_take_turns(mariadb_server, store, peer):
    """Two centrals over one database are given the same rows at once: each row once, one cursor."""
    other = open_store(mariadb_server, store._engine.url.database)
    rows = [row(seq, call()) for seq in range(1, 401)]
    acks = {}

    def feed(name, into):
        for at in range(0, 400, 20):
            acks[name] = into.ingest(peer, Batch(EPOCH, rows[at : at + 20]))

    threads = [threading.Thread(target=feed, args=pair) for pair in (("a", store), ("b", other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    other.close()
    assert {ack.through_seq for ack in acks.values()} == {400}
    assert count(store, schema.calls) == 400
    assert store.cursor(peer.sensor_uuid)[1] == 400


def test_a_server_that_dies_loses_nothing_that_was_acknowledged(mariadb_server, store, peer):
    store.ingest(peer, Batch(EPOCH, [row(seq, call()) for seq in range(1, 51)]))
    before = count(store, schema.calls)
    mariadb_server.kill()
    try:
        with pytest.raises(StoreUnavailable, match="start it, or correct mysqlhost"):
            store.ingest(peer, Batch(EPOCH, [row(51, call())]))
    finally:
        mariadb_server.start()
    assert count(store, schema.calls) == before
    assert store.ingest(peer, Batch(EPOCH, [row(51, call())])).through_seq == 51
