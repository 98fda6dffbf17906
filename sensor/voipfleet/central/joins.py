"""Calls of several records in the database: views of one call in one row, streams without a call with the call they are
of. Every part is kept as it came, and a row is made anew from its parts, so any order of arrival gives the same.

All of it is done under the lock of `take_turn`, in the transaction in which the records are stored.
"""

import datetime
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord
from voipfleet.central import claims, merging, partitions, rows, schema
from voipfleet.central.endpoints import Endpoints, ends_of
from voipfleet.central.merging import RTP
from voipfleet.records.messages import Row

MAX_VIEWS, MAX_PARTS = 16, 64  # of one call: what comes beyond stays apart
LOOK_BACK, MAX_BACK = 3600 * 1_000_000_000, 5_000  # ns, calls: whose endpoints are learnt when the first streams come
PARTS, STREAMS = b"\0", b"\1"


def take_turn(connection: sa.Connection) -> bytes:
    """Wait for the other central on this database. What there is to be looked for: empty: no call was ever of several
    parts; PARTS; or STREAMS: and some were streams without a call."""
    table = schema.meta
    query = sa.select(table.c.value).where(table.c.name == "joining").with_for_update()
    return connection.execute(query).scalar_one()


@dataclass(frozen=True)
class Work:
    """What was just stored: `origins` who sent it, by uuid; `related` as same_call() says, `revised` newer revisions of
    parts, `streams` and `calls` the new rows of method RTP and of calls."""

    origins: dict[bytes, bytes]
    related: dict[bytes, list[bytes]]
    revised: dict[bytes, tuple[Row, CallRecord]]
    streams: set[bytes]
    calls: set[bytes]

    def single(self) -> list["Work"]:
        """One for each record."""
        uuids = self.related.keys() | self.revised.keys() | self.streams | self.calls
        return [Work(self.origins, {k: v for k, v in self.related.items() if k == uuid},
                     {k: v for k, v in self.revised.items() if k == uuid}, self.streams & {uuid}, self.calls & {uuid})
                for uuid in sorted(uuids)]  # fmt: skip


