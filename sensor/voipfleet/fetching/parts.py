"""What came of one holder so far: a file beside the result, and a small one that says what it is, so that a fetch that
was interrupted goes on. Both are for their owner's eyes only.
"""

import contextlib
import errno
import fcntl
import json
import os
import stat
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from voipfleet.errors import VoipfleetError
from voipfleet.fetching.answers import Holder

MODE = 0o600
DIGEST = 16  # bytes
_READ = 1 << 20


class Final(VoipfleetError):
    """Another attempt is of no help."""


class Part:
    """The part at `path`, for whoever holds `of` it. Raises VoipfleetError where another process fetches into it, or
    where something lies there that this user did not put there."""

    def __init__(self, path: Path, of: Holder):
        self.path, self._said = path, path.with_name(path.name + ".json")
        self._mark = {"sensor": of.sensor, "uuid": of.uuid}
        self._file: BinaryIO = self._opened()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise Final(f"{path}: another voipfleet fetches into it; wait for it, or give -o another name") from None
        self.size, self._hash = 0, blake2b(digest_size=DIGEST)
        if self._continues():
            self._file.seek(0)
            while data := self._file.read(_READ):
                self._count(data)
        else:
            self.anew()

    def _opened(self) -> BinaryIO:
        """Whatever is at the path is only used where it is our own: no link, no device, nothing with a second name."""
        other = Final(f"{self.path}: this is in the way and no part of ours; remove it, or give -o another name")
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, MODE)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise other from None
            raise self._fault(error) from None
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
            os.close(handle)
            raise other
        os.fchmod(handle, MODE)
        return os.fdopen(handle, "r+b", buffering=0)

    def _continues(self) -> bool:
        try:
            return self._said.stat().st_size < 4096 and json.loads(self._said.read_bytes()) == self._mark
        except (OSError, ValueError, RecursionError):
            return False

    def anew(self) -> None:
        """As if nothing had come."""
        self._file.seek(0)
        self._file.truncate()
        self.size, self._hash = 0, blake2b(digest_size=DIGEST)
        self._said.unlink(missing_ok=True)
        handle = os.open(self._said, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
        with os.fdopen(handle, "wb") as said:
            said.write(json.dumps(self._mark).encode())

    def add(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise self._fault(error) from None
        self._count(data)

    def _count(self, data: bytes) -> None:
        self.size += len(data)
        self._hash.update(data)

    def _fault(self, error: OSError) -> Final:
        return Final(f"{self.path}: cannot be written ({error.strerror}); make room, or give -o a place that this user"
                     " may write to")  # fmt: skip

    @property
    def digest(self) -> str:
        """BLAKE2b-16 over all that came, hex."""
        return self._hash.hexdigest()

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        for path in (self.path, self._said):
            with contextlib.suppress(OSError):
                path.unlink()
