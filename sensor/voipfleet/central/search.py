"""Searches: the calls that a filter takes, in an order, a page at a time, without ever reading a whole table by
surprise.

In the order of time there are two stages. The first walks along an index (voipfleet.central.ways), newest calls first,
and takes from it whatever its columns can decide; the second reads the rows of what is left, and asks the filter
itself. If neither finds a page within `seconds`, the answer says how far it came.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import sqlalchemy as sa

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord, local_time
from voipfleet.central import conditions, schema
from voipfleet.central.conditions import COVERED, Condition, Query, Sql, Way
from voipfleet.central.ways import Ways, of_addresses
from voipfleet.errors import UsageError

calls, addresses = schema.calls, schema.addresses
SORTS = ("setup_time", "duration", "mos", "lost", "pdd")
SECONDS = 10.0  # of looking, then the answer is what was found
CHUNK = 4_000  # candidates that are read at once
NEAR = 20_000  # calls that are looked at before an index is chosen: about 15 ms
HOUR, WEEK = 3600 * 1_000_000_000, 7 * 24 * 3600 * 1_000_000_000
_LAST = 1e300  # in the order of a value: calls that have none


@dataclass(frozen=True)
class Order:
    """`after`: (value, row) of the last call of the page before."""

    by: str = "setup_time"
    descending: bool = True
    after: tuple[float, int] | None = None

    def token(self, value: float, row: int) -> str:
        return f"{self.by}{'-desc' if self.descending else ''}:{value!r}:{row}"


@dataclass
class Page:
    """`more`: the token with which the search goes on, if there may be more; `note`: what a person must know of it."""

    calls: list[CallRecord] = field(default_factory=list)
    more: str = ""
    note: str = ""


def order(sort: str, after: str = "") -> Order:
    """As a person writes it: a column, with -desc the other way round; and a token. UsageError where that is
    nothing."""
    by, _, way = sort.partition("-")
    if by not in SORTS or way not in ("", "desc"):
        raise UsageError(f"--sort: {sort!r} is no order; give {', '.join(SORTS)}, each with -desc to turn it round")
    if not after:
        return Order(by, way == "desc")
    said, *rest = after.split(":")
    try:
        value, row = rest
        place = (int(value) if by == "setup_time" else float(value)), int(row)
    except ValueError:
        raise UsageError("--after: it is no token; give what the page before ended with") from None
    if said != sort:
        raise UsageError(f"--after: it is of the order {said}; give the same --sort as for the page before")
    return Order(by, way == "desc", place)


class Search:
    """One search on a connection that reads. `limit` 0: everything, however long it takes."""

    def __init__(self, connection: sa.Connection, query: Query, ordered: Order, limit: int, seconds: float = SECONDS):
        self._do, self._query, self._limit = connection.execute, query, limit
        self._by, self._down, self._after = ordered.by, ordered.descending, ordered.after
        self._token = ordered.token
        self._until = time.monotonic() + seconds if limit else float("inf")
        self._ways = Ways(connection, query)
        self._row, self._times = self._ways.row, conditions.times(query)

    def page(self) -> Page:
        found, page = [], Page()
        for value, row, call in self._timely() if self._by == "setup_time" else self._by_value():
            if self._limit and len(found) == self._limit:
                page.more = self._token(*found[-1][:2])
                break
            if call is None:  # so far, and no further
                page.more, page.note = self._token(value, row), self._far(value)
                break
            found.append((value, row, call))
        page.calls = [call for _, _, call in found]
        return page

    def _far(self, value: float) -> str:
        if self._by != "setup_time":
            return "not all calls were looked at, which would take longer; give a time (--since, --until)"
        number = self._query.wanted.number
        within = number is not None and not conditions.number_parts(number)
        return (
            f"calls {'before' if self._down else 'after'} {local_time(int(value))} were not looked at, which would take"
            f" longer; go on with --after, or ask for less: a time{', or how the number begins or ends' * within}"
        )

    # -- in the order of time ------------------------------------------------------------------------

    def _timely(self) -> Iterator[tuple[int, int, CallRecord | None]]:
        at, size = self._after, self._limit + 1 if self._limit else CHUNK
        start = at[0] if at else None
        way = None if self._is_near(start, size) else self._ways.best(timely=True)
        window = HOUR if self._ways.far else None
        while True:
            begun = time.monotonic()
            keys, start = self._keys(way, start, size, window)
            ready = [one for one in self._read(way, keys) if at is None or self._beyond(one[:2], at)]
            yield from sorted(ready, key=lambda one: one[:2], reverse=self._down)
            if start is None:
                return
            if time.monotonic() > self._until:
                yield start, (1 << 62) if self._down else -1, None
                return
            if window:
                spent = time.monotonic() - begun
                window = max(window // 2, HOUR // 60) if spent > 1 else min(window * 4, WEEK) if spent < 0.2 else window
            size = min(size * 4, CHUNK)

    def _is_near(self, start: int | None, size: int) -> bool:
        """Whether the first calls that there are have a page of those that fit, so that no index need be chosen. Where
        what passes here may not fit after all, nobody knows."""
        wanted, decided = self._ways.wanted, self._ways.price("calls_facts", frozenset()) == 1
        if not self._limit or not wanted or not decided or not all(one.exact for one in wanted):
            return False
        moment, bounds = calls.c.setup_time, self._from(start)
        query = self._ways.of("calls_facts", moment).where(calls.c.kind == self._query.kind, *self._times, *bounds)
        edge = self._do(query.order_by(moment.desc() if self._down else moment).limit(1).offset(NEAR)).scalar()
        if edge is not None:
            bounds.append(moment > edge if self._down else moment < edge)
        return self._some(None, bounds, size)[1]

    def _from(self, start: int | None) -> list[Sql]:
        moment = calls.c.setup_time
        return [] if start is None else [moment <= start if self._down else moment >= start]

    def _beyond(self, place: tuple, at: tuple) -> bool:
        return place < at if self._down else place > at

    def _keys(self, way: Way | None, start: int | None, size: int, window: int | None) -> tuple[list, int | None]:
        """Candidates (time, row, day) from `start` on, whole moments only; and where to go on (None: that was all)."""
        end, moment = None, calls.c.setup_time
        if window is not None:
            if (start := self._next(start)) is None:
                return [], None
            end = start - window if self._down else start + window
        bounds = self._from(start)
        if end is not None:
            bounds.append(moment > end if self._down else moment < end)
        if way and not way.parts:
            return [], None
        found, full = self._some(way, bounds, size)
        if not full:
            return found, end
        edge = found[-1][0]  # of this moment there may be more
        if whole := [one for one in found if one[0] != edge]:
            return whole, edge
        return self._some(way, [moment == edge], None)[0], edge - 1 if self._down else edge + 1

    def _some(self, way: Way | None, bounds: list[Sql], size: int | None) -> tuple[list, bool]:
        """Each once, and whether there may be more."""
        parts = way.parts if way else [("calls_facts", sa.true())]
        left = self._ways.left(way.decides if way else frozenset())
        each = [self._part(index, condition, left, bounds, size).subquery() for index, condition in parts]
        union = sa.union_all(*(sa.select(one) for one in each)).subquery()
        query = sa.select(union.c.at, union.c.row_, union.c.day)
        query = query.order_by(union.c.at.desc() if self._down else union.c.at)
        found = self._do(query.limit(size) if size else query).all()
        return list(dict.fromkeys(map(tuple, found))), len(found) == size

    def _part(
        self, index: str, condition: Sql, left: list[Condition], bounds: list[Sql], size: int | None
    ) -> sa.Select:
        """What of one part its index can decide, the first `size` of it."""
        query = self._ways.of(index, calls.c.setup_time.label("at"), self._row.label("row_"), calls.c.day)
        covered = [one.sql for one in left if one.of <= COVERED[index]]
        query = query.where(calls.c.kind == self._query.kind, condition, *self._times, *bounds, *covered)
        moment = calls.c.setup_time
        if index == "addresses":
            query, moment = query.where(*map(of_addresses, self._times + bounds)), addresses.c.setup_time
        return query.order_by(moment.desc() if self._down else moment).limit(size) if size else query

    def _next(self, start: int | None) -> int | None:
        """The time of the first call from `start` on."""
        moment = calls.c.setup_time
        query = self._ways.of("calls_facts", moment).where(calls.c.kind == self._query.kind, *self._times)
        query = query.where(*self._from(start))
        return self._do(query.order_by(moment.desc() if self._down else moment).limit(1)).scalar()

    def _read(self, way: Way | None, keys: list[tuple]) -> Iterator[tuple[int, int, CallRecord]]:
        """The calls of these candidates that are wanted."""
        indexes, decided = ({index for index, _ in way.parts}, way.decides) if way else ({"calls_facts"}, frozenset())
        rest = [one.sql for one in self._ways.left(decided) if not all(one.of <= COVERED[index] for index in indexes)]
        for at in range(0, len(keys), CHUNK):
            by_day = defaultdict(list)
            for _, row, day in keys[at : at + CHUNK]:
                by_day[day].append(row)
            there = [sa.and_(calls.c.day == day, self._row.in_(found)) for day, found in by_day.items()]
            query = self._ways.of("PRIMARY", calls.c.setup_time, self._row.label("row_"), calls.c.body)
            for when, row, body in self._do(query.where(sa.or_(*there), *rest)):
                if self._query.wanted(call := record.decode(body)):
                    yield when, row, call

    # -- in the order of a value ---------------------------------------------------------------------

    def _by_value(self) -> Iterator[tuple[float, int, CallRecord | None]]:
        """All that fit are sorted by the server, again for each chunk. Calls that have no value come last."""
        down, at, way = self._down, self._after, self._ways.best(timely=False)
        value = sa.func.coalesce(calls.c[self._by], -_LAST if down else _LAST).label("value")
        parts = way.parts if way else [("calls_facts", sa.true())]
        each, decided = [], way.decides if way else frozenset()
        for index, condition in parts:
            query = self._ways.of(index, value, self._row.label("row_"), calls.c.day)
            each.append(query.where(calls.c.kind == self._query.kind, condition, *self._times,
                                    *(one.sql for one in self._ways.left(decided))))  # fmt: skip
        union = sa.union(*each).subquery() if each else None
        size = max(2 * self._limit, 500) if self._limit else CHUNK
        while each:
            query = sa.select(union).order_by(*(c.desc() if down else c for c in (union.c.value, union.c.row_)))
            if at is not None:
                more, same = (
                    (union.c.value < at[0], union.c.row_ < at[1])
                    if down
                    else (union.c.value > at[0], union.c.row_ > at[1])
                )
                query = query.where(sa.or_(more, sa.and_(union.c.value == at[0], same)))
            keys = self._do(query.limit(size)).all()
            found = {row: call for _, row, call in self._read(way, [(0, row, day) for _, row, day in keys])}
            yield from ((found_at, row, found[row]) for found_at, row, _ in keys if row in found)
            if len(keys) < size:
                return
            at = keys[-1][0], keys[-1][1]
            if time.monotonic() > self._until:
                yield *at, None
                return
