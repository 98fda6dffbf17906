"""An outbox whose file is damaged: what of it is whole goes into a new one, and the file stays beside it.

The new file has the same sensor_uuid and sequence numbers as far as they can be read, another epoch, and a gap record
that says what is missing. It is complete before it takes the place of the damaged one, so a kill loses nothing.
"""

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from voipfleet.records.messages import CALL, CHECKPOINT, GAP, PROBE, GapRecord
from voipfleet.records.outbox import Outbox, OutboxError
from voipfleet.records.tables import COUNTERS, SCHEMA, Meta, checksum, prepare
from voipfleet.room import free
from voipfleet.whole import sync_folder

log = logging.getLogger("voipfleet.outbox")
FATAL = ("disk I/O error", "database disk image is malformed", "file is not a database")
DAMAGED = "outbox damaged"
UNREADABLE = (sqlite3.Error, UnicodeError)  # the latter: damaged text in the message of the former
NEEDED = 256 << 10  # bytes without which SQLite cannot open a file
KEPT = 3  # damaged files that are kept
CHUNK = 512  # rows that are read at once
MAX_SEQ = 1 << 62  # what is beyond it is no number that was given out
MAX_BAD = 50_000  # rows that are looked for one by one where reading fails


def fatal(error: BaseException | None) -> bool:
    """Whether nothing more must be written to the file: after a failed sync nobody knows what is on the disk."""
    return isinstance(error, sqlite3.Error) and str(error).startswith(FATAL)


def _damage(error: BaseException | None, path: Path) -> bool:
    """Whether an error at opening is for what is in the file, and not for what may be done with it."""
    no = ("database is locked", "unable to open", "database or disk is full")
    allowed = os.access(path, os.W_OK) or "readonly" not in str(error)
    full = str(error) == "disk I/O error" and free(path.parent) < NEEDED  # so it says where its index has no room
    return isinstance(error, UNREADABLE) and not str(error).startswith(no) and allowed and not full


def open_outbox(path: Path, **options) -> Outbox:
    """The outbox at `path`, checked, and salvaged where it is damaged. Raises OutboxError for other faults."""
    if _beside(path, ".new").exists() and not path.exists():  # a kill came in between
        _swap(path, _aside(path))
    why = _fault(path)
    if not why:
        try:
            return Outbox(path, **options)
        except OutboxError as error:
            if not _damage(error.__cause__, path):
                raise
            why = str(error.__cause__)
    return renew(path, why, **options)


def renew(path: Path, why: str, **options) -> Outbox:
    """A new outbox with what is whole in the damaged one, which is renamed. Raises OutboxError."""
    aside = _aside(path)
    try:
        rows, missing, same = _salvage(path, _beside(path, ".new"))
        _swap(path, aside)
        _forget_old(path)
    except (*UNREADABLE, OSError) as error:
        _beside(path, ".new").unlink(missing_ok=True)
        raise OutboxError(f"{path}: is damaged ({why}) and cannot be replaced ({error}); make room on its file system"
                          " and check the disk") from error  # fmt: skip
    log.error("%s: damaged (%s), now %s; %d records of it are saved, %s missing%s; check the disk", path, why,
              aside.name, rows, "nobody knows how many are" if missing is None else f"{missing} are",
              "" if same else ", and this host goes on under a new uuid")  # fmt: skip
    return Outbox(path, **options)


def _swap(path: Path, aside: Path) -> None:
    """The new file for the damaged one. That goes first, its log before the new one comes: it is not the new one's."""
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            _beside(path, suffix).rename(_beside(aside, suffix))
    _beside(path, ".new").rename(path)
    sync_folder(path.parent)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _aside(path: Path) -> Path:
    name = f"{path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    taken = len(list(path.parent.glob(f"{name}*")))
    return path.with_name(f"{name}-{taken}" if taken else name)


def _forget_old(path: Path) -> None:
    found = [one for one in path.parent.glob(f"{path.name}.corrupt-*") if not one.name.endswith(("-wal", "-shm"))]
    for old in sorted(found, key=lambda one: one.stat().st_mtime)[:-KEPT]:
        for suffix in ("", "-wal", "-shm"):
            _beside(old, suffix).unlink(missing_ok=True)


