"""Calls are taken out of an outbox for good: their rows stay, as probes, so that no number is missing in the books."""

import contextlib
import sqlite3
from collections.abc import Collection

import msgspec

from voipfleet.calls import record
from voipfleet.records.messages import CALL, PROBE
from voipfleet.records.tables import checksum


def erase(db: sqlite3.Connection, uuids: Collection[bytes], number: str = "") -> int:
    """Records and checkpoints of these calls, and of those with `number` as caller or callee; how many rows that were.

    A row that waits is delivered as a probe then. In a transaction of the caller's; raises sqlite3.Error.
    """
    db.execute("PRAGMA secure_delete = ON")  # what is overwritten is zeroed, not only given free
    wanted = set(uuids) | (_of_number(db, number) if number else set())
    done = 0
    for uuid in wanted:
        rows = db.execute("SELECT seq, revision FROM outbox WHERE uuid = ? AND kind = ?", (uuid, CALL)).fetchall()
        db.executemany("UPDATE outbox SET kind = ?, body = x'', crc = ? WHERE seq = ?",
                       [(PROBE, checksum(uuid, revision, PROBE, b""), seq) for seq, revision in rows])  # fmt: skip
        done += len(rows) + db.execute("DELETE FROM checkpoints WHERE uuid = ?", (uuid,)).rowcount
    return done


def _of_number(db: sqlite3.Connection, number: str) -> set[bytes]:
    """By looking through all of them: numbers are in no index here."""
    text, found = number.encode("utf-8", "replace"), set()
    rows = db.execute("SELECT uuid, body FROM outbox WHERE kind = ? AND instr(body, ?) > 0", (CALL, text)).fetchall()
    rows += db.execute("SELECT uuid, body FROM checkpoints WHERE instr(body, ?) > 0", (text,)).fetchall()
    for uuid, body in rows:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            call = record.decode(body)
            if number in (call.caller, call.callee):
                found.add(uuid)
    return found