class Joins:
    """The parts in one transaction. `upsert(table, newer)` makes the statement of voipfleet.central.upsert; `state` is
    what take_turn() said; `days` those of what is stored: what belongs to it is near (claims.LONGEST)."""

    def __init__(self, connection: sa.Connection, upsert: Callable[..., sa.Insert], state: bytes,
                 days: Collection[datetime.date]):  # fmt: skip
        self._do, self._upsert, self.state = connection.execute, upsert, state
        self._endpoints = Endpoints(connection, upsert)
        self._views_days, self._near_days = (partitions.within(days, apart, apart) for apart in (2, 4))

    @property
    def active(self) -> bool:
        """Streams without a call have come here: where calls have their media is worth to be kept."""
        return self.state >= STREAMS

    def _reach(self, state: bytes) -> None:
        if self.state < state:
            self._do(schema.meta.update().where(schema.meta.c.name == "joining").values(value=state))
            self.state = state

    def known(self, uuids: Collection[bytes]) -> dict[bytes, tuple[int, bytes]]:
        """(revision, origin) of those that are parts."""
        table = schema.parts
        query = sa.select(table.c.uuid, table.c.revision, table.c.origin).where(table.c.uuid.in_(uuids))
        return {uuid: (revision, origin) for uuid, revision, origin in self._do(query)} if uuids and self.state else {}

    def same_call(self, found: Iterable[CallRecord], origins: dict[bytes, bytes]) -> dict[bytes, list[bytes]]:
        """Rows of other senders that have the Call-ID of a record, by the record's uuid; `origins`: who sent which."""
        by_id: dict[str, list[bytes]] = defaultdict(list)
        for call in found:
            if call.method not in (RTP, "REGISTER") and call.call_id:
                by_id[rows.clean(call.call_id)].append(call.uuid)
        table, related = schema.calls, defaultdict(list)
        query = sa.select(table.c.call_id, table.c.uuid, table.c.origin)
        query = query.where(table.c.call_id.in_(list(by_id)), self._views_days)
        for call_id, uuid, sender in self._do(query) if by_id else ():
            for one in by_id.get(call_id, ()):
                if uuid != one and sender and sender != origins[one]:
                    related[one].append(uuid)
        return dict(related)

    def join(self, work: Work) -> None:
        """Put together what belongs together."""
        related, streams, calls = work.related, work.streams, work.calls
        revised = [call for _, call in work.revised.values()]
        touched = set(calls) if self.active or streams else set()
        for call in revised:
            table = schema.parts
            new = {"revision": call.revision, "body": record.encode(call)}
            self._do(table.update().where(table.c.uuid == call.uuid).values(new))
        of = self._calls_of([call.uuid for call in revised])
        changed = {uuid for call in revised for uuid in of[call.uuid]}
        for uuid, others in related.items():
            if row := self._view(uuid, others, work.origins[uuid]):
                touched.discard(uuid)
                changed.add(row)
        if streams:
            self._keep_streams(streams)
        moved = set(streams) | {call.uuid for call in revised if call.method == RTP}
        if streams and not self.active:
            self._reach(STREAMS)
            touched |= self._look_back(moved)
        self._reckon(touched, changed, moved)

    # -- views ---------------------------------------------------------------------------------------

    def _view(self, uuid: bytes, others: list[bytes], origin: bytes) -> bytes | None:
        """Make a row a part of the one of `others` that it is a view of; which one that is, if any."""
        mine = self._views([uuid]).get(uuid)
        if not mine:
            return None
        best = None
        for row, views in self._views(others).items():
            shared = [found for view in views if (found := claims.overlap(mine[0], view)) is not None]
            if shared and len(views) < MAX_VIEWS and origin not in self._senders(row):
                best = max(best or (max(shared), row), (max(shared), row))
        if best is None:
            return None
        self._become_parts([uuid, best[1]])
        table = schema.joins
        self._do(table.update().where(table.c.part == uuid).values(call=best[1]))
        self._do(schema.calls.delete().where(schema.calls.c.uuid == uuid, self._near_days))
        self._endpoints.drop([uuid])
        return best[1]

    def _senders(self, row: bytes) -> set[bytes]:
        parts, joins = schema.parts, schema.joins
        query = sa.select(parts.c.uuid, parts.c.origin).join(joins, joins.c.part == parts.c.uuid)
        streams = self._joined([row])
        return {origin for part, origin in self._do(query.where(joins.c.call == row)).all() if part not in streams}

    def _become_parts(self, uuids: Collection[bytes]) -> None:
        """Rows that were one record each are kept as their own first part."""
        self._reach(PARTS)
        missing = set(uuids) - self.known(uuids).keys()
        found = self._rows(missing)
        if found:
            self._do(self._upsert(schema.parts), found)
            self._do(self._upsert(schema.joins), [{"call": row["uuid"], "part": row["uuid"]} for row in found])

    # -- streams -------------------------------------------------------------------------------------

    def _rows(self, uuids: Collection[bytes]) -> list[dict]:
        """Rows of `calls` as rows of `parts`."""
        table = schema.calls
        query = sa.select(table.c.uuid, table.c.revision, table.c.origin, table.c.body, table.c.day)
        query = query.where(table.c.uuid.in_(list(uuids)), self._near_days)
        return [row._asdict() for row in self._do(query)] if uuids else []

    def _keep_streams(self, uuids: Collection[bytes]) -> None:
        if found := self._rows(uuids):
            self._do(self._upsert(schema.parts), found)

    def _look_back(self, uuids: Collection[bytes]) -> set[bytes]:
        """The first streams without a call that ever came here: the rows of calls that they may be of."""
        table = schema.calls
        since = min((claims.span(part)[0] for part in self._bodies(uuids).values()), default=0) - LOOK_BACK
        query = sa.select(table.c.uuid).where(table.c.setup_time >= since, table.c.method == "INVITE")
        return set(self._do(query.order_by(table.c.setup_time.desc()).limit(MAX_BACK)).scalars())

    def _reckon(self, touched: set[bytes], changed: set[bytes], streams: set[bytes]) -> None:
        """Who has which streams, and the rows that follow. `changed`: rows whose views changed; `touched`: rows that
        are new and may have streams; `streams`: parts of method RTP that are new or changed."""
        parts, remade = self._bodies(streams), set(changed)
        if self.active:
            calls = {key: claims.candidate(key, views) for key, views in self._views(changed | touched).items()}
            ends = {key: (set(one.until), (one.begin, one.open)) for key, one in calls.items()}
            self._endpoints.put(ends, streams=False)
            self._endpoints.put(ends_of(parts), streams=True)
            near = set().union(*self._endpoints.near(ends, streams=True).values()) | self._joined(changed)
            parts |= self._bodies(near - parts.keys())
        if parts:
            remade |= self._claim(parts, streams)
        self._make(remade)

    def _claim(self, parts: dict[bytes, CallRecord], anew: set[bytes]) -> set[bytes]:
        """Give each part to its calls; the rows that must be made anew. A part of no call is a row of its own."""
        near = self._endpoints.near(ends_of(parts), streams=False)
        able = {key: claims.candidate(key, views) for key, views in self._views(set().union(*near.values())).items()}
        before, size, remade, table = self._calls_of(parts), self._sizes(able), set(), schema.joins
        new, gone, shown, hidden = [], [], [], []
        for uuid, part in parts.items():
            had = before[uuid]
            now = claims.claimants(part, [able[key] for key in near[uuid] if key in able])
            now = {key for key in now if key in had or size.get(key, 0) < MAX_PARTS}
            size.update({key: size.get(key, 0) + 1 for key in now - had})
            new += [{"call": key, "part": uuid} for key in now - had]
            gone += [(key, uuid) for key in had - now]
            remade |= now ^ had | (now if uuid in anew else set())
            if uuid in anew or bool(now) != bool(had):
                (hidden if now else shown).append(uuid)
        if new:
            self._become_parts({row["call"] for row in new})
            self._do(self._upsert(table), new)
        if gone:
            self._do(table.delete().where(sa.tuple_(table.c.call, table.c.part).in_(gone)))
        if hidden:
            self._do(schema.calls.delete().where(schema.calls.c.uuid.in_(hidden), self._near_days))
        self._show(shown)
        return remade

    def _show(self, streams: list[bytes]) -> None:
        """Parts that no call has are rows of their own."""
        parts, table = schema.parts, schema.calls
        if not streams:
            return
        query = sa.select(table.c.uuid, table.c.day).where(table.c.uuid.in_(streams), self._near_days)
        days = dict(self._do(query).all())
        query = sa.select(parts.c.uuid, parts.c.origin, parts.c.body).where(parts.c.uuid.in_(streams))
        values, ends = [], []
        for uuid, origin, body in self._do(query):
            part = record.decode(body)
            row = rows.columns(part, body) | {"origin": origin}
            values.append(row | {"day": days.get(uuid, row["day"])})
            ends += rows.addresses(part, values[-1]["day"])
        self._do(self._upsert(table, "revision"), values)
        self._put_addresses(ends)

    def _make(self, keys: Collection[bytes]) -> None:
        """The rows again, from their parts; uuid and day stay, the revision grows where anything is new."""
        if not keys:
            return
        table, joins, parts = schema.calls, schema.joins, schema.parts
        of: dict[bytes, list[CallRecord]] = defaultdict(list)
        query = sa.select(joins.c.call, parts.c.body).join(parts, joins.c.part == parts.c.uuid)
        for key, body in self._do(query.where(joins.c.call.in_(list(keys)))):
            of[key].append(record.decode(body))
        query = sa.select(table.c.uuid, table.c.day, table.c.revision, table.c.body)
        query, ends = query.where(table.c.uuid.in_(list(keys)), self._near_days), []
        for key, day, revision, body in self._do(query).all():
            if all(part.method == RTP for part in of[key]):
                continue
            made = merging.merge(of[key])
            made.uuid, made.revision = key, revision
            if record.encode(made) == body:
                continue
            made.revision += 1
            values = rows.columns(made, record.encode(made)) | {"day": day}
            self._do(table.update().where(table.c.uuid == key, table.c.day == day).values(values))
            ends += rows.addresses(made, day)
        self._put_addresses(ends)

    def _put_addresses(self, found: list[dict]) -> None:
        if found:
            self._do(self._upsert(schema.addresses), found)

    # -- reading -------------------------------------------------------------------------------------

    def _bodies(self, uuids: Collection[bytes]) -> dict[bytes, CallRecord]:
        table = schema.parts
        query = sa.select(table.c.uuid, table.c.body).where(table.c.uuid.in_(list(uuids)))
        return {uuid: record.decode(body) for uuid, body in self._do(query)} if uuids else {}

    def _views(self, calls: Collection[bytes]) -> dict[bytes, list[CallRecord]]:
        """Of rows of calls: the records that are not of method RTP."""
        parts, joins = schema.parts, schema.joins
        found: dict[bytes, list[CallRecord]] = defaultdict(list)
        if not calls:
            return found
        query = sa.select(joins.c.call, parts.c.body).join(parts, joins.c.part == parts.c.uuid)
        bodies = self._do(query.where(joins.c.call.in_(list(calls)))).all()
        alone = set(calls) - {call for call, _ in bodies}
        if alone:
            bodies += [(row["uuid"], row["body"]) for row in self._rows(alone)]
        for call, body in bodies:
            if (one := record.decode(body)).method not in (RTP, "REGISTER"):
                found[call].append(one)
        return found

    def _calls_of(self, parts: Collection[bytes]) -> dict[bytes, set[bytes]]:
        table, found = schema.joins, {part: set() for part in parts}
        query = sa.select(table.c.part, table.c.call).where(table.c.part.in_(list(parts)))
        for part, call in self._do(query) if parts else ():
            found[part].add(call)
        return found

    def _joined(self, calls: Collection[bytes]) -> set[bytes]:
        """The parts of method RTP that are with these rows: all that have endpoints of their own."""
        joins, ends = schema.joins, schema.endpoints
        query = sa.select(joins.c.part).join(ends, ends.c.uuid == joins.c.part)
        query = query.where(joins.c.call.in_(list(calls)), ends.c.streams == 1)
        return set(self._do(query).scalars()) if calls else set()

    def _sizes(self, calls: Collection[bytes]) -> dict[bytes, int]:
        table = schema.joins
        query = sa.select(table.c.call, sa.func.count()).where(table.c.call.in_(list(calls))).group_by(table.c.call)
        return dict(self._do(query).all()) if calls else {}
