"""The store on a real MariaDB, second part: transactions, keys, conflicts, reading back, migrations."""

import itertools
import os
import threading

import pytest
import sqlalchemy as sa
from support.daemon import Daemon
from support.records import DAY, EPOCH, NOON, call, count, row
from voipfleet import filters
from voipfleet.central import migrate, schema, search
from voipfleet.central.conditions import Query
from voipfleet.central.store import Peer, Store, StoreUnavailable
from voipfleet.filters import Filter
from voipfleet.records.messages import Batch, Status

_names = (f"w{number}" for number in itertools.count())


@pytest.fixture
def peer():
    return Peer(sensor_uuid=os.urandom(16), name="branch1", key="ab", address="10.0.0.1")


@pytest.fixture
def database(mariadb_server):
    """The name of an empty database and of its user."""
    name = next(_names)
    mariadb_server.database(name)
    return name


@pytest.fixture
def store(mariadb_server, database):
    administrator = sa.create_engine(url(mariadb_server, database, "root"))
    migrate.upgrade(administrator, "here")
    administrator.dispose()
    made = Store(url(mariadb_server, database, database))
    made.prepare()
    yield made
    made.close()


def url(server, database: str, user: str) -> sa.URL:
    return sa.URL.create("mysql+pymysql", username=user, database=database,
                         query={"charset": "utf8mb4", "unix_socket": str(server.socket)})  # fmt: skip


def test_rows_and_cursor_are_committed_together_or_not_at_all(mariadb_server, database, store, peer):
    store.ingest(peer, Batch(EPOCH, [row(1, call())]))
    trigger = "BEFORE UPDATE ON link_cursor FOR EACH ROW SIGNAL SQLSTATE '58030' SET MESSAGE_TEXT = 'no space left'"
    mariadb_server.sql(f"CREATE TRIGGER full {trigger}", database)
    batch = Batch(EPOCH, [row(2, call()), row(3, call())])
    with pytest.raises(StoreUnavailable, match="no space left"):
        store.ingest(peer, batch)
    assert (count(store, schema.calls), store.cursor(peer.sensor_uuid)[1]) == (1, 1)
    mariadb_server.sql(f"DROP TRIGGER {database}.full")
    assert store.ingest(peer, batch).through_seq == 3
    assert (count(store, schema.calls), count(store, schema.quarantine)) == (3, 0)


@pytest.mark.parametrize("state", ["22003", "23000", "45000"])
def test_what_a_rule_of_the_administrator_refuses_is_put_aside(mariadb_server, database, store, peer, state):
    mariadb_server.sql(f"USE {database};\nDELIMITER ;;\nCREATE TRIGGER refuse BEFORE INSERT ON calls FOR EACH ROW BEGIN"
                       f" IF NEW.caller = 'poison' THEN SIGNAL SQLSTATE '{state}' SET MESSAGE_TEXT = 'refused';"
                       " END IF; END;;\n")  # fmt: skip
    rows = [row(seq, call(caller="poison" if seq in (3, 40) else "ok")) for seq in range(1, 51)]
    assert store.ingest(peer, Batch(EPOCH, rows)).through_seq == 50
    assert (count(store, schema.calls), count(store, schema.quarantine)) == (48, 2)


def test_a_constraint_of_the_administrator(mariadb_server, database, store, peer):
    mariadb_server.sql(f"ALTER TABLE {database}.calls ADD CONSTRAINT sane CHECK (duration < 100)")
    rows = [row(1, call(duration=101.0)), row(2, call())]
    assert store.ingest(peer, Batch(EPOCH, rows)).through_seq == 2
    assert (count(store, schema.calls), count(store, schema.quarantine)) == (1, 1)


def test_a_missing_right_puts_nothing_aside(mariadb_server, database, store, peer):
    mariadb_server.sql(f"REVOKE INSERT ON {database}.* FROM {database}@localhost")
    store.close()  # the server looks at rights on a database when a connection begins
    with pytest.raises(StoreUnavailable, match="INSERT command denied"):
        store.ingest(peer, Batch(EPOCH, [row(1, call())]))
    mariadb_server.sql(f"GRANT INSERT ON {database}.* TO {database}@localhost")
    store.close()
    assert store.ingest(peer, Batch(EPOCH, [row(1, call())])).through_seq == 1
    assert count(store, schema.quarantine) == 0


def test_a_row_that_changed_since_the_snapshot_is_tried_again(mariadb_server, database, store, peer):
    """MariaDB 11.6 and newer answer 1020 where older ones overwrite (innodb_snapshot_isolation)."""
    found = call()
    store.ingest(peer, Batch(EPOCH, [row(1, found)]))
    tries = []

    def meddle(connection, cursor, statement, *_):
        if statement.startswith("SAVEPOINT"):  # after the snapshot, before the rows
            tries.append(statement)
            if len(tries) == 1:  # an administrator: another central would wait for its turn
                mariadb_server.sql("UPDATE calls SET revision = 2", database)

    @sa.event.listens_for(store._engine, "connect")
    def _isolate(connection, _):
        connection.cursor().execute("SET SESSION innodb_snapshot_isolation = ON")

    store._engine.dispose()
    sa.event.listen(store._engine, "savepoint", lambda connection, name: meddle(connection, None, "SAVEPOINT"))
    assert store.ingest(peer, Batch(EPOCH, [row(2, call(found.uuid, 3))])).through_seq == 2
    assert len(tries) >= 2
    assert [stored.revision for stored in store.calls()] == [3]
    assert count(store, schema.quarantine) == 0


