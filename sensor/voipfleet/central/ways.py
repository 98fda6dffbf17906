"""Which index a search goes along: that which costs least.

Each filter that can be rare has an index; its calls are counted, up to MANY. What a call costs depends on whether the
index says all that the other filters ask: a look at its row costs DEAR times as much. Where no filter is rare,
`calls_facts` has all calls in the order of time.
"""

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from voipfleet.central import conditions, facts, schema
from voipfleet.central.conditions import COVERED, Condition, Query, Sql, Way

calls, addresses = schema.calls, schema.addresses
MANY = 100_000  # calls that are counted of a way: about 50 ms
EVERYTHING = 100 * MANY  # what is not counted to its end is taken for as many
SOME = 10  # times MANY: what a way is taken for that is not counted to its end
DEAR = 20  # times what an index decides costs what a row decides


class Ways:
    """The ways of one query. `wanted`: its conditions; `far`: along the best way it may take long until a page is
    found, so that it is to be looked for bit by bit."""

    def __init__(self, connection: sa.Connection, query: Query):
        self._do, self._query = connection.execute, query
        self._on_sqlite = connection.dialect.name == "sqlite"
        self._times = conditions.times(query)
        self.row = sa.literal_column("calls.rowid" if self._on_sqlite else "calls.id", sa.BigInteger)
        self.wanted = conditions.conditions(query, self._has_media())
        self.far = bool(self.wanted)

    def of(self, index: str, *columns: sa.ColumnElement) -> sa.Select:
        """MariaDB guesses badly with ORDER BY and LIMIT, so it is told the index. SQLite has few enough calls."""
        query, first = sa.select(*columns), calls
        if index == "addresses":
            first, index, ends = addresses, "PRIMARY", addresses.c
            same = (calls.c.uuid == ends.uuid, calls.c.day == ends.day, calls.c.setup_time == ends.setup_time)
            query = query.select_from(addresses.join(calls, sa.and_(*same))).prefix_with(
                "STRAIGHT_JOIN", dialect="mysql"
            )
        return query if self._on_sqlite else query.with_hint(first, f"FORCE INDEX ({index})", "mysql")

    def best(self, timely: bool) -> Way | None:
        """None: along the time. `timely`: the calls are wanted in the order of time, and may be some of the way."""
        if not self.wanted:
            return None
        count = self._count([("calls_facts", sa.true())], timely=True)[0]
        best, least = None, (count if count < MANY else EVERYTHING) * self.price("calls_facts", frozenset())
        for way in conditions.ways(self._query, self._present() if conditions.has_verdict(self._query) else []):
            counts = self._count(way.parts, way.timely)
            priced = zip(way.parts, counts, strict=False)  # what comes after MANY was not counted
            cost = sum(count * self.price(index, way.decides) for (index, _), count in priced)
            if many := sum(counts) >= MANY:
                if not (way.timely and timely):
                    continue
                cost *= SOME if self.left(way.decides) or not self._of_kind(way) else 0  # or the first are the page
            if cost < least:
                best, least, self.far = way, cost, many and cost > 0
        return best

    def _of_kind(self, way: Way) -> bool:
        """Whether its calls are of the kind that is wanted. In `addresses` are those of INVITEs, hardly any others."""
        return self._query.kind == facts.INVITES or all(index != "addresses" for index, _ in way.parts)

    def left(self, decided: frozenset[str]) -> list[Condition]:
        """What calls have still to be held to."""
        return [one for one in self.wanted if one.option not in decided]

    def price(self, index: str, decided: frozenset[str]) -> int:
        """What a look at one call costs, by that index, where what it decided need not be asked."""
        return 1 if all(one.of <= COVERED[index] and not one.dear for one in self.left(decided)) else DEAR

    def _has_media(self) -> bool:
        """Whether the host that is wanted has media where it has no signalling: else no call need be held to it."""
        address = self._query.wanted.address
        if address is None or address.network.num_addresses > 1:
            return False
        host = addresses.c.address == address.network.network_address.packed
        return self._do(sa.select(addresses.c.address).where(host).limit(1)).first() is not None

    def _count(self, parts: list[tuple[str, Sql]], timely: bool) -> list[int]:
        """How many calls the first of these parts have, up to MANY in all. Where the index does not lead to a time, at
        any time: it would look for long."""
        counts: list[int] = []
        for index, condition in parts:
            if index == "addresses":
                query = sa.select(sa.literal(1)).select_from(addresses).where(condition)
                query = query.where(*map(of_addresses, self._times)) if timely else query
            else:
                query = self.of(index, sa.literal(1)).where(condition).select_from(calls)
                query = query.where(calls.c.kind == self._query.kind, *self._times) if timely else query
            some = query.limit(MANY - sum(counts)).subquery()
            counts.append(self._do(sa.select(sa.func.count()).select_from(some)).scalar_one())
            if sum(counts) >= MANY:
                break
        return counts

    def _present(self) -> list[int]:
        """The verdicts that calls have and that can be wanted: each is one step along the index."""
        found, last, verdict = [], conditions.next_fit(self._query, 0), calls.c.verdict
        query = self.of("calls_verdict", verdict).where(calls.c.kind == self._query.kind).order_by(verdict).limit(1)
        while last is not None and len(found) <= conditions.MOST_PARTS:
            last = self._do(query.where(verdict >= last)).scalar()
            if last is not None:
                found += [last] if conditions.fits(self._query, last) else []
                last = conditions.next_fit(self._query, last + 1)
        return found


def of_addresses(condition: Sql) -> Sql:
    """What is said of a call's time, of that in `addresses`."""
    return visitors.replacement_traverse(
        condition, {}, lambda element: addresses.c.setup_time if element is calls.c.setup_time else None
    )
