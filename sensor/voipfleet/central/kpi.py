"""Key figures of calls, by site, sensor, signalling peer, hour or day: counted by the server from index `calls_facts`.

attempts   INVITE dialogs: a call that was forked, re-authenticated or seen by several sensors counts once
ASR        answered / attempts (answer-seizure ratio, ITU-T E.411)
NER        (answered + EFFECTIVE) / attempts (network effectiveness ratio, ITU-T E.425): what the network brought
           to the other side, whatever that did with it
ACD        mean of answer to end of the answered calls, s
PDD        INVITE to the first 18x or final response, s: mean, and the 95th percentile (nearest rank)
MOS        mean over the calls of that of their worst stream
loss       lost / expected packets of all streams, %
one-way    answered calls in which one side was heard, that had agreed to hear two
"""

import datetime
import ipaddress
import math
from collections import defaultdict
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from voipfleet.calls.record import CallRecord, of_side
from voipfleet.central import conditions, facts, schema
from voipfleet.central.conditions import Query
from voipfleet.central.search import Order, Search
from voipfleet.errors import VoipfleetError

BY = ("site", "sensor", "peer", "hour", "day")
EFFECTIVE = (480, 486, 487, 600, 603)  # rang without an answer or was not there, busy, given up by the caller, declined
REFINED = 50_000  # calls that are read one by one, where SQL cannot say exactly which are meant
HOUR = 3600 * 1_000_000_000
STEPS = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0)  # s of PDD
calls = schema.calls


@dataclass
class Figures:
    """Sums of a group of calls."""

    attempts: int = 0
    answered: int = 0
    effective: int = 0
    talked: float = 0.0  # s
    pdds: int = 0
    pdd: float = 0.0  # s
    scored: int = 0
    mos: float = 0.0
    lost: int = 0
    expected: int = 0
    one_way: int = 0
    over: list[int] = field(default_factory=lambda: [0] * len(STEPS))  # calls with a PDD of at least each of STEPS
    slowest: list[float] = field(default_factory=list)  # s; PDDs from which the 95th percentile can be told

    def add(self, row) -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + (getattr(row, name) or 0))
        self.over = [count + int(getattr(row, f"over{n}", 0) or 0) for n, count in enumerate(self.over)]

    def step(self) -> float:
        """The greatest of STEPS that is not above the 95th percentile."""
        needed = self.pdds - math.ceil(0.95 * self.pdds) + 1
        return max((step for step, count in zip(STEPS, self.over, strict=True) if count >= needed), default=0.0)

    def said(self, group: str) -> dict:
        """As a JSON object; None where there is nothing to divide by."""
        return {
            "group": group, "attempts": int(self.attempts), "answered": int(self.answered),
            "asr": _share(self.answered, self.attempts), "ner": _share(self.effective, self.attempts),
            "acd": _mean(self.talked, self.answered), "pdd_mean": _mean(self.pdd, self.pdds), "pdd_p95": self._p95(),
            "mos": _mean(self.mos, self.scored), "loss": _share(self.lost, self.expected), "one_way": int(self.one_way),
        }  # fmt: skip

    def _p95(self) -> float | None:
        below = int(self.pdds) - math.ceil(0.95 * self.pdds)
        return round(sorted(self.slowest, reverse=True)[below], 3) if self.pdds else None


_SUMS = [name for name in Figures.__dataclass_fields__ if name not in ("over", "slowest")]


def _share(part: float, whole: float) -> float | None:
    return round(100 * float(part) / float(whole), 2) if whole else None


def _mean(total: float, number: float) -> float | None:
    return round(float(total) / float(number), 3) if number else None


def figures(connection: sa.Connection, query: Query, by: str) -> list[dict]:
    """A group each, and "all" at the end; peers and places by attempts, times in their order."""
    exact = all(one.exact and one.of <= conditions.COVERED["calls_facts"] for one in conditions.conditions(query))
    groups = (_counted if exact else _read)(connection, query, by)
    everything = groups.pop(None, Figures())
    if by in ("hour", "day"):
        ordered = sorted(groups.items())
    else:
        ordered = sorted(groups.items(), key=lambda one: (-one[1].attempts, str(one[0])))
    return [*(found.said(_name(by, group)) for group, found in ordered), everything.said("all")]


