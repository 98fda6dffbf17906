"""What one transaction does with batches: the cursors, the rows, what belongs together, what cannot be stored.

All batches that wait are written together, whoever sent them: a commit costs the same for one record as for a thousand.
"""

import datetime
import logging
import time

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from voipfleet.calls.record import CallRecord
from voipfleet.central import faults, partitions, rows, schema
from voipfleet.central.joins import Joins, Work, take_turn
from voipfleet.central.merging import RTP
from voipfleet.central.upsert import upsert
from voipfleet.records.messages import CALL, GAP, PROBE, Ack, Batch, GapRecord, Row

log = logging.getLogger("voipfleet.central")


class Peer(msgspec.Struct, frozen=True):
    """Who sent a batch: authenticated by the link. `key` is the fingerprint of its static key."""

    sensor_uuid: bytes
    name: str
    key: str
    address: str


class Writing:
    """Statements ready for one kind of database; `connection` is always in a transaction of the caller's."""

    def __init__(self, dialect: sa.Dialect, on_sqlite: bool):
        self._sqlite = on_sqlite
        self.counters = {"quarantined": 0, "gaps": 0, "skipped": 0}  # since the start; skipped: numbers that never came
        # What most time goes into, ready: the drivers take the values as they are.
        self._insert = str(self._upsert(schema.calls, "revision").compile(dialect=dialect))
        self._insert_addresses = str(self._upsert(schema.addresses).compile(dialect=dialect))
        self._cursor_there = self._upsert(schema.link_cursor)
        self._cursor_set = self._upsert(schema.link_cursor, replace=True)

    def ingest(self, connection: sa.Connection, batches: list[tuple[Peer, Batch]]) -> list[Ack]:
        """What is new of each batch is written, and its sensor's cursor set; the acknowledgements, in order."""
        # The lock is what makes two connections of one sensor, at two centrals over one database, take turns.
        table, sensors = schema.link_cursor, sorted({peer.sensor_uuid for peer, _ in batches})
        nothing = {"epoch": b"", "last_seq": 0, "last_uuid": b""}
        connection.execute(self._cursor_there, [{"sensor_uuid": sensor} | nothing for sensor in sensors])
        query = sa.select(table.c.sensor_uuid, table.c.epoch, table.c.last_seq, table.c.last_uuid)
        query = query.where(table.c.sensor_uuid.in_(sensors)).order_by(table.c.sensor_uuid).with_for_update()
        cursors = {sensor: tuple(cursor) for sensor, *cursor in connection.execute(query)}
        acks, fresh, moved = [], [], {}
        for peer, batch in batches:
            epoch, last, uuid = cursors[peer.sensor_uuid]
            done = last if epoch == batch.epoch else 0
            new = [row for row in batch.rows if row.seq > done]
            fresh += [(peer, row) for row in new]
            if new:
                self.counters["skipped"] += new[0].seq - done - 1 if done else 0
                done, uuid = new[-1].seq, new[-1].uuid
                moved[peer.sensor_uuid] = cursors[peer.sensor_uuid] = batch.epoch, done, uuid
            acks.append(Ack(batch.epoch, done, uuid))
        if fresh:
            self._write(connection, fresh)
            connection.execute(self._cursor_set, [
                {"sensor_uuid": sensor, "epoch": epoch, "last_seq": last, "last_uuid": uuid}
                for sensor, (epoch, last, uuid) in moved.items()
            ])  # fmt: skip
        return acks

    def register(self, connection: sa.Connection, sensor_uuid: bytes) -> None:
        """A row for the sensor, where there is none."""
        empty = {column.name: "" for column in schema.sensors.c if isinstance(column.type, sa.String)}
        numbers = {"sensor_id": 0, "started": 0, "last_seen": 0, "last_probe": 0}
        connection.execute(self._upsert(schema.sensors), {"uuid": sensor_uuid, **empty, **numbers, "counters": "{}"})

    def _write(self, connection: sa.Connection, fresh: list[tuple[Peer, Row]]) -> None:
        found = []
        for peer, row in fresh:
            try:
                if row.kind == CALL:
                    call, body = rows.read(row, peer.name)
                    found.append((peer, row, call, rows.columns(call, body) | {"origin": peer.sensor_uuid}))
                elif row.kind == PROBE:
                    self._probe(connection, peer)
                elif row.kind == GAP:
                    self._gap(connection, peer, row)
                else:
                    raise ValueError(f"rows of kind {row.kind} are not known to this release")
            except (ValueError, msgspec.MsgspecError, OverflowError) as error:
                self._quarantine(connection, peer, row, error)
        if found:
            self._write_calls(connection, found)

    def _write_calls(self, connection: sa.Connection, found: list[tuple[Peer, Row, CallRecord, dict]]) -> None:
        """Each into a row of its own, then together what belongs together; a newer revision of a part to its part."""
        state = take_turn(connection)
        found = self._not_erased(connection, found)
        days = {values["day"] for _, _, _, values in found}
        joins = Joins(connection, self._upsert, state, days)
        parts = joins.known([row.uuid for _, row, _, _ in found])
        there = self._there(connection, [row for _, row, _, _ in found if row.uuid not in parts], days)
        fresh, revised, peers = [], {}, {row.uuid: peer for peer, row, _, _ in found}
        for peer, row, call, values in found:
            # A call stays under the day that it was first stored under: another one would make a second row of it.
            values["day"], sender = there.setdefault(row.uuid, (values["day"], peer.sensor_uuid))
            revision, sender = parts.get(row.uuid, (-1, sender))
            if sender and sender != peer.sensor_uuid:
                self._quarantine(connection, peer, row, ValueError("another sensor has sent a record of this name"))
                continue
            peers[row.uuid] = peer
            if row.uuid not in parts:
                fresh.append((row, call, values | {"day": str(values["day"])}))
            elif row.revision > revision:
                parts[row.uuid] = row.revision, sender
                revised[row.uuid] = row, call
        self._insert_calls(connection, peers, fresh)
        origins = {uuid: peer.sensor_uuid for uuid, peer in peers.items()}
        related = joins.same_call([call for _, call, _ in fresh], origins)
        streams = {call.uuid for _, call, _ in fresh if call.method == RTP}
        calls = {call.uuid for _, call, _ in fresh if call.method == "INVITE"} if joins.active or streams else set()
        if related or revised or streams or calls:
            self._join(connection, peers, joins, Work(origins, related, revised, streams, calls))

    def _not_erased(self, connection: sa.Connection, found: list) -> list:
        """Without what was erased, in this turn or before: it must not come back."""
        table = schema.erased
        if not found or connection.execute(sa.select(table.c.uuid).limit(1)).first() is None:
            return found
        query = sa.select(table.c.uuid).where(table.c.uuid.in_([row.uuid for _, row, _, _ in found]))
        gone = set(connection.execute(query).scalars())
        return [one for one in found if one[1].uuid not in gone]

    def _there(self, connection: sa.Connection, asked: list[Row],
               days: set[datetime.date]) -> dict[bytes, tuple[datetime.date, bytes]]:  # fmt: skip
        """(day, origin) of those that have a row. What comes again has the day that it had; of a revision it may be
        any."""
        table, there = schema.calls, {}
        query = sa.select(table.c.uuid, table.c.day, table.c.origin)
        near = partitions.within(days, 1, 1)
        for uuids, where in (([row.uuid for row in asked], near),
                             ([row.uuid for row in asked if row.revision > 1], sa.true())):  # fmt: skip
            if uuids := [uuid for uuid in uuids if uuid not in there]:
                for uuid, day, origin in connection.execute(query.where(table.c.uuid.in_(uuids), where)):
                    there[uuid] = day, origin
        return there

    def _join(self, connection: sa.Connection, peers: dict[bytes, Peer], joins: Joins, work: Work) -> None:
        """All at once; where the database refuses, one by one, and what it refuses stays a row of its own."""
        state = joins.state
        try:
            with connection.begin_nested():
                joins.join(work)
        except (SQLAlchemyError, ValueError, OverflowError) as error:
            faults.raise_unless_of_the_row(error)
            joins.state = state
            if len(single := work.single()) > 1:
                for one in single:
                    self._join(connection, peers, joins, one)
            elif single:
                for row, _ in work.revised.values():
                    self._quarantine(connection, peers[row.uuid], row, error)
                log.warning("a record is not joined with others (%s)", rows.clean(str(error)))

    def _insert_calls(self, connection: sa.Connection, peers: dict[bytes, Peer],
                      found: list[tuple[Row, CallRecord, dict]]) -> None:  # fmt: skip
        """All at once; where the database refuses, halves, until the one row that it refuses is alone."""
        if not found:
            return
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(self._insert, [values for _, _, values in found])
                if ends := [end for _, call, values in found for end in rows.addresses(call, values["day"])]:
                    connection.exec_driver_sql(self._insert_addresses, ends)
        except (SQLAlchemyError, OverflowError) as error:
            faults.raise_unless_of_the_row(error)
            if len(found) == 1:
                row = found[0][0]
                self._quarantine(connection, peers[row.uuid], row, error)
                return
            half = len(found) // 2
            self._insert_calls(connection, peers, found[:half])
            self._insert_calls(connection, peers, found[half:])

    def _quarantine(self, connection: sa.Connection, peer: Peer, row: Row, error: Exception) -> None:
        self.counters["quarantined"] += 1
        why = rows.clean(str(getattr(error, "orig", None) or error))
        log.error("a record of %s cannot be stored (%s); it is kept in table cdr_quarantine", peer.name, why)
        connection.execute(
            self._upsert(schema.quarantine),
            {"uuid": row.uuid[:16], "revision": row.revision, "sensor_uuid": peer.sensor_uuid,
             "received": time.time_ns(), "error": why, "body": row.body},
        )  # fmt: skip

    def _gap(self, connection: sa.Connection, peer: Peer, row: Row) -> None:
        gap = msgspec.msgpack.decode(row.body, type=GapRecord)
        # A gap that grows before its acknowledgement came is sent again under its name.
        values = msgspec.structs.asdict(gap) | {"uuid": row.uuid, "sensor_uuid": peer.sensor_uuid}
        try:
            with connection.begin_nested():
                self.counters["gaps"] += gap.count
                connection.execute(self._upsert(schema.gaps, "count"), values | {"reason": rows.clean(gap.reason)})
        except (SQLAlchemyError, OverflowError) as error:
            faults.raise_unless_of_the_row(error)
            self._quarantine(connection, peer, row, error)

    def _probe(self, connection: sa.Connection, peer: Peer) -> None:
        self.register(connection, peer.sensor_uuid)
        table = schema.sensors
        connection.execute(table.update().where(table.c.uuid == peer.sensor_uuid).values(last_probe=time.time_ns()))

    def _upsert(self, table: sa.Table, newer: str | None = None, *, replace: bool = False) -> sa.Insert:
        return upsert(table, self._sqlite, newer, replace=replace)
