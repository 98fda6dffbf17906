"""A new database and one of an earlier release end the same; a migration that was cut short is finished by the next."""

import pytest
import sqlalchemy as sa
from support import schemas
from support.records import EPOCH, NOON, call, row
from voipfleet.calls import record
from voipfleet.central import facts, migrate, schema
from voipfleet.central.store import Peer, Store
from voipfleet.records.messages import Batch

PEER = Peer(b"s" * 16, "branch1", "", "10.0.0.1")
_OLD_ROW = ("INSERT INTO calls (uuid, day, revision, method, call_id, sensor, site, caller, callee, caller_domain,"
            " callee_domain, end_reason, hung_up_by, setup_time, answer_time, end_time, duration, connect_duration,"
            " final_response, one_way, partial, body) VALUES (:uuid, '2023-11-14', 1, 'INVITE', 'x', 's', '', '100',"
            " '', '', '', '', '', :at, 0, 0, 0, 0, 0, 0, 0, :body)")  # fmt: skip


@pytest.fixture
def engines(tmp_path):
    made = [sa.create_engine(f"sqlite:///{tmp_path}/{name}.db") for name in ("new", "old")]
    migrate.upgrade(made[0], "new")
    schemas.make(made[1], "0003")
    yield made
    for engine in made:
        engine.dispose()


def test_a_new_database_and_an_upgraded_one_end_the_same(engines):
    new, old = engines
    assert schemas.look(new) != schemas.look(old)
    migrate.upgrade(old, "old")
    assert schemas.look(new) == schemas.look(old)


def test_calls_of_before_are_found_and_what_was_done_is_not_done_again(engines):
    old = engines[1]
    found = [call(setup_time=NOON + n, pdd=0.25, final_response=486, src="192.0.2.7:5060") for n in range(7)]
    for one in found:
        one.streams[0].src = "192.0.2.9:4000"
    with old.begin() as connection:
        for one in found:
            connection.execute(sa.text(_OLD_ROW), {"uuid": one.uuid, "at": one.setup_time, "body": record.encode(one)})
        connection.execute(sa.text(_OLD_ROW), {"uuid": b"broken" * 2, "at": NOON, "body": b"\xc1"})
        connection.exec_driver_sql("CREATE TABLE erased (uuid BLOB NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (uuid))")
    migrate.upgrade(old, "old")
    with old.connect() as connection:
        kept = connection.execute(sa.select(schema.calls).where(schema.calls.c.pdd == 0.25)).mappings().all()
        assert connection.execute(sa.select(sa.func.count()).select_from(schema.addresses)).scalar_one() == 7
    assert {(one["kind"], one["verdict"] >> 8, one["mos"], one["caller_key"]) for one in kept} == {
        (0, 486, 4.2, b"100")
    }
    assert len(kept) == 7
    old.dispose()


def test_a_row_of_before_that_was_never_filled_in_is_no_call_that_is_lost(engines):
    """The oldest release keeps writing while the newest migrates: what it wrote is kept, and a revision fills it in."""
    new = engines[0]
    store = Store(new.url)
    one = call()
    store.prepare()
    store.ingest(PEER, Batch(EPOCH, [row(1, one)]))
    with new.begin() as connection:
        connection.execute(schema.calls.update().values(kind=-1))
    one.revision = 2
    store.ingest(PEER, Batch(EPOCH, [row(2, one)]))
    with new.connect() as connection:
        assert connection.execute(sa.select(schema.calls.c.kind)).scalars().all() == [facts.INVITES]
    store.close()


def test_narrow_indexes_of_before_become_wide(engines):
    new = engines[0]
    before = schemas.look(new)
    with new.begin() as connection:
        connection.exec_driver_sql("DROP INDEX calls_site")
        connection.exec_driver_sql("CREATE INDEX calls_site ON calls (kind, site, setup_time, verdict)")
        connection.exec_driver_sql("DROP INDEX calls_src_ip")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0004'")
    assert schemas.look(new) != before
    migrate.upgrade(new, "new")
    assert schemas.look(new) == before
