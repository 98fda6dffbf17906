"""Which calls may have packets here: an index of the records that this host has made (SQLite, `calls.db`).

It is worth less than what it points to: what waits for a commit when the process is killed is lost, a file that is
damaged is put aside and begun anew.
"""

import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord
from voipfleet.packetstore import catalogue
from voipfleet.packetstore.keys import keys_of
from voipfleet.packetstore.segment import HOUR_NS, hour_ns

log = logging.getLogger("voipfleet.pool")
NAME = "calls.db"
COMMIT_EVERY = 1.0  # s
MAX_PENDING = 20_000  # records that wait while the disk refuses; beyond it the oldest go, counted
PURGE_EVERY, PURGED_AT_ONCE = 600.0, 500  # s; rows
EMPTY_NS = 24 * HOUR_NS  # how long calls stay whose packets are on no disk yet, or never will be
BEFORE_NS, AFTER_NS = 5_000_000_000, 60_000_000_000  # what a call's packets may be away from what its record says
UP_NS = 400 * 24 * HOUR_NS  # how long a registration that is up may go on without another record
_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (uuid BLOB PRIMARY KEY, revision INTEGER, call_id TEXT, caller TEXT, callee TEXT,
  first INTEGER, last INTEGER, body BLOB);
CREATE INDEX IF NOT EXISTS by_call_id ON calls (call_id);
CREATE INDEX IF NOT EXISTS by_caller ON calls (caller);
CREATE INDEX IF NOT EXISTS by_callee ON calls (callee);
CREATE INDEX IF NOT EXISTS by_last ON calls (last);
"""
_PUT = """INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uuid) DO UPDATE SET
  revision = excluded.revision, call_id = excluded.call_id, caller = excluded.caller, callee = excluded.callee,
  first = excluded.first, last = excluded.last, body = excluded.body WHERE excluded.revision >= revision"""


class Known(NamedTuple):
    """A call: its record, and the time of its packets (ns)."""

    record: CallRecord
    first: int
    last: int

    @property
    def keys(self) -> list[int]:
        return keys_of(self.record)


def span(call: CallRecord) -> tuple[int, int]:
    """From when to when there may be packets of a call, ns."""
    times = [call.setup_time, call.ring_time, call.answer_time, call.end_time]
    times += [at for stream in call.streams for at in (stream.first, stream.last)]
    times = [at for at in times if at] or [0]
    up = call.method == "REGISTER" and call.end_reason == "registered"  # its refreshes make no record
    return max(0, min(times) - BEFORE_NS), min(max(times) + (UP_NS if up else AFTER_NS), 1 << 62)


class CallIndex:
    """`put` never waits; a thread commits within a second. All else may take as long as a disk does."""

    def __init__(self, folder: Path):
        self._folder, self._path = folder, folder / NAME
        self._pending: deque[CallRecord] = deque()
        self.dropped = 0
        self._lock = threading.RLock()  # of the connection
        self._db: sqlite3.Connection | None = None
        self.fault = ""  # why the file cannot be used
        self._wake, self._closing = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="calls", daemon=True)
        self._thread.start()

    def put(self, call: CallRecord) -> None:
        """A record, or the next revision of one."""
        self._pending.append(call)
        if len(self._pending) > MAX_PENDING:
            with contextlib.suppress(IndexError):
                self._pending.popleft()
                self.dropped += 1

    def find(self, uuid: bytes) -> Known | None:
        found = self._select("uuid = ?", uuid)
        return found[0] if found else None

    def by_call_id(self, call_id: str) -> list[Known]:
        """The latest first."""
        return self._select("call_id = ? ORDER BY first DESC", _text(call_id))

    def by_number(self, number: str) -> list[Known]:
        """Calls whose caller or callee is exactly this."""
        return self._select("caller = ? OR callee = ?", *[_text(number)] * 2)

    def remove(self, uuid: bytes) -> bool:
        """Forget a call, so that nothing of it is left in the files either; False where the disk refuses that."""
        written = self.flush()
        if self._do(lambda db: db.execute("DELETE FROM calls WHERE uuid = ?", (uuid,))) is None:
            return False
        return self._do(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]) == 0 and written

    def forget_damaged(self) -> None:
        """Remove files that were put aside: they have calls that nobody can find. Raises OSError."""
        for path in self._folder.glob(f"{NAME}.corrupt*"):
            path.unlink(missing_ok=True)

    def purge(self, before: int, *, held: Callable[[bytes], bool] = lambda uuid: False) -> int:
        """Forget calls that ended before `before` (ns) and are not held; how many."""
        self.flush()
        # Of a number of this file.
        query = f"SELECT rowid, uuid FROM calls WHERE last < ? AND rowid > ? ORDER BY rowid LIMIT {PURGED_AT_ONCE}"  # noqa: S608
        gone, after = 0, -1 << 63
        while rows := self._do(lambda db, after=after: db.execute(query, (before, after)).fetchall()) or []:
            after = rows[-1][0]
            going = [(number,) for number, uuid in rows if not held(uuid)]
            self._do(lambda db, going=going: db.executemany("DELETE FROM calls WHERE rowid = ?", going))
            gone += len(going)
        return gone

    def flush(self) -> bool:
        """Commit what was put until now; False where the disk refuses that."""
        with self._lock:
            batch = [self._pending.popleft() for _ in range(len(self._pending))]
            rows = [row for call in batch if (row := _row(call))]
            self.dropped += len(batch) - len(rows)
            if rows and self._do(lambda db: db.executemany(_PUT, rows)) is None:
                self._pending.extendleft(reversed(batch))
                return False
            return True

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        self._thread.join()
        self.flush()
        with self._lock:
            if self._db:
                self._db.close()
                self._db = None

    # -- inside ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        purge_at = time.monotonic() + COMMIT_EVERY
        while not self._closing:
            self._wake.wait(COMMIT_EVERY)
            try:
                self.flush()
                if time.monotonic() >= purge_at:
                    purge_at = time.monotonic() + PURGE_EVERY
                    self.purge(oldest_packet(self._folder, time.time_ns()), held=self._held)
            except Exception:
                log.exception("%s: the index of calls has a defect, report this", self._path)

    def _held(self, uuid: bytes) -> bool:
        return (self._folder / "holds" / f"{uuid.hex()}.json").exists()

    def _select(self, where: str, *values) -> list[Known]:
        self.flush()
        query = f"SELECT body, first, last FROM calls WHERE {where}"  # noqa: S608 - text of this file
        rows = self._do(lambda db: db.execute(query, values).fetchall()) or []
        found = []
        for body, first, last in rows:
            with contextlib.suppress(msgspec.MsgspecError, TypeError):
                found.append(Known(record.decode(body), first, last))
        return found

    def _do(self, work: Callable):
        """What `work` gives of the database, committed; None where the disk refuses, told once. A damaged file is
        replaced by a new one, once."""
        with self._lock:
            for attempt in range(2):
                try:
                    self._db = self._db or self._opened()
                    with self._db:
                        done = work(self._db)
                    if self.fault:
                        self.fault = ""
                        log.warning("%s: calls are written down again", self._path)
                    return done
                except (sqlite3.Error, OSError) as error:
                    if attempt or not _damaged(error) or not self._put_aside(error):
                        self._tell(error)
                        return None
        return None

    def _opened(self) -> sqlite3.Connection:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        db = sqlite3.connect(self._path, check_same_thread=False)
        try:
            self._path.chmod(0o600)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA secure_delete = ON")  # what is deleted is zeroed, not only given free
            db.executescript(_SCHEMA)
            db.execute(
                "SELECT uuid, revision, call_id, caller, callee, first, last, body FROM calls LIMIT 1"
            ).fetchall()
        except BaseException:
            db.close()
            raise
        return db

    def _put_aside(self, error: Exception) -> bool:
        if self._db:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        try:
            for suffix in ("-wal", "-shm", ""):
                path = self._path.with_name(NAME + suffix)
                with contextlib.suppress(FileNotFoundError):
                    path.rename(path.with_name(f"{NAME}.corrupt{suffix}"))
        except OSError:
            return False
        log.error("%s: damaged (%s), now %s.corrupt; a new one is begun, and calls until now are not found here any"
                  " more; check the disk", self._path, error, NAME)  # fmt: skip
        return True

    def _tell(self, error: Exception) -> None:
        if not self.fault:
            self.fault = str(error)
            log.error("%s: cannot be used (%s), calls wait in memory; make room on its file system", self._path, error)


def oldest_packet(folder: Path, now: int) -> int:
    """When the oldest hour begins of which packets are kept (ns), a day before `now` at the latest."""
    hours = catalogue.hours(folder)
    return min([now - EMPTY_NS, *(hour_ns(hour) for hour in hours[:1])])


def _damaged(error: Exception) -> bool:
    return isinstance(error, sqlite3.DatabaseError) and (
        str(error).startswith(("file is not a database", "database disk image is malformed"))
        or "no such column" in str(error)
    )


def _text(value: str) -> str:
    """SQLite takes no half of a surrogate pair."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _row(call: CallRecord) -> tuple | None:
    """None for a record that could not be read again."""
    try:
        body = record.encode(call)
    except UnicodeError:
        return None
    return (call.uuid, call.revision, _text(call.call_id), _text(call.caller), _text(call.callee), *span(call), body)
