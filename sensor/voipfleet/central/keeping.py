"""One call by its names; held against retention; erased for good. Each works on a connection of the caller's."""

import datetime
import time
from collections.abc import Collection, Iterable, Iterator

import sqlalchemy as sa

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord
from voipfleet.central import facts, rows, schema
from voipfleet.central.joins import take_turn
from voipfleet.central.upsert import upsert
from voipfleet.errors import VoipfleetError

CHUNK = 500  # uuids in one statement
_DAY = datetime.timedelta(days=1)
Part = tuple[bytes, bytes]  # uuid, and that of the sensor that sent it


def find(connection: sa.Connection, text: str) -> tuple[CallRecord, list[Part]] | None:
    """The call with this uuid (its own, or that of one of its parts) or Call-ID (the newest one of it), and what it is
    made of; None where there is none."""
    table = schema.calls
    query = sa.select(table.c.uuid, table.c.origin, table.c.body)
    if (uuid := as_uuid(text)) and (row := _row_of(connection, uuid)):
        found = connection.execute(query.where(table.c.uuid == row)).all()
    else:
        query = query.where(table.c.call_id == rows.clean(text), table.c.kind != facts.REGISTRATIONS)
        found = connection.execute(query.order_by(table.c.setup_time.desc()).limit(100)).all()
    for uuid, origin, body in found:
        call = record.decode(body)
        if call.call_id == text or as_uuid(text):
            return call, parts(connection, uuid) or [(uuid, origin)]
    return None


def parts_of(connection: sa.Connection, uuid: bytes) -> list[Part]:
    """What the call with this uuid, or with a part of this uuid, is made of; no record is read for it."""
    if (row := _row_of(connection, uuid)) is None:
        return []
    origin = connection.execute(sa.select(schema.calls.c.origin).where(schema.calls.c.uuid == row).limit(1)).scalar()
    return parts(connection, row) or [(row, origin or b"")]


def as_uuid(text: str) -> bytes:
    """Empty where it is no uuid."""
    digits = text.replace("-", "").strip()
    try:
        return bytes.fromhex(digits) if len(digits) == 32 else b""
    except ValueError:
        return b""


def parts(connection: sa.Connection, uuid: bytes) -> list[Part]:
    """Of a row of `calls` that is made of several; empty where it is one record."""
    table, joins = schema.parts, schema.joins
    query = sa.select(table.c.uuid, table.c.origin).join(joins, joins.c.part == table.c.uuid)
    return [tuple(one) for one in connection.execute(query.where(joins.c.call == uuid).order_by(table.c.uuid))]


def _row_of(connection: sa.Connection, uuid: bytes) -> bytes | None:
    """Of the call that has this name, or a part of this name."""
    calls, joins = schema.calls, schema.joins
    for query in (sa.select(calls.c.uuid).where(calls.c.uuid == uuid),
                  sa.select(joins.c.call).where(joins.c.part == uuid).order_by(joins.c.call)):  # fmt: skip
        if (found := connection.execute(query.limit(1)).scalar()) is not None:
            return found
    return None


# -- holds ---------------------------------------------------------------------------------------


def hold(connection: sa.Connection, uuid: bytes, who: str, why: str, on_sqlite: bool) -> None:
    if (row := _row_of(connection, uuid)) is None:
        raise VoipfleetError(f"call {uuid.hex()}: it is not in the database; look at `voipfleet calls --uuid`")
    values = {"uuid": row, "who": rows.clean(who), "why": rows.clean(why), "at": time.time_ns()}
    connection.execute(upsert(schema.holds, on_sqlite), values)


def release(connection: sa.Connection, uuid: bytes) -> None:
    names = {uuid, _row_of(connection, uuid) or uuid}
    if not connection.execute(schema.holds.delete().where(schema.holds.c.uuid.in_(names))).rowcount:
        raise VoipfleetError(f"call {uuid.hex()}: it is not held; nothing to release")
    connection.execute(schema.held_calls.delete().where(schema.held_calls.c.uuid.in_(names)))


