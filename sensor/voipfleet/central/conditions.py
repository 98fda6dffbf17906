"""A person's filter in SQL: conditions on the columns of `calls`, and which index finds the calls that fit.

A condition never leaves out a call that voipfleet.filters.Filter takes; some let more pass (a port, number@domain, a
number longer than its column), so whoever reads the records asks the filter again.
"""

import bisect
import ipaddress
from dataclasses import dataclass

import sqlalchemy as sa

from voipfleet import filters
from voipfleet.central import facts, rows, schema
from voipfleet.filters import Filter

calls, addresses = schema.calls, schema.addresses
Sql = sa.ColumnElement[bool]
# What an index says without a look at the row, beside `kind` and `setup_time`.
_ALL = set(schema.FILTERED)
COVERED: dict[str, set[str]] = {
    "calls_facts": _ALL, "calls_verdict": _ALL, "calls_site": _ALL, "calls_sensor": _ALL, "calls_src_ip": _ALL,
    "calls_dst_ip": _ALL,
    "calls_caller_key": set(), "calls_callee_key": set(), "calls_caller_tail": set(),
    "calls_callee_tail": set(), "calls_call_id": set(), "calls_uuid": set(), "addresses": set(),
}  # fmt: skip
MOST_PARTS = 64  # of a way; with more it is no way
ANY = Filter()
_KEYS = (calls.c.caller_key, calls.c.callee_key)
FULL = sa.or_(*(sa.func.length(key) >= facts.KEY for key in _KEYS))


@dataclass(frozen=True)
class Query:
    """Which calls. `site` is a site or a sensor, `kind` one of voipfleet.central.facts.

    `full`: only those with a number that does not fit into its key.
    """

    wanted: Filter = ANY
    site: str = ""
    sensor: str = ""
    call_id: str = ""
    uuid: bytes = b""
    kind: int = facts.INVITES
    full: bool = False


@dataclass(frozen=True)
class Condition:
    """What one option asks. `of`: the columns that it looks at; `exact`: what passes it needs no second look.

    `dear`: it looks into another table.
    """

    option: str
    sql: Sql
    of: frozenset[str]
    exact: bool = True
    dear: bool = False


@dataclass(frozen=True)
class Way:
    """Some of the calls by an index: those of each part (index, condition), where a call may be in several.

    `timely`: each part has its calls in the order of time. `decides`: the options that no call of it need be held to.
    """

    parts: list[tuple[str, Sql]]
    timely: bool
    decides: frozenset[str]


def conditions(query: Query, media: bool = True) -> list[Condition]:
    """All but kind and time, which times() has. `media`: table `addresses` has some of the host that is wanted."""
    wanted, found = query.wanted, []
    if wanted.response is not None:
        found.append(_response(wanted.response))
    if wanted.one_way is not None:
        found.append(_one_way(wanted.one_way))
    if wanted.mos_below is not None:
        found += _mos_below(wanted.mos_below)
    if wanted.number:
        found.append(_number(wanted.number))
    if wanted.address:
        found.append(_address(wanted.address, media))
    if query.site:
        either = sa.or_(_same(calls.c.site, query.site), _same(calls.c.sensor, query.site))
        found.append(_on("site", either, "site", "sensor"))
    if query.sensor:
        found.append(_on("sensor", _same(calls.c.sensor, query.sensor), "sensor"))
    if query.call_id:
        found.append(_on("call_id", _same(calls.c.call_id, query.call_id), "call_id"))
    if query.uuid:
        found.append(_on("uuid", calls.c.uuid == query.uuid, "uuid"))
    if query.full:
        found.append(_on("full", FULL, "caller_key", "callee_key"))
    return found


def times(query: Query) -> list[Sql]:
    found = []
    if query.wanted.since is not None:
        found.append(calls.c.setup_time >= query.wanted.since)
    if query.wanted.until is not None:
        found.append(calls.c.setup_time < query.wanted.until)
    return found


