"""Who had which media address when (table `endpoints`): how streams without a call and calls find each other."""

from collections import defaultdict
from collections.abc import Callable, Collection

import sqlalchemy as sa

from voipfleet.calls.record import CallRecord
from voipfleet.central import claims, rows, schema
from voipfleet.central.claims import LONGEST, SLACK

MAX_NEAR = 64  # of what has the same address at that time, the nearest
Ends = dict[bytes, tuple[set[str], tuple[int, int]]]  # by uuid: addresses, and (first, last) of their time


def ends_of(parts: dict[bytes, CallRecord]) -> Ends:
    return {uuid: ({end for s in part.streams for end in (s.dst, s.src)}, claims.span(part))
            for uuid, part in parts.items()}  # fmt: skip


class Endpoints:
    """The table in one transaction. `upsert(table)` makes the statement of voipfleet.central.upsert; `streams`: of
    parts of method RTP, otherwise of rows of calls."""

    def __init__(self, connection: sa.Connection, upsert: Callable[..., sa.Insert]):
        self._do, self._upsert = connection.execute, upsert

    def put(self, found: Ends, *, streams: bool) -> None:
        """These, and nothing else of these uuids."""
        self.drop(found)
        kind = int(streams)
        new = [{"address": _key(address), "first": first, "uuid": uuid, "last": last, "streams": kind}
               for uuid, (ends, (first, last)) in found.items() for address in ends]  # fmt: skip
        if new:
            self._do(self._upsert(schema.endpoints), new)

    def drop(self, uuids: Collection[bytes]) -> None:
        table = schema.endpoints
        if uuids:
            self._do(table.delete().where(table.c.uuid.in_(list(uuids))))

    def near(self, of: Ends, *, streams: bool) -> dict[bytes, set[bytes]]:
        """For each of `of`: what has one of its addresses at its time."""
        table, found = schema.endpoints, {key: {} for key in of}
        by_end: dict[str, list[tuple[bytes, int, int]]] = defaultdict(list)
        for key, (ends, when) in of.items():
            for end in ends:
                by_end[_key(end)].append((key, *when))
        if not by_end:
            return {key: set() for key in of}
        query = sa.select(table.c.address, table.c.uuid, table.c.first, table.c.last).where(
            table.c.address.in_(list(by_end)), table.c.streams == int(streams),
            table.c.first <= max(last for _, (_, last) in of.values()) + SLACK,
            table.c.first >= min(first for _, (first, _) in of.values()) - LONGEST - SLACK,
        )  # fmt: skip
        for address, uuid, first, last in self._do(query):
            for key, begin, end in by_end.get(address, ()):
                if first <= end + SLACK and last >= begin - SLACK:
                    found[key][uuid] = abs(first - begin)
        return {key: set(sorted(near, key=lambda uuid: (near[uuid], uuid))[:MAX_NEAR]) for key, near in found.items()}


def _key(address: str) -> str:
    """An address as the column has it."""
    return rows.clean(address)[:64]
