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
COVERED = {
    "calls_facts": {"verdict", "site", "sensor", "caller_key", "callee_key", "src_ip", "dst_ip", "mos"},
    "calls_verdict": {"verdict", "site", "sensor"}, "calls_site": {"site", "verdict"},
    "calls_sensor": {"sensor", "verdict"}, "calls_caller_key": {"caller_key"}, "calls_callee_key": {"callee_key"},
    "calls_caller_tail": {"caller_tail"}, "calls_callee_tail": {"callee_tail"}, "calls_src_ip": {"src_ip"},
    "calls_dst_ip": {"dst_ip"}, "calls_call_id": {"call_id"}, "calls_uuid": {"uuid"}, "addresses": set(),
}  # fmt: skip
MOST_PARTS = 64  # of a way; with more it is no way
ANY = Filter()


@dataclass(frozen=True)
class Query:
    """Which calls. `site` is a site or a sensor, `kind` one of voipfleet.central.facts."""

    wanted: Filter = ANY
    site: str = ""
    sensor: str = ""
    call_id: str = ""
    uuid: bytes = b""
    kind: int = facts.INVITES


@dataclass(frozen=True)
class Condition:
    """`of`: the columns that it looks at; `exact`: what passes it needs no second look."""

    sql: Sql
    of: frozenset[str]
    exact: bool = True


@dataclass(frozen=True)
class Way:
    """Some of the calls by an index: those of each part (index, condition), where a call may be in several.

    `timely`: each part has its calls in the order of time.
    """

    parts: list[tuple[str, Sql]]
    timely: bool


def conditions(query: Query) -> list[Condition]:
    """All but kind and time, which times() has."""
    wanted, found = query.wanted, []
    for said, make in ((wanted.response, _response), (wanted.one_way, _one_way), (wanted.mos_below, _mos_below),
                       (wanted.number, _number), (wanted.address, _address)):  # fmt: skip
        if said is not None:
            found += make(said)
    if query.site:
        text = rows.clean(query.site)
        found.append(_on(sa.or_(calls.c.site == text, calls.c.sensor == text), "site", "sensor"))
    if query.sensor:
        found.append(_on(calls.c.sensor == rows.clean(query.sensor), "sensor"))
    if query.call_id:
        found.append(_on(calls.c.call_id == rows.clean(query.call_id), "call_id"))
    if query.uuid:
        found.append(_on(calls.c.uuid == query.uuid, "uuid"))
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
        return [Way([("calls_uuid", calls.c.uuid == query.uuid)], False)]
    if query.call_id:
        return [Way([("calls_call_id", calls.c.call_id == rows.clean(query.call_id))], False)]
    if has_verdict(query) and len(present) <= MOST_PARTS:
        found.append(Way([("calls_verdict", calls.c.verdict == verdict) for verdict in present], True))
    if query.site:
        text = rows.clean(query.site)
        found.append(Way([("calls_site", calls.c.site == text), ("calls_sensor", calls.c.sensor == text)], True))
    if query.sensor:
        found.append(Way([("calls_sensor", calls.c.sensor == rows.clean(query.sensor))], True))
    if wanted.number and (parts := _number_parts(wanted.number)):
        found.append(Way(parts, False))
    if wanted.address:
        network = wanted.address.network
        parts = [(f"calls_{name}", _inside(calls.c[name], network)) for name in ("src_ip", "dst_ip")]
        parts.append(("addresses", _inside(addresses.c.address, network)))
        found.append(Way(parts, network.num_addresses == 1))
    return found


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


def _response(ranges: tuple[tuple[int, int], ...]) -> list[Condition]:
    if any(low <= 0 <= high for low, high in ranges):
        ranges = (*ranges, (facts.STREAMS, facts.STREAMS))
    parts = [calls.c.verdict.between(low << 8, high << 8 | 255) for low, high in ranges]
    return [_on(sa.or_(*parts), "verdict")]


def _one_way(said: bool) -> list[Condition]:
    bit = calls.c.verdict.op("&")(facts.ONE_WAY)
    return [_on(bit != 0 if said else bit == 0, "verdict")]


def _mos_below(mos: float) -> list[Condition]:
    highest = 1 + bisect.bisect_left(facts.BOUNDS, mos)
    found = [_on(calls.c.verdict.op("&")(facts.CLASSES).between(1, highest), "verdict")]
    return found if mos in facts.BOUNDS else [*found, _on(calls.c.mos < mos, "mos")]


# -- numbers -------------------------------------------------------------------------------------


def _number(number: filters.Number) -> list[Condition]:
    both = [_of_key(calls.c[f"{side}_key"], number) for side in ("caller", "callee")]
    exact = not number.domain and len([part for part in number.parts if part]) == 1  # else their order matters
    if number.domain and not number.parts[0].partition("@")[0]:
        return [_on(sa.true(), "body", exact=False)]
    return [_on(sa.or_(*both), "caller_key", "callee_key", exact=exact)]


def _of_key(key: sa.Column, number: filters.Number) -> Sql:
    """A key that is full may go on, so it says how the number begins and no more."""
    first, *within, last = number.parts
    begins = _begins(key, _bytes(first.partition("@")[0])[: facts.KEY]) if first else sa.true()
    if number.domain:
        return begins
    pieces = [sa.func.instr(key, piece) > 0 for piece in map(_bytes, within) if piece]
    if last:
        pieces.append(sa.func.substr(key, -len(_bytes(last))) == _bytes(last))
    return sa.and_(begins, sa.or_(sa.func.length(key) >= facts.KEY, sa.and_(*pieces))) if pieces else begins


def _number_parts(number: filters.Number) -> list[tuple[str, Sql]]:
    """By how it begins, or how it ends, whichever says more."""
    first, last = number.parts[0].partition("@")[0], "" if number.domain else number.parts[-1]
    if len(first) >= len(last):
        which, text = "key", _bytes(first)
    else:
        which, text = "tail", _bytes(last)[::-1]
    names = [f"{side}_{which}" for side in ("caller", "callee")]
    return [(f"calls_{name}", _begins(calls.c[name], text[: facts.KEY])) for name in names] if text else []


def _begins(column: sa.Column, text: bytes) -> Sql:
    """In the order of the index: no byte of UTF-8 is 0xff."""
    return sa.and_(column >= text, column < text + b"\xff")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


# -- addresses -----------------------------------------------------------------------------------


def _address(address: filters.Address) -> list[Condition]:
    """Of a call whose signalling is elsewhere, its media are looked up; those of a network are too many for that, so
    every call may have some."""
    network, ends = address.network, addresses.alias("media")
    if network.num_addresses > 1:
        return [_on(sa.true(), "body", exact=False)]
    host = network.network_address.packed
    media = sa.exists().where(ends.c.address == host, ends.c.setup_time == calls.c.setup_time).correlate(calls)
    signalling = (_inside(calls.c[name], network) for name in ("src_ip", "dst_ip"))
    return [_on(sa.or_(*signalling, media), "src_ip", "dst_ip", exact=False)]


def _inside(column: sa.Column, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Sql:
    first, last = network.network_address.packed, network.broadcast_address.packed
    if first == last:
        return column == first
    return sa.and_(column.between(first, last), sa.func.length(column) == len(first))


def _on(sql: Sql, *names: str, exact: bool = True) -> Condition:
    return Condition(sql, frozenset(names), exact)
