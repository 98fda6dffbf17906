"""The store: records in, exactly once; calls out. Synchronous; one thread owns it.

Rows and the link's cursor are written in one transaction, so what was acknowledged is what was committed.
"""

import contextlib
import logging
import random
import time
from collections.abc import Callable

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord
from voipfleet.central import faults, migrate, rows, schema
from voipfleet.central.faults import StoreUnavailable
from voipfleet.central.joins import Joins, Work, take_turn
from voipfleet.central.merging import RTP
from voipfleet.central.upsert import upsert
from voipfleet.central.url import place
from voipfleet.records.messages import CALL, GAP, PROBE, Ack, Batch, GapRecord, Row, Status

log = logging.getLogger("voipfleet.central")
_TRIES = 5
TIMEOUT = 60  # seconds for one answer of the server; without it, a server that vanished would be waited for for ever


class Peer(msgspec.Struct, frozen=True):
    """Who sent a batch: authenticated by the link. `key` is the fingerprint of its static key."""

    sensor_uuid: bytes
    name: str
    key: str
    address: str


class Store:
    """`url` is a SQLAlchemy URL. Every method may raise StoreUnavailable and can then be called again."""

    def __init__(self, url: sa.URL):
        self._place = place(url)
        self._sqlite = url.get_backend_name() == "sqlite"
        limits = {} if self._sqlite else {"read_timeout": TIMEOUT, "write_timeout": TIMEOUT}
        self._engine = sa.create_engine(url, pool_pre_ping=not self._sqlite, connect_args=limits)
        self.store_uuid = b""
        # What most time goes into, ready: the drivers take the values as they are.
        dialect = sqlite.dialect(paramstyle="named") if self._sqlite else self._engine.dialect
        self._insert = str(self._upsert(schema.calls, "revision").compile(dialect=dialect))
        if self._sqlite:
            sa.event.listen(self._engine, "connect", _sqlite_pragmas)
            sa.event.listen(self._engine, "begin", _sqlite_begin)

    def prepare(self, *, make: bool = True) -> None:
        """Check the schema and the server's settings; `make`: where it is SQLite, bring the schema up to date first."""
        with self._guard():
            if self._sqlite and make:
                migrate.upgrade(self._engine, self._place)
            with self._read() as connection:
                migrate.check(connection, self._place)
                if not self._sqlite:
                    self._check_server(connection)
                query = sa.select(schema.meta.c.value).where(schema.meta.c.name == "store_uuid")
                self.store_uuid = connection.execute(query).scalar_one()

    def cursor(self, sensor_uuid: bytes) -> tuple[bytes, int, bytes]:
        """(epoch, last sequence number, uuid at it) of a sensor; (b"", 0, b"") for one never seen."""
        table = schema.link_cursor
        query = sa.select(table.c.epoch, table.c.last_seq, table.c.last_uuid).where(table.c.sensor_uuid == sensor_uuid)
        with self._guard(), self._read() as connection:
            found = connection.execute(query).one_or_none()
        return tuple(found) if found else (b"", 0, b"")

    def ingest(self, peer: Peer, batch: Batch) -> Ack:
        """Commit the batch (what is new of it) and the cursor in one transaction; a conflict is tried again."""
        with self._guard():
            for attempt in range(_TRIES):
                try:
                    with self._engine.begin() as connection:
                        return self._ingest(connection, peer, batch)
                except DBAPIError as error:
                    if not faults.is_conflict(error) or attempt == _TRIES - 1:
                        raise
                    time.sleep(random.uniform(0, 0.1 * 2**attempt))
        raise AssertionError("unreachable")

    def bind_key(self, sensor_uuid: bytes, public: bytes, may_replace: Callable[[bytes], bool]) -> bool:
        """Bind a sensor's uuid to its static key at first use; False where it is bound to another that must stay."""
        table, key = schema.sensors, public.hex()
        with self._guard(), self._engine.begin() as connection:
            self._register(connection, sensor_uuid)
            query = sa.select(table.c.key).where(table.c.uuid == sensor_uuid)
            bound = connection.execute(query).scalar_one()
            if bound != key and (not bound or may_replace(bytes.fromhex(bound))):
                connection.execute(table.update().where(table.c.uuid == sensor_uuid).values(key=key))
                bound = key
            return bound == key

    def seen(self, told: list[tuple[Peer, Status]]) -> None:
        """Keep what sensors say of themselves."""
        now, table = time.time_ns(), schema.sensors
        found = [{"of": peer.sensor_uuid, "name": rows.clean(peer.name), "address": peer.address, "last_seen": now}
                 | rows.status_row(status) for peer, status in told]  # fmt: skip
        with self._guard(), self._engine.begin() as connection:
            for values in found:
                self._register(connection, values["of"])
            connection.execute(table.update().where(table.c.uuid == sa.bindparam("of")), found)

    def calls(
        self, *, since: int = 0, limit: int = 0, number: str = "", site: str = "", call_id: str = "",
        method: str = "INVITE",
    ) -> list[CallRecord]:  # fmt: skip
        """Calls (with method REGISTER: registrations) since `since` (ns), oldest first; the newest `limit` (0: all).

        Streams of no call are among the calls, with method RTP.
        """
        table = schema.calls
        methods = [method, RTP] if method == "INVITE" else [method]
        query = sa.select(table.c.body).where(table.c.setup_time >= since, table.c.method.in_(methods))
        if number:
            number = rows.clean(number)
            query = query.where(sa.or_(table.c.caller == number, table.c.callee == number))
        if site:
            site = rows.clean(site)
            query = query.where(sa.or_(table.c.site == site, table.c.sensor == site))
        if call_id:
            query = query.where(table.c.call_id == rows.clean(call_id))
        query = query.order_by(table.c.setup_time.desc(), table.c.uuid)
        with self._guard(), self._read() as connection:
            migrate.check(connection, self._place)
            bodies = connection.execute(query.limit(limit) if limit else query).scalars().all()
        return [record.decode(body) for body in reversed(bodies)]

    def close(self) -> None:
        self._engine.dispose()

    # -- inside --------------------------------------------------------------------------------------

    def _ingest(self, connection: sa.Connection, peer: Peer, batch: Batch) -> Ack:
        # The lock is what makes two connections of one sensor, at two centrals over one database, take turns.
        table = schema.link_cursor
        nothing = {"sensor_uuid": peer.sensor_uuid, "epoch": b"", "last_seq": 0, "last_uuid": b""}
        connection.execute(self._upsert(table, None), nothing)
        query = sa.select(table.c.epoch, table.c.last_seq, table.c.last_uuid)
        query = query.where(table.c.sensor_uuid == peer.sensor_uuid).with_for_update()
        epoch, last, uuid = connection.execute(query).one()
        done = last if epoch == batch.epoch else 0
        fresh = [row for row in batch.rows if row.seq > done]
        if not fresh:
            return Ack(batch.epoch, done, uuid)
        self._write(connection, peer, fresh)
        end = fresh[-1]
        values = {"sensor_uuid": peer.sensor_uuid, "epoch": batch.epoch, "last_seq": end.seq, "last_uuid": end.uuid}
        connection.execute(self._upsert(table, None, replace=True), values)
        return Ack(batch.epoch, end.seq, end.uuid)

    def _write(self, connection: sa.Connection, peer: Peer, fresh: list[Row]) -> None:
        found = []
        for row in fresh:
            try:
                if row.kind == CALL:
                    call, body = rows.read(row, peer.name)
                    found.append((row, call, rows.columns(call, body) | {"origin": peer.sensor_uuid}))
                elif row.kind == PROBE:
                    self._probe(connection, peer)
                elif row.kind == GAP:
                    self._gap(connection, peer, row)
                else:
                    raise ValueError(f"rows of kind {row.kind} are not known to this release")
            except (ValueError, msgspec.MsgspecError, OverflowError) as error:
                self._quarantine(connection, peer, row, error)
        if found:
            self._write_calls(connection, peer, found)

    def _write_calls(self, connection: sa.Connection, peer: Peer, found: list[tuple[Row, CallRecord, dict]]) -> None:
        """Each into a row of its own, then together what belongs together; a newer revision of a part to its part."""
        joins = Joins(connection, self._upsert, take_turn(connection))
        uuids = [row.uuid for row, _, _ in found]
        parts = joins.known(uuids)
        table = schema.calls
        query = sa.select(table.c.uuid, table.c.day, table.c.origin).where(table.c.uuid.in_(uuids))
        there = {uuid: (day, origin) for uuid, day, origin in connection.execute(query)}
        fresh, revised = [], {}
        for row, call, values in found:
            # A call stays under the day that it was first stored under: another one would make a second row of it.
            values["day"], sender = there.setdefault(row.uuid, (values["day"], peer.sensor_uuid))
            revision, sender = parts.get(row.uuid, (-1, sender))
            if sender and sender != peer.sensor_uuid:
                self._quarantine(connection, peer, row, ValueError("another sensor has sent a record of this name"))
            elif row.uuid not in parts:
                fresh.append((row, call, values))
            elif row.revision > revision:
                parts[row.uuid] = row.revision, sender
                revised[row.uuid] = row, call
        related = joins.same_call([call for _, call, _ in fresh], peer.sensor_uuid)
        self._insert_calls(connection, peer, [(row, values) for row, _, values in fresh])
        streams = {call.uuid for _, call, _ in fresh if call.method == RTP}
        calls = {call.uuid for _, call, _ in fresh if call.method == "INVITE"} if joins.active or streams else set()
        if related or revised or streams or calls:
            self._join(connection, peer, joins.state, Work(related, revised, streams, calls))

    def _join(self, connection: sa.Connection, peer: Peer, state: bytes, work: Work) -> bytes:
        """All at once; where the database refuses, one by one, and what it refuses stays a row of its own."""
        joins = Joins(connection, self._upsert, state)
        try:
            with connection.begin_nested():
                joins.join(work, peer.sensor_uuid)
            return joins.state
        except (SQLAlchemyError, ValueError, OverflowError) as error:
            faults.raise_unless_of_the_row(error)
            if len(single := work.single()) > 1:
                for one in single:
                    state = self._join(connection, peer, state, one)
            for row, _ in work.revised.values() if len(single) == 1 else ():
                self._quarantine(connection, peer, row, error)
            if len(single) == 1:
                log.warning("a record of %s is not joined with others (%s)", peer.name, rows.clean(str(error)))
            return state

    def _insert_calls(self, connection: sa.Connection, peer: Peer, found: list[tuple[Row, dict]]) -> None:
        """All at once; where the database refuses, halves, until the one row that it refuses is alone."""
        if not found:
            return
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(self._insert, [values | {"day": str(values["day"])} for _, values in found])
        except (SQLAlchemyError, OverflowError) as error:
            faults.raise_unless_of_the_row(error)
            if len(found) == 1:
                self._quarantine(connection, peer, found[0][0], error)
                return
            half = len(found) // 2
            self._insert_calls(connection, peer, found[:half])
            self._insert_calls(connection, peer, found[half:])

    def _quarantine(self, connection: sa.Connection, peer: Peer, row: Row, error: Exception) -> None:
        why = rows.clean(str(getattr(error, "orig", None) or error))
        log.error("a record of %s cannot be stored (%s); it is kept in table cdr_quarantine", peer.name, why)
        connection.execute(
            self._upsert(schema.quarantine, None),
            {"uuid": row.uuid[:16], "revision": row.revision, "sensor_uuid": peer.sensor_uuid,
             "received": time.time_ns(), "error": why, "body": row.body},
        )  # fmt: skip

    def _gap(self, connection: sa.Connection, peer: Peer, row: Row) -> None:
        gap = msgspec.msgpack.decode(row.body, type=GapRecord)
        values = msgspec.structs.asdict(gap) | {"uuid": row.uuid, "sensor_uuid": peer.sensor_uuid}
        try:
            with connection.begin_nested():
                connection.execute(self._upsert(schema.gaps, None), values | {"reason": rows.clean(gap.reason)})
        except (SQLAlchemyError, OverflowError) as error:
            faults.raise_unless_of_the_row(error)
            self._quarantine(connection, peer, row, error)

    def _probe(self, connection: sa.Connection, peer: Peer) -> None:
        self._register(connection, peer.sensor_uuid)
        table = schema.sensors
        connection.execute(table.update().where(table.c.uuid == peer.sensor_uuid).values(last_probe=time.time_ns()))

    def _register(self, connection: sa.Connection, sensor_uuid: bytes) -> None:
        empty = {column.name: "" for column in schema.sensors.c if isinstance(column.type, sa.String)}
        numbers = {"sensor_id": 0, "started": 0, "last_seen": 0, "last_probe": 0}
        connection.execute(
            self._upsert(schema.sensors, None), {"uuid": sensor_uuid, **empty, **numbers, "counters": "{}"}
        )

    def _upsert(self, table: sa.Table, newer: str | None = None, *, replace: bool = False) -> sa.Insert:
        return upsert(table, self._sqlite, newer, replace=replace)

    def _check_server(self, connection: sa.Connection) -> None:
        query = sa.text("SELECT @@SESSION.sql_mode, @@innodb_flush_log_at_trx_commit, @@max_allowed_packet")
        mode, flush, packet = connection.execute(query).one()
        if "STRICT_TRANS_TABLES" not in mode and "STRICT_ALL_TABLES" not in mode:
            raise StoreUnavailable(f"database ({self._place}): sql_mode lacks STRICT_TRANS_TABLES, values would be cut"
                                   " in silence; set it on the server")  # fmt: skip
        if packet < 16 << 20:
            raise StoreUnavailable(f"database ({self._place}): max_allowed_packet is {packet}; set at least 16M")
        if flush != 1:
            log.warning("database: innodb_flush_log_at_trx_commit is %d; acknowledged records can be lost with power",
                        flush)  # fmt: skip

    def _read(self) -> sa.Connection:
        return self._engine.connect().execution_options(reading=True)

    @contextlib.contextmanager
    def _guard(self):
        try:
            yield
        except StoreUnavailable:
            raise
        except SQLAlchemyError as error:
            raise StoreUnavailable(faults.sentence(self._place, error)) from None


def _sqlite_begin(connection: sa.Connection) -> None:
    # Who will write says so at once: a lock that a reader must first turn into a writer's can fail.
    reading = connection.get_execution_options().get("reading")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _sqlite_pragmas(connection, _) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would come too late for savepoints
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=5000")
