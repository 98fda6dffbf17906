"""Calls can be searched, are partitioned by day, held and erased; sensors have a history."""

import contextlib
import datetime

import msgspec
import sqlalchemy as sa
from alembic import op
from voipfleet.calls import record
from voipfleet.central import facts, partitions, rows, schema
from voipfleet.central.upsert import upsert

revision = "0004"
down_revision = "0003"

CHUNK = 2_000  # rows that are filled in at once
_NEW = (schema.addresses, schema.sensor_history, schema.holds, schema.held_calls, schema.erased)
_OLD = ("calls_setup_time", "calls_caller", "calls_callee")
_CHANGED = (schema.calls, schema.parts, schema.sensors, schema.endpoints)


def upgrade() -> None:
    """Able to run again, as 0002 says. Of calls of before, each is read once: about 5,000 a second."""
    connection = op.get_bind()
    schema.metadata.create_all(connection, tables=list(_NEW))
    for table in _CHANGED:
        there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
        for column in table.c:
            if column.name not in there:
                op.add_column(table.name, sa.Column(column.name, column.type, nullable=column.nullable,
                                                    server_default=column.server_default))  # fmt: skip
    for name in _OLD:
        if name in _indexes(connection, schema.calls):
            op.drop_index(name, "calls")
    if connection.dialect.name != "sqlite":
        _doubles(connection)
        partitions.prepare(connection, datetime.datetime.now(datetime.UTC).date())
    _fill_calls(connection)
    _fill_parts(connection)
    for table in _CHANGED:
        for index in table.indexes:
            if index.name not in _indexes(connection, table):
                index.create(connection)


def downgrade() -> None:
    """The columns that it filled in cannot be told from those of before."""
    raise NotImplementedError("go back by a backup of the database from before")


def _indexes(connection: sa.Connection, table: sa.Table) -> set[str]:
    return {index["name"] for index in sa.inspect(connection).get_indexes(table.name)}


def _doubles(connection: sa.Connection) -> None:
    """Real numbers of 53 bits; what they lost comes back from the records."""
    found = {column["name"]: column["type"] for column in sa.inspect(connection).get_columns("calls")}
    single = [name for name, kind in found.items() if isinstance(kind, sa.Float) and not isinstance(kind, sa.Double)]
    if single:
        changes = (f"MODIFY {name} DOUBLE {'NULL' if schema.calls.c[name].nullable else 'NOT NULL'}" for name in single)
        connection.exec_driver_sql(f"ALTER TABLE calls {', '.join(changes)}")


def _fill_calls(connection: sa.Connection) -> None:
    table, after = schema.calls, b""
    found = sa.select(table.c.uuid, table.c.day, table.c.method, table.c.body).order_by(table.c.uuid).limit(CHUNK)
    names = [*_names(), "duration", "connect_duration", "caller_mos", "callee_mos"]
    change = table.update().where(table.c.uuid == sa.bindparam("of"), table.c.day == sa.bindparam("on"))
    while some := connection.execute(found.where(table.c.uuid > after, table.c.kind == -1)).all():
        values, ends = [], []
        for uuid, day, method, body in some:
            one = {"of": uuid, "on": day}
            try:
                call = record.decode(body)
                full = rows.columns(call, body)
                ends += rows.addresses(call, day)
                values.append(one | {name: full[name] for name in names})
            except (ValueError, OverflowError, msgspec.MsgspecError):
                kind = {"INVITE": facts.INVITES, "REGISTER": facts.REGISTRATIONS}.get(method, facts.OTHERS)
                connection.execute(change.values(kind=kind), one)
        if values:
            connection.execute(change, values)
        if ends:
            connection.execute(upsert(schema.addresses, connection.dialect.name == "sqlite"), ends)
        _commit(connection)
        after = some[-1].uuid


def _names() -> list[str]:
    """The columns that this migration brings."""
    names = [column.name for column in schema.calls.c]
    return names[names.index("kind") :]


def _fill_parts(connection: sa.Connection) -> None:
    table, after = schema.parts, b""
    found = sa.select(table.c.uuid, table.c.body).order_by(table.c.uuid).limit(CHUNK)
    while some := connection.execute(found.where(table.c.uuid > after, table.c.day.is_(None))).all():
        for uuid, body in some:
            with contextlib.suppress(ValueError, OverflowError, msgspec.MsgspecError):
                change = table.update().where(table.c.uuid == uuid)
                connection.execute(change.values(day=rows.day_of(record.decode(body))))
        _commit(connection)
        after = some[-1].uuid


def _commit(connection: sa.Connection) -> None:
    """A table of years must not be one transaction. What was done need not be done again; on SQLite it is one."""
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql("COMMIT")
