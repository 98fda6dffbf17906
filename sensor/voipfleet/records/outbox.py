"""The durable outbox: every record stays here from the moment it exists until the store has committed it.

One SQLite file, WAL, `synchronous=FULL`; one thread owns it (the courier's), appends are grouped into
one transaction by the caller. Sequence numbers have no holes within an epoch, so the receiver can name
what it has with one number. Rows are kept for a while after they were acknowledged, so that a store
that was restored from a backup gets them again.
"""

import os
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import msgspec

from voipfleet.errors import VoipfleetError
from voipfleet.records.messages import CALL, GAP, MAX_BATCH_BYTES, MAX_ROWS, GapRecord, Row

SCHEMA = 1
MAX_EPOCHS = 8  # of one capturing host whose cursors are kept
Origin = tuple[bytes, bytes]
NOTHING: Mapping[Origin, int] = MappingProxyType({})
QUOTA_ROWS = 3_000_000  # about 2 GiB; beyond it the oldest rows are given up, as a gap record says

_TABLES = """
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY, uuid BLOB NOT NULL, revision INTEGER NOT NULL, kind INTEGER NOT NULL,
    body BLOB NOT NULL, created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS origins (
    uuid BLOB, epoch BLOB, number INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (uuid, epoch)) WITHOUT ROWID;
"""


