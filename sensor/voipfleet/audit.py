"""The audit log: who came in, who was refused, what was changed. JSON lines, each bound to the one before.

`chain` of a line is BLAKE2b-16 over the chain of the line before and the line without it. So a line that was changed,
removed or put in between is found by whoever holds a later line; what it cannot show is that the end was cut off, or
that all was written anew. Files: `audit.log`, then `.1` (newer) to `.4`; the chain goes on from one to the next.
"""

import datetime
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from voipfleet.options import BY_KEY

log = logging.getLogger("voipfleet.audit")
MAX_BYTES, KEPT = 16 << 20, 4  # of one file; how many older files
_TAIL = 64 << 10


class Audit:
    """Append with `write`; never raises: a disk that refuses is told in the journal, and `failing` says so."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES):
        self._path, self._max = path, max_bytes
        self._handle: int | None = None
        self.failing = ""
        self.lines = 0
        self._chain, whole = _last(path)
        if not whole:
            self.write("cut", what="the last line before this one was not whole; the daemon was killed while writing")

    def write(self, event: str, **fields) -> None:
        """One line; `fields` are plain values. Nothing secret, and nothing out of a call, belongs here."""
        line = {"at": _now(), "event": event, **fields}
        chain = _bind(self._chain, line)
        data = json.dumps(line | {"chain": chain}).encode() + b"\n"
        try:
            self._room(len(data))
            if self._handle is None:
                self._handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(self._handle, data)
        except OSError as error:
            if not self.failing:
                log.error("audit log %s: cannot be written (%s); make room, or make its folder writable", self._path,
                          error.strerror)  # fmt: skip
            self.failing = error.strerror or "cannot be written"
            return
        self._chain, self.failing = chain, ""
        self.lines += 1

    def close(self) -> None:
        if self._handle is not None:
            os.fsync(self._handle)
            os.close(self._handle)
            self._handle = None

    def _room(self, size: int) -> None:
        if not self._path.exists() or self._path.stat().st_size + size <= self._max:
            return
        self.close()
        for number in range(KEPT - 1, 0, -1):
            older = _numbered(self._path, number)
            if older.exists():
                older.replace(_numbered(self._path, number + 1))
        self._path.replace(_numbered(self._path, 1))


def digest(config) -> str:
    """Names a configuration, secrets apart: the log shows when it was changed."""
    shown = [(key, getattr(config, key)) for key in sorted(config.given) if BY_KEY[key].kind != "secret"]
    return hashlib.blake2b(repr(shown).encode(), digest_size=8).hexdigest()


def files(path: Path) -> list[Path]:
    """The log's files, the oldest first."""
    found = [*(_numbered(path, number) for number in range(KEPT, 0, -1)), path]
    return [each for each in found if each.exists()]


def read(path: Path) -> Iterator[tuple[str, int, dict | None, bool]]:
    """(file, line number, line or None where it is none, whether the chain holds) of all files, oldest first."""
    # Where files were dropped, the first line that is kept is bound to one that is not: it can only be believed.
    chain = None if _numbered(path, KEPT).exists() else ""
    for each in files(path):
        for number, text in enumerate(each.read_bytes().splitlines(), 1):
            line = _parsed(text)
            if line is None:
                yield str(each), number, None, False
                continue
            said = line.pop("chain", "")
            yield str(each), number, line, chain is None or said == _bind(chain, line)
            chain = said


def _parsed(text: bytes) -> dict | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) and isinstance(line.get("chain", ""), str) else None


def _last(path: Path) -> tuple[str, bool]:
    """The chain to go on from, and whether the file ends with a whole line (one that is not is ended)."""
    for each in (path, _numbered(path, 1)):
        if each.exists() and each.stat().st_size:
            with each.open("r+b") as file:
                file.seek(max(0, each.stat().st_size - _TAIL))
                tail = file.read()
                whole = tail.endswith(b"\n")
                if not whole:
                    file.write(b"\n")
            for text in reversed(tail.splitlines()):
                line = _parsed(text)
                if line is not None and isinstance(line.get("chain"), str):
                    return line["chain"], whole
            return "", whole
    return "", True


def _bind(chain: str, line: dict) -> str:
    text = chain + json.dumps(line, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
