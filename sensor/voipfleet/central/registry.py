"""Every sensor that ever connected: what it said last, what follows from two of its statuses, and its history."""

import itertools
import json
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field

import sqlalchemy as sa

from voipfleet.central import facts, rows, schema
from voipfleet.central.upsert import upsert
from voipfleet.central.writing import Peer
from voipfleet.records.messages import Status

SECOND, MINUTE = 1_000_000_000, 60 * 1_000_000_000
SILENT = 20 * SECOND  # a status comes every 5 s
RHYTHM = 10  # times the usual gap between two calls without one are more than chance,
QUIET = 5 * MINUTE  # but not before this
LOOKED_AT = 2_000  # calls of a sensor, of the last WEEKS, from which its rhythm is learnt
WEEKS = 2 * 7 * 86_400 * SECOND
ENOUGH = 5  # gaps of an hour of the day; with fewer all of them count
DROPS = ("capture_kernel_drops_total", "pipe_records_dropped_total", "pipe_packets_dropped_total")


@dataclass(frozen=True)
class Seen:
    """What a sensor said: `via` the host behind which it stands, `connected` ns since the epoch (0: not known)."""

    peer: Peer
    status: Status
    via: str = ""
    connected: int = 0


@dataclass
class Registry:
    """`written`: the last minute of each sensor's history that is written, so that one statement a minute does."""

    on_sqlite: bool
    written: dict[bytes, int] = field(default_factory=dict)

    def seen(self, connection: sa.Connection, told: list[Seen], register) -> None:
        """Keep it, with the rate of packets since what was said before; `register(connection, uuid)` makes its row."""
        now, table = time.time_ns(), schema.sensors
        uuids = [one.peer.sensor_uuid for one in told]
        query = sa.select(
            table.c.uuid, table.c.started, table.c.last_seen, table.c.counters, table.c.packets_per_second
        )
        before = {one.uuid: one for one in connection.execute(query.where(table.c.uuid.in_(uuids)))}
        found, history = [], []
        for one in told:
            uuid, status = one.peer.sensor_uuid, one.status
            if uuid not in before:
                register(connection, uuid)
            rate = _rate(before.get(uuid), status, now)
            found.append({
                "of": uuid, "name": rows.clean(one.peer.name), "address": rows.clean(one.peer.address),
                "via": rows.clean(one.via), "fingerprint": rows.clean(one.peer.key)[:64], "last_seen": now,
                "connected": max(0, min(one.connected, 1 << 62)), "packets_per_second": rate,
                **rows.status_row(status),
            })  # fmt: skip
            if self.written.get(uuid) != now // MINUTE:
                history.append({"uuid": uuid, "minute": now // MINUTE, "packets_per_second": rate} | _figures(status))
        connection.execute(table.update().where(table.c.uuid == sa.bindparam("of")), found)
        if history:
            connection.execute(upsert(schema.sensor_history, self.on_sqlite), history)
        self.written = {uuid: minute for uuid, minute in self.written.items() if minute == now // MINUTE}
        self.written |= {one["uuid"]: one["minute"] for one in history}


def _rate(before, status: Status, now: int) -> float | None:
    """Packets a second between two statuses of one life; what it was where they are too near to tell."""
    if before is None or before.started != status.started:
        return None
    seconds = (now - before.last_seen) / SECOND
    if seconds < 1:
        return before.packets_per_second
    old, new = json.loads(before.counters).get("capture_packets_total"), status.counters.get("capture_packets_total")
    return None if old is None or new is None or new < old else round((new - old) / seconds, 1)


def _figures(status: Status) -> dict[str, int | None]:
    """What of its counters is kept in its history."""
    get = status.counters.get
    dropped = [value for name in DROPS if (value := get(name)) is not None]
    found = {
        "calls": get("calls_active"), "drops": sum(dropped) if dropped else None,
        "backlog": get("records_queued"), "disk_free": get("disk_free_bytes"), "disk_size": get("disk_size_bytes"),
        "pool_bytes": get("pool_bytes"), "oldest": get("pool_oldest_ns") or None,
        "clock_offset_us": get("clock_offset_us"),
    }  # fmt: skip
    limit = 1 << 62
    return {name: None if value is None else max(-limit, min(value, limit)) for name, value in found.items()}


def sensors(connection: sa.Connection, now: int | None = None, rhythms: dict[bytes, tuple] | None = None) -> list[dict]:
    """Every sensor as a JSON object, by name; times are ns, 0: not known. `rhythms` is kept by who asks again and
    again."""
    now = time.time_ns() if now is None else now
    rhythms = {} if rhythms is None else rhythms
    found = []
    for row in connection.execute(sa.select(schema.sensors).order_by(schema.sensors.c.name, schema.sensors.c.uuid)):
        counters = json.loads(row.counters)
        status = Status(row.name, row.sensor_id, row.version, row.mode, row.site, row.started, counters)
        one = {"uuid": row.uuid.hex(), "name": row.name, "id": row.sensor_id, "site": row.site, "address": row.address,
               "via": row.via, "mode": row.mode, "version": row.version, "key": row.fingerprint,
               "up_since": row.started, "connected_since": row.connected, "last_seen": row.last_seen,
               "packets_per_second": row.packets_per_second} | _figures(status)  # fmt: skip
        offset = one.pop("clock_offset_us")
        one["clock_offset_ms"] = None if offset is None else offset / 1000
        one["last_call"], usual = _rhythm(connection, row.name, now, rhythms)
        one["remark"] = remark(now, row.last_seen, one["last_call"], usual)
        found.append(one)
    return found


def remark(now: int, last_seen: int, last_call: int, usual: float | None) -> str:
    """In words what is not as usual; empty where all is. `usual`: seconds between two calls at this hour."""
    if not last_seen:
        return "was never heard of since it was registered"
    if now - last_seen > SILENT:
        return f"silent for {span((now - last_seen) / SECOND)}"
    quiet = now - last_call
    if usual is not None and last_call and quiet > max(QUIET, RHYTHM * usual * SECOND):
        return f"no call for {span(quiet / SECOND)}, usually every {span(usual)}"
    return ""


def span(seconds: float) -> str:
    """A length of time in one unit."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size or (size == 60 and seconds >= 60):
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _rhythm(connection: sa.Connection, name: str, now: int, known: dict) -> tuple[int, float | None]:
    """(ns of its last call, seconds that usually lie between two at this hour of the day)."""
    table = schema.calls
    query = sa.select(table.c.setup_time).where(table.c.kind == facts.INVITES, table.c.sensor == name)
    query = query.order_by(table.c.setup_time.desc())
    last = connection.execute(query.where(table.c.setup_time <= now).limit(1)).scalar() or 0
    if now - last < QUIET or not last:
        return last, None
    hour = now // (60 * MINUTE)
    if known.get(name, (None,))[0] != hour:
        wanted = query.where(table.c.setup_time.between(now - WEEKS, now)).limit(LOOKED_AT)
        known[name] = hour, usual_gap(connection.execute(wanted).scalars().all(), hour % 24)
    return last, known[name][1]


def usual_gap(times: list[int], hour: int) -> float | None:
    """The median gap in s between calls (newest first) that began at this hour (UTC) of any day; of all of them where
    those are few; None where there are hardly any."""
    gaps: dict[int, list[float]] = defaultdict(list)
    for later, earlier in itertools.pairwise(times):
        gaps[earlier // (60 * MINUTE) % 24].append((later - earlier) / SECOND)
    everything = [gap for some in gaps.values() for gap in some]
    some = gaps[hour] if len(gaps[hour]) >= ENOUGH else everything
    return statistics.median(some) if len(some) >= ENOUGH else None


def forget(connection: sa.Connection, name: str) -> int:
    """Remove a sensor (its name, or its uuid in hex) and its history from the list; how many were of that name. Its
    calls stay. The key that its uuid was bound to is forgotten too: it is bound anew when it connects again."""
    table, history = schema.sensors, schema.sensor_history
    query = sa.select(table.c.uuid).where(sa.or_(table.c.name == name, table.c.uuid == _uuid(name)))
    uuids = connection.execute(query).scalars().all()
    if uuids:
        connection.execute(history.delete().where(history.c.uuid.in_(uuids)))
        connection.execute(table.delete().where(table.c.uuid.in_(uuids)))
    return len(uuids)


def history(connection: sa.Connection, name: str, since: int) -> list[dict]:
    """A row a minute of a sensor from `since` (ns) on, the oldest first; `at` in ns."""
    table, sensors_ = schema.sensor_history, schema.sensors
    query = sa.select(table).join(sensors_, sensors_.c.uuid == table.c.uuid)
    query = query.where(sa.or_(sensors_.c.name == name, table.c.uuid == _uuid(name)), table.c.minute >= since // MINUTE)
    found = []
    for row in connection.execute(query.order_by(table.c.minute, table.c.uuid)).mappings():
        one = dict(row)
        offset = one.pop("clock_offset_us")
        one |= {"uuid": row["uuid"].hex(), "clock_offset_ms": None if offset is None else offset / 1000}
        found.append({"at": one.pop("minute") * MINUTE} | one)
    return found


def _uuid(name: str) -> bytes:
    try:
        return bytes.fromhex(name)[:16]
    except ValueError:
        return b""