class OutboxError(VoipfleetError):
    """The outbox cannot be used; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class OutboxState:
    """`created = acknowledged + queued + gaps` holds at any moment, over restarts."""

    epoch: bytes
    next_seq: int
    acked_through: int
    floor: int  # the smallest sequence number still held; next_seq when empty
    created: int
    acknowledged: int
    queued: int
    gaps: int  # records given up


class Outbox:
    """See the module. Not thread-safe: all calls come from one thread. Times are seconds since the epoch."""

    def __init__(self, path: Path, *, keep_acked_hours: int = 24, quota_rows: int = QUOTA_ROWS):
        self._keep = keep_acked_hours * 3600
        self._quota = quota_rows
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_TABLES)
            self._begin()
            self._set_default("schema", SCHEMA)
            self._set_default("epoch", os.urandom(16))
            self._set_default("sensor_uuid", os.urandom(16))
            for name in ("acked_through", "acknowledged", "gaps"):
                self._set_default(name, 0)
            self._set_default("next_seq", 1)
            self._db.execute("COMMIT")
            schema = self._get("schema")
        except (sqlite3.Error, OSError) as error:
            raise OutboxError(f"{path}: cannot keep records here ({error}); make the folder writable for this user"
                              " or set spooldir") from None  # fmt: skip
        if schema != SCHEMA:
            raise OutboxError(f"{path}: written by another release (schema {schema}, this one reads {SCHEMA});"
                              " start that release once more to deliver it") from None  # fmt: skip

    # -- what the courier asks -----------------------------------------------------------------------

    @property
    def epoch(self) -> bytes:
        return self._get("epoch")

    @property
    def sensor_uuid(self) -> bytes:
        return self._get("sensor_uuid")

    def state(self) -> OutboxState:
        next_seq, acked = self._get("next_seq"), self._get("acked_through")
        (floor,) = self._db.execute("SELECT min(seq) FROM outbox").fetchone()
        (queued,) = self._db.execute("SELECT count(*) FROM outbox WHERE seq > ?", (acked,)).fetchone()
        return OutboxState(
            self.epoch, next_seq, acked, floor or next_seq, next_seq - 1, self._get("acknowledged"), queued,
            self._get("gaps"))  # fmt: skip

    def append(self, rows: list[tuple[bytes, int, int, bytes]], origins: Mapping[Origin, int] = NOTHING) -> int:
        """Store (uuid, revision, kind, body) rows in one transaction, synced; returns the last `seq`.

        `origins`: through which block of each capturing host's packets these are all records.
        """
        now = int(time.time())
        self._begin()
        try:
            seq = self._insert(rows, now)
            self._keep_origins(origins, now)
            (held,) = self._db.execute("SELECT max(seq) - min(seq) + 1 FROM outbox").fetchone()
            if held and held > self._quota:
                seq = self._give_up_oldest(held - self._quota, now)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        return seq

    def origins(self) -> dict[Origin, int]:
        """(uuid of a capturing host, epoch of its numbers) -> the last block whose records are here."""
        return {(uuid, epoch): number for uuid, epoch, number in
                self._db.execute("SELECT uuid, epoch, number FROM origins")}  # fmt: skip

    def read(self, after: int, limit: int = MAX_ROWS, max_bytes: int = MAX_BATCH_BYTES) -> list[Row]:
        """The rows that follow `after`, at most `limit` and (but for the first) `max_bytes` of bodies."""
        rows, size = [], 0
        query = "SELECT seq, uuid, revision, kind, body FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?"
        for found in self._db.execute(query, (after, limit)):
            size += len(found[4])
            if rows and size > max_bytes:
                break
            rows.append(Row(*found))
        return rows

    def acknowledge(self, through: int) -> None:
        """Everything through `through` is committed at the store. Going back is not an acknowledgement."""
        acked = self._get("acked_through")
        if through <= acked:
            return
        self._begin()
        count = self._count(acked, through)
        self._set("acked_through", through)
        self._set("acknowledged", self._get("acknowledged") + count)
        self._db.execute("DELETE FROM outbox WHERE seq <= ? AND created <= ?", (through, int(time.time()) - self._keep))
        self._db.execute("COMMIT")

    def uuid_at(self, seq: int) -> bytes | None:
        """The uuid of the row `seq`; None where it is not held any more (or not yet)."""
        found = self._db.execute("SELECT uuid FROM outbox WHERE seq = ?", (seq,)).fetchone()
        return found[0] if found else None

    def new_epoch(self) -> bytes:
        """This outbox was rolled back (a snapshot): what it holds is sent again under a new name."""
        self._begin()
        self._set("epoch", os.urandom(16))
        self._db.execute("COMMIT")
        return self.epoch

    def close(self) -> None:
        self._db.close()

    # -- inside --------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def _get(self, name: str):
        return self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0]

    def _set(self, name: str, value) -> None:
        self._db.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))

    def _set_default(self, name: str, value) -> None:
        self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, value))

    def _count(self, after: int, through: int) -> int:
        query = "SELECT count(*) FROM outbox WHERE seq > ? AND seq <= ?"
        return self._db.execute(query, (after, through)).fetchone()[0]

    def _insert(self, rows: list[tuple[bytes, int, int, bytes]], now: int) -> int:
        first = self._get("next_seq")
        self._db.executemany(
            "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?)",
            [(first + i, *row, now) for i, row in enumerate(rows)],
        )
        self._set("next_seq", first + len(rows))
        return first + len(rows) - 1

    def _keep_origins(self, origins: Mapping[Origin, int], now: int) -> None:
        for (uuid, epoch), number in origins.items():
            known = self._db.execute("SELECT 1 FROM origins WHERE uuid = ? AND epoch = ?", (uuid, epoch)).fetchone()
            self._db.execute("INSERT OR REPLACE INTO origins VALUES (?, ?, ?, ?)", (uuid, epoch, number, now))
            if not known:  # a capturing host begins a new epoch whenever it starts
                self._db.execute(
                    "DELETE FROM origins WHERE uuid = ? AND epoch NOT IN"
                    " (SELECT epoch FROM origins WHERE uuid = ? ORDER BY at DESC LIMIT ?)", (uuid, uuid, MAX_EPOCHS)
                )  # fmt: skip

    def _give_up_oldest(self, count: int, now: int) -> int:
        """Room for new records: acknowledged rows go unnoticed, undelivered ones leave a gap record."""
        count += self._quota // 100  # not one at a time
        (first,) = self._db.execute("SELECT min(seq) FROM outbox").fetchone()
        through = first + count - 1
        lost_from = max(first, self._get("acked_through") + 1)
        lost = self._db.execute(
            "SELECT count(*) FROM outbox WHERE seq >= ? AND seq <= ? AND kind = ?", (lost_from, through, CALL)
        ).fetchone()[0]
        undelivered = self._count(lost_from - 1, through)
        self._db.execute("DELETE FROM outbox WHERE seq <= ?", (through,))
        self._set("gaps", self._get("gaps") + undelivered)
        if not lost:
            return self._get("next_seq") - 1
        gap = GapRecord(lost_from, through, lost, "outbox full", now * 1_000_000_000)
        return self._insert([(os.urandom(16), 1, GAP, msgspec.msgpack.encode(gap))], now)
