"""The durable outbox: every record stays here from the moment it exists until the store has committed it.

One SQLite file, WAL, `synchronous=FULL`; one thread owns it (the courier's), appends are grouped into
one transaction by the caller. Sequence numbers have no holes within an epoch, so the receiver can name
what it has with one number. Rows are kept for a while after they were acknowledged, so that a store
that was restored from a backup gets them again. Beside them are checkpoints of the calls that are up; what an
earlier process has left of these becomes records.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from voipfleet.errors import VoipfleetError
from voipfleet.records import erasing
from voipfleet.records.messages import CALL, CHECKPOINT, GAP, MAX_BATCH_BYTES, MAX_ROWS, GapRecord, Row
from voipfleet.records.tables import SCHEMA, Meta, OutboxState, checksum, prepare

MAX_EPOCHS = 8  # of one capturing host whose cursors are kept
Origin = tuple[bytes, bytes]
NOTHING: Mapping = MappingProxyType({})
QUOTA_ROWS, QUOTA_BYTES = 3_000_000, 2 << 30  # beyond either the oldest rows are given up, as a gap record says
SWEEP = 1000  # rows that one acknowledgement may delete for their age
OUTBOX_FULL, NOT_WRITTEN = "outbox full", "outbox could not be written"


class OutboxError(VoipfleetError):
    """The outbox cannot be used; the sentence says what to do."""


class Outbox:
    """See the module. Not thread-safe: all calls come from one thread. Times are seconds since the epoch.

    `quota_rows` and `quota_bytes` bound what is held, what was acknowledged too.
    """

    def __init__(self, path: Path, *, keep_acked_hours: int = 24, quota_rows: int = QUOTA_ROWS,
                 quota_bytes: int = QUOTA_BYTES):  # fmt: skip
        self.path = path
        self.options = {"keep_acked_hours": keep_acked_hours, "quota_rows": quota_rows, "quota_bytes": quota_bytes}
        self._keep = keep_acked_hours * 3600
        self._began = time.time() - time.monotonic()
        self._quota, self._quota_bytes = quota_rows, quota_bytes
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            schema = prepare(self._db)
        except (sqlite3.Error, OSError) as error:
            raise OutboxError(f"{path}: cannot keep records here ({error}); make the folder writable for this user"
                              " or set spooldir") from error  # fmt: skip
        if schema != SCHEMA:
            raise OutboxError(f"{path}: written by another release (schema {schema}, this one reads {SCHEMA});"
                              " start that release once more to deliver it")  # fmt: skip
        self._meta = Meta(self._db)
        self._queued = self._count(self._meta["acked_through"], 1 << 62)
        self.leftovers = 0  # calls that were up when an earlier process was killed
        with contextlib.suppress(sqlite3.OperationalError):  # a full disk: at the next start then
            self.leftovers = self._take_over()

    # -- what the courier asks -----------------------------------------------------------------------

    @property
    def epoch(self) -> bytes:
        return self._meta["epoch"]

    @property
    def sensor_uuid(self) -> bytes:
        return self._meta["sensor_uuid"]

    def state(self) -> OutboxState:
        next_seq = self._meta["next_seq"]
        (floor,) = self._db.execute("SELECT min(seq) FROM outbox").fetchone()
        return OutboxState(
            self.epoch, next_seq, self._meta["acked_through"], floor or next_seq, next_seq - 1 - self._meta["replaced"],
            self._meta["acknowledged"], self._queued, self._meta["gaps"])  # fmt: skip

    def oldest(self) -> int:
        """When the first row that waits was made; 0 where none does."""
        query = "SELECT created FROM outbox WHERE seq > ? ORDER BY seq LIMIT 1"
        found = self._db.execute(query, (self._meta["acked_through"],)).fetchone()
        return found[0] if found else 0

    @property
    def size(self) -> int:
        """Bytes of the pages in use."""
        pages, free, size = (self._db.execute(f"PRAGMA {name}").fetchone()[0]
                             for name in ("page_count", "freelist_count", "page_size"))  # fmt: skip
        return (pages - free) * size

    @property
    def store(self) -> bytes:
        """The uuid of the store to which rows were delivered last."""
        found = self._db.execute("SELECT value FROM meta WHERE name = 'store'").fetchone()
        return found[0] if found else b""

    def delivers_to(self, store: bytes) -> None:
        """From now on rows are delivered to that store."""
        if store != self.store:
            with self._transaction():
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('store', ?)", (store,))

    def append(self, rows: list[tuple[bytes, int, int, bytes]], origins: Mapping[Origin, int] = NOTHING,
               checkpoints: Mapping[bytes, bytes] = NOTHING, lost: int = 0) -> int:  # fmt: skip
        """Store (uuid, revision, kind, body) rows in one transaction, synced; returns the last `seq`.

        `origins`: through which block of each capturing host's packets these are all records. `checkpoints`: by uuid
        the records of open calls as they are now; that of a call whose record is among `rows` goes. `lost`: so many
        records before these could not be stored; they have numbers, too, and a gap record.
        """
        now = int(time.time())
        with self._transaction():
            self._db.executemany("INSERT INTO checkpoints VALUES (?, ?, ?) ON CONFLICT (uuid) DO UPDATE"
                                 " SET body = excluded.body, crc = excluded.crc",
                                 [(uuid, body, checksum(uuid, 0, CHECKPOINT, body))
                                  for uuid, body in checkpoints.items()])  # fmt: skip
            self._db.executemany("DELETE FROM checkpoints WHERE uuid = ?", [row[:1] for row in rows if row[2] == CALL])
            self._lose(lost, now)
            self._insert(rows, now)
            self._keep_origins(origins, now)
            self._bound(now)
        return self._meta["next_seq"] - 1

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
        acked = self._meta["acked_through"]
        if through <= acked:
            return
        # By a clock that nobody sets: one that jumps ahead must not make old what is kept for a replay.
        old = int(self._began + time.monotonic()) - self._keep
        with self._transaction():
            count = self._count(acked, through)
            self._queued -= count
            self._meta["acked_through"] = through
            self._meta["acknowledged"] += count
            first = self._db.execute("SELECT created FROM outbox ORDER BY seq LIMIT 1").fetchone()
            if first and first[0] <= old:
                self._db.execute(
                    "DELETE FROM outbox WHERE created <= ? AND seq IN"
                    " (SELECT seq FROM outbox WHERE seq <= ? ORDER BY seq LIMIT ?)", (old, through, SWEEP)
                )  # fmt: skip

    def forget_acknowledged(self) -> int:
        """A tenth of the acknowledged rows that are kept for a replay goes, for the sake of new ones; how many."""
        acked = self._meta["acked_through"]
        (first,) = self._db.execute("SELECT min(seq) FROM outbox").fetchone()
        if not first or first > acked:
            return 0
        with self._transaction():
            through = first + (acked - first) // 10
            return self._db.execute("DELETE FROM outbox WHERE seq <= ?", (through,)).rowcount

    def erase(self, uuids: Collection[bytes], number: str = "") -> int:
        """See erasing.erase."""
        with self._transaction():
            done = erasing.erase(self._db, uuids, number)
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what was there is in the log, too
        return done

    def uuid_at(self, seq: int) -> bytes | None:
        """The uuid of the row `seq`; None where it is not held any more (or not yet)."""
        found = self._db.execute("SELECT uuid FROM outbox WHERE seq = ?", (seq,)).fetchone()
        return found[0] if found else None

    def new_epoch(self) -> bytes:
        """This outbox was rolled back (a snapshot): what it holds is sent again under a new name."""
        with self._transaction():
            self._meta["epoch"] = os.urandom(16)
        return self.epoch

    def close(self) -> None:
        self._db.close()

    # -- inside --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        queued = self._queued
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._queued = queued
            with contextlib.suppress(sqlite3.Error):  # after some errors it is rolled back already
                self._db.execute("ROLLBACK")
            raise

    def _count(self, after: int, through: int) -> int:
        query = "SELECT count(*) FROM outbox WHERE seq > ? AND seq <= ?"
        return self._db.execute(query, (after, through)).fetchone()[0]

    def _insert(self, rows: list[tuple[bytes, int, int, bytes]], now: int) -> int:
        first = self._meta["next_seq"]
        self._db.executemany(
            "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(first + i, *row, now, checksum(*row)) for i, row in enumerate(rows)],
        )
        self._meta["next_seq"] = first + len(rows)
        self._queued += len(rows)
        return first + len(rows) - 1

    def _lose(self, count: int, now: int) -> None:
        if count:
            first = self._meta["next_seq"]
            self._meta["next_seq"] = first + count
            self._meta["gaps"] += count
            self._note_gap(GapRecord(first, first + count - 1, count, NOT_WRITTEN, now * 1_000_000_000), [], now)

    def _take_over(self) -> int:
        """Checkpoints become records; how many there were."""
        left = self._db.execute("SELECT uuid, body FROM checkpoints").fetchall()
        if left:
            self.append([(uuid, 1, CALL, body) for uuid, body in left])
        return len(left)

    def _keep_origins(self, origins: Mapping[Origin, int], now: int) -> None:
        for (uuid, epoch), number in origins.items():
            known = self._db.execute("SELECT 1 FROM origins WHERE uuid = ? AND epoch = ?", (uuid, epoch)).fetchone()
            self._db.execute("INSERT OR REPLACE INTO origins VALUES (?, ?, ?, ?)", (uuid, epoch, number, now))
            if not known:  # a capturing host begins a new epoch whenever it starts
                self._db.execute(
                    "DELETE FROM origins WHERE uuid = ? AND epoch NOT IN"
                    " (SELECT epoch FROM origins WHERE uuid = ? ORDER BY at DESC LIMIT ?)", (uuid, uuid, MAX_EPOCHS)
                )  # fmt: skip

    def _bound(self, now: int) -> None:
        """Room for new records: acknowledged rows go unnoticed, undelivered ones leave a gap record."""
        first, last = self._db.execute("SELECT min(seq), max(seq) FROM outbox").fetchone()
        if not first:
            return
        held, size = last - first + 1, self.size
        excess = max(held - self._quota, held - held * self._quota_bytes // size)
        if excess > 0:
            self._give_up(first + min(excess + held // 100, held) - 1, now)  # not one at a time

    def _give_up(self, through: int, now: int) -> None:
        """Everything through there. A gap record that was not delivered yet is replaced by one that says it all."""
        acked = self._meta["acked_through"]
        lost = self._db.execute("SELECT min(seq), count(*) FROM outbox WHERE seq > ? AND seq <= ? AND kind != ?",
                                (acked, through, GAP)).fetchone()  # fmt: skip
        last = self._meta["gap_seq"] if lost[1] else 0
        gaps = self._db.execute("SELECT seq, uuid, revision, kind, body FROM outbox WHERE kind = ? AND seq > ?"
                                " AND (seq <= ? OR seq = ?)", (GAP, acked, through, last)).fetchall()  # fmt: skip
        self._db.execute("DELETE FROM outbox WHERE seq <= ?", (through,))
        self._queued -= lost[1]
        self._meta["gaps"] += lost[1]
        self._note_gap(GapRecord(lost[0] or 0, through, lost[1], OUTBOX_FULL, now * 1_000_000_000), gaps, now)

    def _note_gap(self, gap: GapRecord, before: list[tuple], now: int) -> None:
        """A gap record at the end of the queue; `before`: gap records (rows with seq) that move there, too, or into it
        where they are for the same reason. That one keeps its uuid: the store may have it, and its acknowledgement be
        on the way. In a transaction."""
        uuid, revision, moved = os.urandom(16), 1, []
        for seq, *row in before:
            old = msgspec.msgpack.decode(row[3], type=GapRecord)
            self._db.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
            if old.reason == gap.reason:
                first = min(filter(None, (old.from_seq, gap.from_seq)))
                gap = msgspec.structs.replace(gap, from_seq=first, count=gap.count + old.count)
                uuid, revision = row[0], row[1] + 1
            else:
                moved.append(tuple(row))
        self._queued -= len(before)
        self._meta["replaced"] += len(before)
        self._insert(moved, now)
        if gap.count:
            self._meta["gap_seq"] = self._insert([(uuid, revision, GAP, msgspec.msgpack.encode(gap))], now)