def test_a_lock_that_is_held_too_long_puts_nothing_aside(mariadb_server, database, store, peer):
    found = call()
    store.ingest(peer, Batch(EPOCH, [row(1, found)]))
    other = Store(url(mariadb_server, database, database))
    held, done = threading.Event(), threading.Event()

    def hold():
        with other._engine.begin() as connection:
            connection.execute(schema.calls.update().values(callee="held"))
            held.set()
            done.wait(3)  # longer than the server's innodb_lock_wait_timeout

    holding = threading.Thread(target=hold)
    holding.start()
    assert held.wait(10)
    assert store.ingest(peer, Batch(EPOCH, [row(2, call(found.uuid, 2, callee="new"))])).through_seq == 2
    done.set()
    holding.join(10)
    other.close()
    assert [stored.callee for stored in store.calls()] == ["new"]
    assert count(store, schema.quarantine) == 0


def test_the_day_is_the_utc_date_of_the_setup_and_stays(store, peer):
    midnight = NOON // DAY * DAY + DAY
    first, last, moved = call(setup_time=midnight), call(setup_time=midnight - 1), call(setup_time=midnight)
    later = call(moved.uuid, 2, setup_time=midnight - 5)
    store.ingest(peer, Batch(EPOCH, [row(1, first), row(2, last), row(3, moved)]))
    store.ingest(peer, Batch(EPOCH, [row(4, later)]))
    with store._engine.connect() as connection:
        days = {uuid: str(day) for uuid, day in connection.execute(sa.select(schema.calls.c.uuid, schema.calls.c.day))}
    assert days == {first.uuid: "2023-11-15", last.uuid: "2023-11-14", moved.uuid: "2023-11-15"}


def test_calls_come_back_whole_and_filtered(store, peer):
    rows = [
        call(caller="100", callee="200", setup_time=NOON, call_id="a@x", site="Lisbon", user_agent_caller="Ünïcode ☎"),
        call(caller="200", callee="300", setup_time=NOON + 1), call(caller="1000", callee="2000", setup_time=NOON + 2),
        call(caller="%", callee="_", setup_time=NOON + 3),
    ]  # fmt: skip
    store.ingest(peer, Batch(EPOCH, [row(seq, found) for seq, found in enumerate(rows, 1)]))
    for found in rows:
        found.sensor = "branch1"
    assert store.calls() == rows
    for wanted, said in (
        ([0, 1], number("200")), ([2], number("1000")), ([3], number("%")), ([0], Query(call_id="a@x")),
        ([0], Query(site="Lisbon")), ([0, 1, 2, 3], Query(site="branch1")), ([2, 3], Query(Filter(since=NOON + 2))),
    ):  # fmt: skip
        found = store.search(said, search.order("setup_time")).calls
        assert found == [rows[index] for index in wanted], said
    assert store.calls(limit=2) == rows[2:]


def number(text: str) -> Query:
    """This one, by whatever way."""
    return (
        Query(Filter(number=filters.Number((filters.Pattern((text,)),))))
        if text != "200"
        else Query(Filter(number=filters.number(text), until=NOON + 2))
    )


def test_a_status_beyond_all_measure_does_not_look_like_a_fault_of_the_database(store, peer):
    many = {f"{number:04d}" + "\1" * 90: 2**63 for number in range(999)}
    store.seen([(peer, Status("n" * 999, 2**64 - 1, "v" * 999, "m" * 999, "s" * 999, 2**64 - 1, many))])
    assert count(store, schema.sensors) == 1


def test_a_migration_that_was_cut_short_is_finished_by_the_next(mariadb_server, database, tmp_path):
    engine = sa.create_engine(url(mariadb_server, database, "root"))
    schema.metadata.create_all(engine, tables=[schema.calls, schema.meta])
    engine.dispose()
    made = Daemon(tmp_path, server_bind="127.0.0.1", mysqlhost=mariadb_server.socket, mysqldb=database,
                  mysqluser=database)  # fmt: skip
    said = made.command("db", "migrate", "--user", "root")
    assert (said.returncode, said.stderr) == (0, "")
    assert made.command("db", "check").returncode == 0


def test_a_server_that_no_longer_answers_is_not_waited_for_for_ever(mariadb_server, database, peer, store, monkeypatch):
    monkeypatch.setattr("voipfleet.central.store.TIMEOUT", 1)
    impatient = Store(url(mariadb_server, database, database))
    impatient.ingest(peer, Batch(EPOCH, [row(1, call())]))
    mariadb_server.pause()
    try:
        with pytest.raises(StoreUnavailable):
            impatient.ingest(peer, Batch(EPOCH, [row(2, call())]))
    finally:
        mariadb_server.resume()
    assert impatient.ingest(peer, Batch(EPOCH, [row(2, call())])).through_seq == 2
    impatient.close()


def test_calls_lie_in_the_order_of_arrival_and_can_be_partitioned_by_day(mariadb_server, database, store, peer):
    rows = [row(seq, call(setup_time=NOON + seq * DAY)) for seq in range(1, 4)]
    mariadb_server.sql("ALTER TABLE calls PARTITION BY RANGE COLUMNS(day) (PARTITION a VALUES LESS THAN ('2023-11-16'),"
                       " PARTITION b VALUES LESS THAN MAXVALUE)", database)  # fmt: skip
    store.ingest(peer, Batch(EPOCH, rows))
    store.ingest(peer, Batch(b"f" * 16, rows))
    assert "PRIMARY KEY (`id`,`day`)" in mariadb_server.sql("SHOW CREATE TABLE calls", database)
    assert len(store.calls()) == 3
