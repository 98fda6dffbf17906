"""The store: records in, exactly once; calls out. Synchronous; one thread owns it.

Rows and the link's cursor are written in one transaction, so what was acknowledged is what was committed.
"""

import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from voipfleet.calls.record import CallRecord
from voipfleet.central import facts, faults, keeping, kpi, migrate, registry, schema
from voipfleet.central.conditions import Query
from voipfleet.central.faults import StoreUnavailable
from voipfleet.central.registry import Registry, Seen
from voipfleet.central.search import SECONDS, Order, Page, Search
from voipfleet.central.url import place
from voipfleet.central.writing import Peer, Writing
from voipfleet.records.messages import Ack, Batch

log = logging.getLogger("voipfleet.central")
_TRIES = 5
TIMEOUT = 60  # seconds for one answer of the server; without it, a server that vanished would be waited for for ever


class Store:
    """`url` is a SQLAlchemy URL. Every method may raise StoreUnavailable and can then be called again."""

    def __init__(self, url: sa.URL):
        self._place = place(url)
        self._sqlite = url.get_backend_name() == "sqlite"
        limits = {} if self._sqlite else {"read_timeout": TIMEOUT, "write_timeout": TIMEOUT}
        self._engine = sa.create_engine(url, pool_pre_ping=not self._sqlite, connect_args=limits)
        self.store_uuid = b""
        dialect = sqlite.dialect(paramstyle="named") if self._sqlite else self._engine.dialect
        self._writing = Writing(dialect, self._sqlite)
        self._registry, self._rhythms = Registry(self._sqlite), {}
        if self._sqlite:
            sa.event.listen(self._engine, "connect", _sqlite_pragmas)
            sa.event.listen(self._engine, "begin", _sqlite_begin)

    @property
    def counters(self) -> dict[str, int]:
        return self._writing.counters

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
        """`ingest_all` of one batch."""
        return self.ingest_all([(peer, batch)])[0]

    def ingest_all(self, batches: list[tuple[Peer, Batch]]) -> list[Ack]:
        """Commit the batches (what is new of them) and their cursors in one transaction; a conflict is tried again."""
        with self._guard():
            for attempt in range(_TRIES):
                try:
                    with self._engine.begin() as connection:
                        return self._writing.ingest(connection, batches)
                except DBAPIError as error:
                    if not faults.is_conflict(error) or attempt == _TRIES - 1:
                        raise
                    time.sleep(random.uniform(0, 0.1 * 2**attempt))
        raise AssertionError("unreachable")

    def bind_key(self, sensor_uuid: bytes, public: bytes, may_replace: Callable[[bytes], bool]) -> bool:
        """Bind a sensor's uuid to its static key at first use; False where it is bound to another that must stay."""
        table, key = schema.sensors, public.hex()
        with self._guard(), self._engine.begin() as connection:
            self._writing.register(connection, sensor_uuid)
            query = sa.select(table.c.key).where(table.c.uuid == sensor_uuid)
            bound = connection.execute(query).scalar_one()
            if bound != key and (not bound or may_replace(bytes.fromhex(bound))):
                connection.execute(table.update().where(table.c.uuid == sensor_uuid).values(key=key))
                bound = key
            return bound == key

    def seen(self, told: list[tuple]) -> None:
        """Keep what sensors say of themselves: (peer, status), and as voipfleet.central.registry.Seen has it: the host
        behind which it stands, and since when it is connected (ns)."""
        with self._guard(), self._engine.begin() as connection:
            self._registry.seen(connection, [Seen(*one) for one in told], self._writing.register)

    def sensors(self) -> list[dict]:
        """Every sensor that ever connected, as voipfleet.central.registry.sensors says."""
        with self._asking() as connection:
            return registry.sensors(connection, rhythms=self._rhythms)

    def known(self) -> list[tuple[bytes, str, int, bool]]:
        """(uuid, name, ns when it was last heard of, whether it has had a connection of its own) of every sensor that
        ever connected, here or to a host that told of it."""
        table = schema.sensors
        with self._asking() as connection:
            query = sa.select(table.c.uuid, table.c.name, table.c.last_seen, table.c.key).order_by(table.c.last_seen)
            return [(uuid, name, last, bool(key)) for uuid, name, last, key in connection.execute(query)]

    def forget(self, name: str) -> int:
        """Remove a sensor from that list; how many were of that name."""
        with self._guard(), self._engine.begin() as connection:
            return registry.forget(connection, name)

    def history(self, name: str, since: int = 0) -> list[dict]:
        """What a sensor said of itself, a row a minute, from `since` (ns) on."""
        with self._asking() as connection:
            return registry.history(connection, name, since)

    def find_call(self, text: str) -> tuple[CallRecord, list[tuple[bytes, bytes]]] | None:
        """The call of this uuid (hex) or Call-ID (its newest), and what it was made of: (uuid, uuid of the sensor that
        sent it) each; None where there is none."""
        with self._asking() as connection:
            return keeping.find(connection, text)

    def parts_of(self, uuid: bytes) -> list[tuple[bytes, bytes]]:
        """What the call of this uuid was made of, as find_call() says; empty where there is none."""
        with self._asking() as connection:
            return keeping.parts_of(connection, uuid)

    def hold(self, uuid: bytes, who: str, why: str) -> None:
        """Keep a call against retention and erasure. VoipfleetError where it is not here."""
        with self._guard(), self._engine.begin() as connection:
            keeping.hold(connection, uuid, who, why, self._sqlite)

    def release(self, uuid: bytes) -> None:
        """End its hold. VoipfleetError where it has none."""
        with self._guard(), self._engine.begin() as connection:
            keeping.release(connection, uuid)

    def erase(self, uuid: bytes | None = None, number: str | None = None) -> list[tuple[bytes, bytes]]:
        """Remove a call, or everything of a number, for good; what it was made of, as find_call() says. VoipfleetError
        where a hold forbids it: then nothing is erased."""
        with self._guard(), self._engine.begin() as connection:
            return keeping.erase(connection, uuid, number, self._sqlite)

    def search(self, query: Query, order: Order, limit: int = 100, seconds: float = SECONDS) -> Page:
        """A page of the calls that a query takes, as voipfleet.central.search says; `limit` 0: all of them."""
        with self._asking() as connection:
            return Search(connection, query, order, limit, seconds).page()

    def calls(self, *, limit: int = 0, method: str = "INVITE") -> list[CallRecord]:
        """Calls (with method REGISTER: registrations), oldest first; the newest `limit` (0: all).

        Streams of no call are among the calls, with method RTP.
        """
        query = Query(kind=facts.REGISTRATIONS if method == "REGISTER" else facts.INVITES)
        return self.search(query, Order(), limit).calls[::-1]

    def figures(self, query: Query, by: str) -> list[dict]:
        """Key figures of these calls, as voipfleet.central.kpi says."""
        with self._asking() as connection:
            return kpi.figures(connection, query, by)

    def close(self) -> None:
        self._engine.dispose()

    # -- inside --------------------------------------------------------------------------------------

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
    def _asking(self) -> Iterator[sa.Connection]:
        """A connection that reads from a database of this release's schema."""
        with self._guard(), self._read() as connection:
            migrate.check(connection, self._place)
            yield connection

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
