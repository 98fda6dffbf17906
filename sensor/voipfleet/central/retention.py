"""What has become too old goes: `voipfleet db maintain`, with the rights of an administrator where partitions are
dropped.

Calls go by whole days, on MariaDB by dropping partitions. A held call stays: before its partition is dropped it is
copied into `held_calls`, and then stored again, in the oldest partition that is left, where every search finds it as
before. That is done at every run until the hold is released, and can be cut short anywhere.
"""

import datetime
from collections.abc import Collection
from dataclasses import dataclass, field

import sqlalchemy as sa

from voipfleet.calls import record
from voipfleet.central import keeping, partitions, rows, schema
from voipfleet.central.upsert import upsert

CHUNK = 2_000  # rows of one transaction
_DAY = datetime.timedelta(days=1)
_NS = 86_400 * 1_000_000_000
LATE = 2  # days that parts are kept longer than calls: a part may be of the day before its call's


@dataclass
class Done:
    """What one run did."""

    made: int = 0  # partitions
    dropped: list[str] = field(default_factory=list)  # likewise
    removed: dict[str, int] = field(default_factory=dict)  # rows of each table
    held: int = 0  # calls that stayed though they are older

    def __str__(self) -> str:
        removed = ", ".join(f"{count:,} rows of {table}" for table, count in self.removed.items() if count)
        parts = [f"{self.made} partitions made", f"{len(self.dropped)} dropped" if self.dropped else "", removed and
                 f"{removed} removed", f"{self.held} calls are held" if self.held else ""]  # fmt: skip
        return "; ".join(filter(None, parts))


def maintain(engine: sa.Engine, days: int | None, history_days: int, today: datetime.date | None = None) -> Done:
    """`days`: for which calls and all that belongs to them are kept (None: for ever); likewise what sensors said."""
    today = today or datetime.datetime.now(datetime.UTC).date()
    done, on_sqlite = Done(), engine.dialect.name == "sqlite"
    if not on_sqlite:
        with engine.connect() as connection:
            partitions.prepare(connection, today)
            done.made = partitions.extend(connection, today)
    if days is not None:
        before = today - days * _DAY
        with engine.connect() as connection:
            if on_sqlite:
                done.held = len(_old_holds(connection, before))
            else:
                done.held = _keep_held(connection, before)
                done.dropped = partitions.drop(connection, before)
            _store_held(connection, on_sqlite)
            _remove_old(connection, before, on_sqlite, done)
    with engine.connect() as connection:
        table = schema.sensor_history
        oldest = _ns(today - history_days * _DAY) // 60_000_000_000
        done.removed[table.name] = _delete(connection, table, table.c.minute < oldest, on_sqlite)
    return done


def _ns(day: datetime.date) -> int:
    return (day - datetime.date(1970, 1, 1)).days * _NS


# -- held calls ----------------------------------------------------------------------------------


def _old_holds(connection: sa.Connection, before: datetime.date) -> list:
    table, held = schema.calls, keeping.held(connection)
    query = sa.select(table.c.uuid, table.c.day, table.c.origin, table.c.body)
    query = query.where(table.c.day < before, table.c.uuid.in_(sorted(held)))
    return connection.execute(query).mappings().all() if held else []


def _keep_held(connection: sa.Connection, before: datetime.date) -> int:
    """Copies of those whose partition is to be dropped; how many."""
    found = [dict(one) for one in _old_holds(connection, before)]
    if found:
        connection.execute(upsert(schema.held_calls, False, replace=True), found)
    connection.commit()
    return len(found)


def _store_held(connection: sa.Connection, on_sqlite: bool) -> None:
    """What was kept is a call again; what is no longer held, or was joined with another one meanwhile, is kept no
    more."""
    table, held = schema.held_calls, keeping.held(connection)
    for uuid, day, origin, body in connection.execute(sa.select(table)).all():
        if uuid not in held:
            connection.execute(table.delete().where(table.c.uuid == uuid))
            continue
        call = record.decode(body)
        values = rows.columns(call, body) | {"day": day, "origin": origin}
        connection.execute(upsert(schema.calls, on_sqlite, "revision"), values)
        if ends := rows.addresses(call, day):
            connection.execute(upsert(schema.addresses, on_sqlite), ends)
    connection.commit()


# -- by age --------------------------------------------------------------------------------------


def _remove_old(connection: sa.Connection, before: datetime.date, on_sqlite: bool, done: Done) -> None:
    held, removed = keeping.held(connection), done.removed
    if on_sqlite:
        for table in (schema.calls, schema.addresses):
            removed[table.name] = _delete(connection, table, sa.and_(
                table.c.day < before, table.c.uuid.not_in(sorted(held))), on_sqlite)  # fmt: skip
    removed["parts"] = _remove_parts(connection, before - LATE * _DAY, held)
    oldest = _ns(before)
    for table, old in ((schema.endpoints, schema.endpoints.c.first < oldest - LATE * _NS),
                       (schema.gaps, schema.gaps.c.at < oldest),
                       (schema.quarantine, schema.quarantine.c.received < oldest),
                       (schema.erased, schema.erased.c.at < oldest)):  # fmt: skip
        removed[table.name] = _delete(connection, table, old, on_sqlite)


def _remove_parts(connection: sa.Connection, before: datetime.date, held: Collection[bytes]) -> int:
    """Parts and what joins them, but those of held calls; how many parts."""
    parts, joins, count, after = schema.parts, schema.joins, 0, b""
    query = sa.select(parts.c.uuid).where(parts.c.day < before).order_by(parts.c.uuid).limit(CHUNK)
    while some := connection.execute(query.where(parts.c.uuid > after)).scalars().all():
        after = some[-1]
        needed = sa.select(joins.c.part).where(joins.c.part.in_(some), joins.c.call.in_(sorted(held)))
        gone = sorted(set(some) - set(connection.execute(needed).scalars())) if held else some
        connection.execute(joins.delete().where(joins.c.part.in_(gone)))
        count += connection.execute(parts.delete().where(parts.c.uuid.in_(gone))).rowcount
        connection.commit()
    return count


def _delete(connection: sa.Connection, table: sa.Table, which: sa.ColumnElement[bool], on_sqlite: bool) -> int:
    """In chunks, so that nobody waits for long."""
    if on_sqlite:
        count = connection.execute(table.delete().where(which)).rowcount
        connection.commit()
        return count
    count, some = 0, CHUNK
    statement = table.delete().where(which).with_dialect_options(mysql_limit=CHUNK)
    while some == CHUNK:
        some = connection.execute(statement).rowcount
        connection.commit()
        count += some
    return count