def ways(query: Query, present: list[int]) -> list[Way]:
    """Those that the query offers; `present`: the verdicts that fits() takes and that calls have."""
    wanted, found = query.wanted, []
    if query.uuid:
        return [_way([("calls_uuid", calls.c.uuid == query.uuid)], False, "uuid")]
    if query.call_id:
        return [_way([("calls_call_id", _same(calls.c.call_id, query.call_id))], False, "call_id")]
    if has_verdict(query) and len(present) <= MOST_PARTS:
        parts = [("calls_verdict", calls.c.verdict == verdict) for verdict in present]
        found.append(_way(parts, True, "response", "one_way", "mos_class"))
    if query.site:
        parts = [(f"calls_{name}", _same(calls.c[name], query.site)) for name in ("site", "sensor")]
        found.append(_way(parts, True, "site"))
    if query.sensor:
        found.append(_way([("calls_sensor", _same(calls.c.sensor, query.sensor))], True, "sensor"))
    if wanted.number and (parts := number_parts(wanted.number)):
        decides = ["number"] if all(pattern.single for pattern in wanted.number.users) else []
        found.append(_way(parts, False, *decides))
    if wanted.address:
        network = wanted.address.network
        parts = [("addresses", _inside(addresses.c.address, network))]
        parts += [(f"calls_{name}", _inside(calls.c[name], network)) for name in ("src_ip", "dst_ip")]
        found.append(_way(parts, network.num_addresses == 1, "address"))
    return found


def _way(parts: list[tuple[str, Sql]], timely: bool, *decides: str) -> Way:
    return Way(parts, timely, frozenset(decides))


# -- verdicts ------------------------------------------------------------------------------------


def has_verdict(query: Query) -> bool:
    wanted = query.wanted
    return not (wanted.response is None and wanted.one_way is None and wanted.mos_below is None)


def fits(query: Query, verdict: int) -> bool:
    """Whether a call of this verdict can be wanted."""
    wanted, response = query.wanted, facts.response_of(verdict)
    if wanted.response is not None and not any(low <= response <= high for low, high in wanted.response):
        return False
    if wanted.one_way is not None and bool(verdict & facts.ONE_WAY) != wanted.one_way:
        return False
    return wanted.mos_below is None or facts.below(verdict, wanted.mos_below)


def next_fit(query: Query, verdict: int) -> int | None:
    """The first from `verdict` on that can be wanted."""
    wanted, last = query.wanted, (facts.ODD << 8) + 256
    while verdict < last and not fits(query, verdict):
        response, worst = verdict >> 8, verdict & facts.CLASSES
        ranges = wanted.response
        if ranges is not None and not any(low <= facts.response_of(verdict) <= high for low, high in ranges):
            lows = [low for low, _ in ranges if low > response] + [facts.STREAMS] * (response < facts.STREAMS)
            verdict = min(lows, default=facts.ODD + 1) << 8
        elif (worst and wanted.mos_below is None) or worst > 1:  # of this class are none, nor of those after it
            verdict = ((verdict >> 6) + 1) << 6
        else:
            verdict += 1
    return verdict if verdict < last else None


def _response(ranges: tuple[tuple[int, int], ...]) -> Condition:
    if any(low <= 0 <= high for low, high in ranges):
        ranges = (*ranges, (facts.STREAMS, facts.STREAMS))
    parts = [calls.c.verdict.between(low << 8, high << 8 | 255) for low, high in ranges]
    return _on("response", sa.or_(*parts), "verdict")


def _one_way(said: bool) -> Condition:
    bit = calls.c.verdict.op("&")(facts.ONE_WAY)
    return _on("one_way", bit != 0 if said else bit == 0, "verdict")


def _mos_below(mos: float) -> list[Condition]:
    highest = 1 + bisect.bisect_left(facts.BOUNDS, mos)
    found = [_on("mos_class", calls.c.verdict.op("&")(facts.CLASSES).between(1, highest), "verdict")]
    return found if mos in facts.BOUNDS else [*found, _on("mos", calls.c.mos < mos, "mos")]


