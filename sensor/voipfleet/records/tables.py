"""What the outbox's file looks like, its books, how files of earlier releases are read, and checksums of its rows.

Schema 1 had neither checksums nor checkpoints. This release reads it and makes it schema 2; an older release refuses a
file of schema 2 with a sentence.
"""

import os
import sqlite3
from dataclasses import dataclass
from zlib import crc32

SCHEMA = 2
_TABLES = (
    "CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY, uuid BLOB NOT NULL, revision INTEGER NOT NULL,"
    " kind INTEGER NOT NULL, body BLOB NOT NULL, created INTEGER NOT NULL, crc INTEGER)",
    "CREATE TABLE IF NOT EXISTS checkpoints (uuid BLOB PRIMARY KEY, body BLOB NOT NULL, crc INTEGER)",
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS origins (uuid BLOB, epoch BLOB, number INTEGER NOT NULL, at INTEGER NOT NULL,"
    " PRIMARY KEY (uuid, epoch)) WITHOUT ROWID",
)
# `acknowledged`, `gaps`: rows in all; `replaced`: gap records in whose place a later one stands; `gap_seq`: the last
COUNTERS = ("acked_through", "acknowledged", "gaps", "replaced", "gap_seq")


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


class Meta:
    """The table of that name: figures of the books, and names. What is not in it by `prepare` cannot be set."""

    def __init__(self, db: sqlite3.Connection):
        self._db = db

    def __getitem__(self, name: str):
        return self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0]

    def __setitem__(self, name: str, value) -> None:
        self._db.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))


def checksum(uuid: bytes, revision: int, kind: int, body: bytes) -> int:
    """Of a row, wherever it stands; of a checkpoint, with revision and kind 0."""
    return crc32(body, crc32(b"%b %d %d" % (uuid, revision, kind)))


def prepare(db: sqlite3.Connection) -> int:
    """Make the tables where there are none, upgrade those of schema 1; the schema then. Raises sqlite3.Error."""
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    found = 0
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        row = db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        found = row[0] if row else 0
    if found >= SCHEMA:  # nothing is to be written: the disk may be full
        return found
    db.execute("BEGIN IMMEDIATE")
    for statement in _TABLES:
        db.execute(statement)
    if found == 1:
        db.execute("ALTER TABLE outbox ADD COLUMN crc INTEGER")  # of rows that are there: NULL, nothing is known
    values = {"epoch": os.urandom(16), "sensor_uuid": os.urandom(16), "next_seq": 1} | dict.fromkeys(COUNTERS, 0)
    db.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", values.items())
    db.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (SCHEMA,))
    db.execute("COMMIT")
    return SCHEMA