def held(connection: sa.Connection) -> set[bytes]:
    """Rows of calls that are held: by their own name, or by that of a part that was a row of its own then."""
    joins, holds = schema.joins, schema.holds
    own = set(connection.execute(sa.select(holds.c.uuid)).scalars())
    query = sa.select(joins.c.call).join(holds, holds.c.uuid == joins.c.part)
    return own | set(connection.execute(query).scalars()) if own else own


# -- erasing -------------------------------------------------------------------------------------


def erase(connection: sa.Connection, uuid: bytes | None, number: str | None, on_sqlite: bool) -> list[Part]:
    """Remove a call, or all calls and registrations of a number, from every table, and leave a mark so that none of it
    comes back; what it was made of. VoipfleetError where one of them is held: then nothing is erased."""
    take_turn(connection)  # nobody writes calls meanwhile
    names = _of_number(connection, number or "") if uuid is None else {_row_of(connection, uuid) or uuid}
    if kept := sorted(held(connection) & names):
        some = ", ".join(one.hex() for one in kept[:3]) + (" ..." if len(kept) > 3 else "")
        raise VoipfleetError(f"{len(kept)} of the calls to erase are held ({some}); release them first (`voipfleet hold"
                             " --release`), nothing was erased")  # fmt: skip
    table, gone, origins, days = schema.calls, set(), {}, set()
    for some in _chunks(names):
        query = sa.select(table.c.uuid, table.c.day, table.c.origin).where(table.c.uuid.in_(some))
        for row, day, origin in connection.execute(query).all():
            days |= {day + n * _DAY for n in (-1, 0, 1)}  # what it was made of may be of the next day
            origins |= dict(parts(connection, row) or [(row, origin)])
            gone.add(row)
    gone |= origins.keys() | ({uuid} if uuid else set()) | names
    for some in _chunks(gone):
        _delete(connection, some, days)
        marks = [{"uuid": one, "at": time.time_ns()} for one in some]
        connection.execute(upsert(schema.erased, on_sqlite), marks)
    return sorted(origins.items())


def _of_number(connection: sa.Connection, number: str) -> set[bytes]:
    """Rows whose caller or callee is this number, and those of which a part says so."""
    if not number:
        raise VoipfleetError("erase: no number was given; give the whole number")
    calls, found, own = schema.calls, set(), facts.key(number)
    for column in (calls.c.caller_key, calls.c.callee_key):
        for body in connection.execute(sa.select(calls.c.body).where(column == own)).scalars():
            found |= _if_of(body, number)
    inside = number.encode("utf-8", "replace")
    for table in (schema.parts, schema.quarantine):
        query = sa.select(table.c.uuid, table.c.body).where(sa.func.instr(table.c.body, inside) > 0)
        for uuid, body in connection.execute(query).all():
            if table is schema.quarantine or _if_of(body, number):
                found.add(_row_of(connection, uuid) or uuid)
    return found


def _if_of(body: bytes, number: str) -> set[bytes]:
    call = record.decode(body)
    ends = (call.caller.casefold(), call.callee.casefold())
    return {call.uuid} if number.casefold() in ends else set()


def _delete(connection: sa.Connection, uuids: Collection[bytes], days: Collection[datetime.date]) -> None:
    ends = schema.addresses
    connection.execute(ends.delete().where(ends.c.day.in_(days), ends.c.uuid.in_(uuids)))
    for table in (schema.calls, schema.parts, schema.endpoints, schema.quarantine, schema.held_calls):
        connection.execute(table.delete().where(table.c.uuid.in_(uuids)))
    joins = schema.joins
    connection.execute(joins.delete().where(sa.or_(joins.c.call.in_(uuids), joins.c.part.in_(uuids))))


def _chunks(uuids: Iterable[bytes]) -> Iterator[list[bytes]]:
    ordered = sorted(uuids)
    for at in range(0, len(ordered), CHUNK):
        yield ordered[at : at + CHUNK]