# -- numbers -------------------------------------------------------------------------------------


def _number(number: filters.Number) -> Condition:
    """Exact but for numbers that do not fit into their key, where no domain and no order is asked for."""
    exact = not number.domains and all(pattern.single for pattern in number.users)
    if not number.users:
        return _on("number", sa.true(), "body", exact=False)
    each = (_of_key(key, pattern) for key in _KEYS for pattern in number.users)
    return _on("number", sa.or_(*each), "caller_key", "callee_key", exact=exact)


def in_keys(number: filters.Number) -> Sql:
    """Only of numbers that fit into their key."""
    return sa.or_(*(sa.and_(sa.func.length(key) < facts.KEY, _of_key(key, pattern))
                    for key in _KEYS for pattern in number.users))  # fmt: skip


def _of_key(key: sa.Column, pattern: filters.Pattern) -> Sql:
    """A key that is full may go on, so it says how the number begins and no more."""
    first, last = (_bytes(pattern.parts[at]) for at in (0, -1))
    if len(pattern.parts) == 1:
        return key == first[: facts.KEY]
    begins = _begins(key, first[: facts.KEY]) if first else sa.true()
    pieces = [sa.func.instr(key, piece) > 0 for piece in map(_bytes, pattern.parts[1:-1]) if piece]
    if last:
        pieces.append(sa.func.substr(key, -len(last)) == last)
    return sa.and_(begins, sa.or_(sa.func.length(key) >= facts.KEY, sa.and_(*pieces))) if pieces else begins


def number_parts(number: filters.Number) -> list[tuple[str, Sql]]:
    """By how it begins, or how it ends, whichever says more. None where one of the patterns says neither."""
    found = []
    for pattern in number.users:
        first, last = (_bytes(pattern.parts[at]) for at in (0, -1))
        which, text = ("key", first) if len(first) >= len(last) else ("tail", last[::-1])
        if not text:
            return []
        text = text[: facts.KEY]
        for name in (f"{side}_{which}" for side in ("caller", "callee")):
            whole = len(pattern.parts) == 1
            found.append((f"calls_{name}", calls.c[name] == text if whole else _begins(calls.c[name], text)))
    return found


def _begins(column: sa.Column, text: bytes) -> Sql:
    """In the order of the index: no byte of UTF-8 is 0xff."""
    return sa.and_(column >= text, column < text + b"\xff")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


# -- addresses -----------------------------------------------------------------------------------


def _address(address: filters.Address, media: bool) -> Condition:
    """Of a call whose signalling is elsewhere, its media are looked up; those of a network are too many for that, so
    every call may have some."""
    network, ends = address.network, addresses.alias("media")
    if network.num_addresses > 1:
        return _on("address", sa.true(), "body", exact=False)
    either = [_inside(calls.c[name], network) for name in ("src_ip", "dst_ip")]
    if media:
        there = sa.exists().where(ends.c.address == network.network_address.packed)
        either.append(there.where(ends.c.setup_time == calls.c.setup_time).correlate(calls))
    exact = address.port is None and not media
    return Condition("address", sa.or_(*either), frozenset(("src_ip", "dst_ip")), exact, dear=media)


def _inside(column: sa.Column, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Sql:
    first, last = network.network_address.packed, network.broadcast_address.packed
    if first == last:
        return column == first
    return sa.and_(column.between(first, last), sa.func.length(column) == len(first))


def _same(column: sa.Column, text: str) -> Sql:
    """To the byte: to MariaDB's collation Hq and hq are the same."""
    text = rows.clean(text)
    return sa.and_(column == text, sa.cast(column, sa.LargeBinary) == _bytes(text))


def _on(option: str, sql: Sql, *columns: str, exact: bool = True) -> Condition:
    return Condition(option, sql, frozenset(columns), exact)