def _fault(path: Path) -> str:
    """What is wrong with the file; "" for nothing, or for what opening it will tell."""
    if not path.exists():
        return ""
    try:
        if not path.stat().st_size:
            return "it is empty"
        with contextlib.closing(_connect(path)) as db:
            (said,) = db.execute("PRAGMA quick_check(1)").fetchone()
            return said.replace("\n", " ") if said != "ok" else _disagrees(db)
    except (*UNREADABLE, OSError) as error:
        return str(error) if _damage(error, path) else ""


def _disagrees(db: sqlite3.Connection) -> str:
    """What the database takes for right and is not: rows that are not what was written, books that do not balance."""
    meta = dict(db.execute("SELECT name, value FROM meta"))
    if isinstance(meta.get("schema"), int) and meta["schema"] != SCHEMA:
        return ""
    uuids = [meta.get(name) for name in ("epoch", "sensor_uuid")]
    if not all(isinstance(meta.get(name), int) for name in ("schema", "next_seq", *COUNTERS)):
        return "its books are not whole"
    if not all(isinstance(uuid, bytes) and len(uuid) == 16 for uuid in uuids):
        return "its names are not whole"
    queued, last = 0, 0
    for row in db.execute("SELECT seq, uuid, revision, kind, body, created, crc FROM outbox"):
        if not _sound(row):
            return f"record {row[0]} is not what was written"
        queued += row[0] > meta["acked_through"]
        last = row[0]
    created = meta["next_seq"] - 1 - meta["replaced"]
    balanced = created == meta["acknowledged"] + queued + meta["gaps"]
    return "" if balanced and last < meta["next_seq"] > meta["acked_through"] >= 0 else "its books do not balance"


def _salvage(path: Path, new: Path) -> tuple[int, int | None, bool]:
    """Make `new`; how many records are in it, how many are missing (None: unknown), and whether it has the old uuid."""
    for suffix in ("", "-wal", "-shm"):
        _beside(new, suffix).unlink(missing_ok=True)
    with contextlib.closing(_connect(path)) as old, contextlib.closing(_connect(new)) as db:
        prepare(db)
        return _fill(db, old)