def _name(by: str, group) -> str:
    if by == "peer":
        return str(ipaddress.ip_address(bytes(group))) if group else "unknown"
    if by in ("hour", "day"):
        moment = datetime.datetime.fromtimestamp(int(group) // 10**9, datetime.UTC)
        return moment.strftime("%Y-%m-%dT%H:00Z" if by == "hour" else "%Y-%m-%d")
    return group or "unknown"


# -- by the server -------------------------------------------------------------------------------


def _counted(connection: sa.Connection, query: Query, by: str) -> dict:
    """Two passes over the index: the sums of each group; then its slowest calls one by one, from the last step on of
    which the sums say that it is not above the percentile."""
    groups: dict = {None: Figures()}
    columns, which = _groups(by), _which(connection, query)
    for row in connection.execute(_sums(connection, which, columns)):
        for group in {*row[: len(columns)], None}:
            groups.setdefault(group, Figures()).add(row)
    steps: dict[float, list] = defaultdict(list)
    for group, found in groups.items():
        if group is not None:
            steps[min(found.step(), groups[None].step())].append(group)
    if not steps:
        return groups
    # The lowest first: to MariaDB's collation a name may be several.
    least = [sa.case(*((column.in_(some), step) for step, some in sorted(steps.items())), else_=0.0)
             for column in columns]  # fmt: skip
    slow = _of_index(connection, which, [*columns, calls.c.pdd]).where(sa.or_(*(calls.c.pdd >= one for one in least)))
    for *of, pdd in connection.execute(slow):
        for group in {*of, None}:
            groups[group].slowest.append(pdd)
    return groups


def _groups(by: str) -> list[sa.ColumnElement]:
    """The columns of which each says a group: a peer is on either side of the INVITE."""
    if by == "peer":
        return [calls.c.src_ip, calls.c.dst_ip]
    if by in ("hour", "day"):
        moment, unit = calls.c.setup_time, HOUR if by == "hour" else 24 * HOUR
        return [(moment - moment % unit).label("moment")]
    return [calls.c[by]]


def _sums(connection: sa.Connection, which: list[conditions.Sql], groups: list[sa.ColumnElement]) -> sa.Select:
    verdict = calls.c.verdict
    response, answered = verdict.op(">>")(8), verdict.op("&")(facts.ANSWERED) != 0

    def number(condition) -> sa.ColumnElement:
        return sa.func.count(sa.case((condition, 1)))  # a sum would be one of decimals, in MariaDB

    columns = [
        *groups, sa.func.count().label("attempts"), number(answered).label("answered"),
        number(sa.or_(answered, response.in_(EFFECTIVE))).label("effective"),
        sa.func.sum(sa.case((answered, calls.c.connect_duration), else_=0)).label("talked"),
        sa.func.count(calls.c.pdd).label("pdds"), sa.func.sum(calls.c.pdd).label("pdd"),
        sa.func.count(calls.c.mos).label("scored"), sa.func.sum(calls.c.mos).label("mos"),
        sa.func.sum(calls.c.lost).label("lost"), sa.func.sum(calls.c.expected).label("expected"),
        number(sa.and_(answered, verdict.op("&")(facts.ONE_WAY) != 0)).label("one_way"),
        *(number(calls.c.pdd >= step).label(f"over{n}") for n, step in enumerate(STEPS)),
    ]  # fmt: skip
    exactly = []
    if connection.dialect.name != "sqlite":  # to the byte: to MariaDB's collation Hq and hq are the same
        exactly = [sa.func.crc32(group) for group in groups if group is calls.c.site or group is calls.c.sensor]
    return _of_index(connection, which, columns).group_by(*groups, *exactly)


def _which(connection: sa.Connection, query: Query) -> list[conditions.Sql]:
    """The attempts that are wanted. Those with a number that does not fit into its key are looked up one by one."""
    verdict, number = calls.c.verdict, query.wanted.number
    streams = verdict.between(facts.STREAMS << 8, facts.STREAMS << 8 | 255)  # no attempts
    found = [calls.c.kind == facts.INVITES, *conditions.times(query), ~streams]
    found += [one.sql for one in conditions.conditions(query) if one.option != "number"]
    if number is not None:
        long = {call.setup_time for call in _searched(connection, replace(query, full=True))}
        found.append(sa.or_(conditions.in_keys(number), sa.and_(conditions.FULL, calls.c.setup_time.in_(long))))
    return found


def _of_index(connection: sa.Connection, which: list[conditions.Sql], columns: list) -> sa.Select:
    """From the index alone."""
    found = sa.select(*columns)
    if connection.dialect.name != "sqlite":
        found = found.with_hint(calls, "FORCE INDEX (calls_facts)", "mysql")
    return found.where(*which)


# -- one by one ----------------------------------------------------------------------------------


def _read(connection: sa.Connection, query: Query, by: str) -> dict:
    """The same from the calls themselves, where the filter is one that SQL cannot hold to."""
    groups: dict = {}
    for call in _searched(connection, query):
        if call.method != "INVITE":
            continue
        one = _of(call)
        for group in (*_groups_of(call, by), None):
            found = groups.setdefault(group, Figures())
            found.add(one)
            found.slowest += [] if call.pdd is None else [call.pdd]
    return groups


def _searched(connection: sa.Connection, query: Query) -> list[CallRecord]:
    page = Search(connection, query, Order(), REFINED, seconds=60.0).page()
    if page.more:
        raise VoipfleetError(f"kpi: by this address, domain or number more than {REFINED:,} calls have to be read,"
                             " or it takes more than a minute; give a shorter time (--since, --until)")  # fmt: skip
    return page.calls


def _of(call: CallRecord) -> Figures:
    moses = [stream.mos for stream in call.streams if stream.mos is not None]
    sides = [stream for side in ("caller", "callee") for stream in of_side(call, side)]
    up = bool(call.answer_time)
    return Figures(1, int(up), int(up or call.final_response in EFFECTIVE), call.connect_duration if up else 0.0,
                int(call.pdd is not None), call.pdd or 0.0, int(bool(moses)), min(moses, default=0.0),
                sum(stream.lost for stream in sides), sum(stream.expected for stream in sides),
                int(up and call.one_way))  # fmt: skip


def _groups_of(call: CallRecord, by: str) -> set:
    if by == "peer":
        return {facts.packed(call.src), facts.packed(call.dst)}
    if by in ("hour", "day"):
        return {call.setup_time - call.setup_time % (HOUR if by == "hour" else 24 * HOUR)}
    return {getattr(call, by)}