def _fill(db: sqlite3.Connection, old: sqlite3.Connection) -> tuple[int, int | None, bool]:
    meta = dict(_all(old, "SELECT name, value FROM meta", 2))
    known = {name: meta[name] for name in ("next_seq", *COUNTERS) if isinstance(meta.get(name), int)}
    uuid = meta.get("sensor_uuid")
    if same := isinstance(uuid, bytes) and len(uuid) == 16:
        Meta(db)["sensor_uuid"] = uuid
    db.executemany("INSERT OR REPLACE INTO origins VALUES (?, ?, ?, ?)",
                   _all(old, "SELECT uuid, epoch, number, at FROM origins", 4))  # fmt: skip
    db.executemany("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?)",
                   filter(_whole, _all(old, "SELECT uuid, body, crc FROM checkpoints", 3)))  # fmt: skip
    count = 0
    for rows in _rows(old, known.get("next_seq")):
        db.execute("BEGIN")
        db.executemany("INSERT OR IGNORE INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        db.execute("COMMIT")
        count += len(rows)
    return count, _balance(db, known), same


def _balance(db: sqlite3.Connection, known: dict[str, int]) -> int | None:
    """The books of the new file and the gap record; how many records are missing (None: unknown)."""
    first, last = db.execute("SELECT min(seq), max(seq) FROM outbox").fetchone()
    missing = holes = None
    if {"next_seq", *COUNTERS} <= known.keys() and (last or 0) < known["next_seq"]:
        acked, end = known["acked_through"], known["next_seq"]
        queued, holes = _holes(db, acked, end)
        missing = end - 1 - known["replaced"] - known["acknowledged"] - known["gaps"] - queued
    if missing is None or not 0 <= missing <= sum(to - since + 1 for since, to in holes):
        missing, acked, end = None, (first or 1) - 1, (last or 0) + 1  # what came before counts as delivered
        queued, holes = _holes(db, acked, end)
        known = dict.fromkeys(COUNTERS, 0) | {"acked_through": acked, "acknowledged": acked,
                                              "gaps": end - 1 - acked - queued}  # fmt: skip
    lost = known["gaps"] if missing is None else missing
    known["gaps"] += missing or 0
    known["next_seq"] = end
    db.execute("BEGIN")
    if missing != 0:
        now = time.time_ns()
        gap = GapRecord(holes[0][0] if holes else 0, holes[-1][1] if holes else 0, lost, DAMAGED, now)
        row = (os.urandom(16), 1, GAP, msgspec.msgpack.encode(gap))
        db.execute("INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?)",
                   (end, *row, now // 1_000_000_000, checksum(*row)))  # fmt: skip
        known["next_seq"] = end + 1
    books = Meta(db)
    for name, value in known.items():
        books[name] = value
    db.execute("COMMIT")
    return missing


def _holes(db: sqlite3.Connection, after: int, end: int) -> tuple[int, list[tuple[int, int]]]:
    """How many rows there are after a number, and which numbers have none."""
    count, at, holes = 0, after, []
    for (seq,) in db.execute("SELECT seq FROM outbox WHERE seq > ? ORDER BY seq", (after,)):
        if seq > at + 1:
            holes.append((at + 1, seq - 1))
        count, at = count + 1, seq
    return count, [*holes, (at + 1, end - 1)] if at + 1 < end else holes


def _all(db: sqlite3.Connection, query: str, columns: int) -> list[tuple]:
    """As many rows as can be read."""
    found = []
    with contextlib.suppress(*UNREADABLE):
        for row in db.execute(query):
            found.append(row)
    return [row for row in found if len(row) == columns]


def _rows(db: sqlite3.Connection, end: int | None) -> Iterator[list[tuple]]:
    """The whole rows of the outbox, ascending; where reading fails, ever smaller pieces."""
    crc = "crc"
    try:
        db.execute("SELECT crc FROM outbox LIMIT 0")
    except UNREADABLE as error:
        crc = "NULL" if "no such column" in str(error) else crc  # schema 1
    # Both of words of this file.
    query = f"SELECT seq, uuid, revision, kind, body, created, {crc} FROM outbox WHERE seq BETWEEN ? AND ? ORDER BY seq"  # noqa: S608
    edges = [_all(db, f"SELECT {edge}(seq) FROM outbox", 1) for edge in ("min", "max")]  # noqa: S608
    first = (edges[0][0][0] if edges[0] else None) or 1
    last = (edges[1][0][0] if edges[1] else None) or (end or 1) - 1
    bad = MAX_BAD

    def read(low: int, high: int) -> list[tuple]:
        nonlocal bad
        try:
            return db.execute(query, (low, high)).fetchall()
        except UNREADABLE:
            bad -= 1
        if low >= high or bad <= 0:
            return []
        middle = (low + high) // 2
        return read(low, middle) + read(middle + 1, high)

    low, last = max(first, 1), min(last, MAX_SEQ)
    while low <= last and bad > 0:
        high = min(low + CHUNK - 1, last)
        yield [row for row in read(low, high) if _sound(row)]
        low = high + 1
        try:  # on to the next row: a number that is damaged may be as far away as 64 bits can say
            (there,) = db.execute("SELECT min(seq) FROM outbox WHERE seq >= ?", (low,)).fetchone()
            low = max(low, there) if there is not None else last + 1
        except UNREADABLE:
            bad -= 1


def _sound(row: tuple) -> bool:
    """Whether it is what was written; of rows of schema 1, whether it can be."""
    seq, uuid, revision, kind, body, _, crc = row
    if not 0 < seq < MAX_SEQ:
        return False
    types = isinstance(uuid, bytes) and isinstance(body, bytes) and kind in (CALL, PROBE, GAP)
    if not types or not isinstance(revision, int) or not isinstance(row[5], int):
        return False
    if crc is not None:
        return crc == checksum(uuid, revision, kind, body)
    try:
        msgspec.msgpack.decode(body or b"\xc0")
    except msgspec.MsgspecError:
        return False
    return True


def _whole(checkpoint: tuple) -> bool:
    uuid, body, crc = checkpoint
    return isinstance(uuid, bytes) and isinstance(body, bytes) and crc == checksum(uuid, 0, CHECKPOINT, body)
