"""Room on the file system of `spooldir`: who gives it back when it runs out, in the order of sacrifice, and a reserve.

Below the floor what can be missed most easily goes first; records are last, and go only at their own bound. The reserve
(ballast) is a file that is there to be deleted: with the disk full, a gap record and the end of this process still fit.
"""

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

log = logging.getLogger("voipfleet.room")
LOOK_EVERY, TELL_EVERY = 1.0, 600.0  # s
WHAT_GOES = ", until then packets that wait on this disk are dropped for records"
GB, MAX_BALLAST = 1 << 30, 16 << 20  # bytes
TIGHT = 1 << 20  # bytes without which the outbox may not even open
EMERGENCY = 4 << 20  # bytes that are asked for when a write has failed: a log of SQLite
Giver = Callable[[int], Awaitable[int]]


def floor_of(total: int, min_gb: int, min_percent: int) -> int:
    """Bytes to keep free of a file system with `total` bytes: the smaller of `autocleanmingb` and the greater of
    `autocleanspoolminpercent` and 10 %."""
    return min(min_gb * GB, total * max(min_percent, 10) // 100)


def reserve_of(total: int) -> int:
    """Bytes of the reserve on a file system with `total` bytes."""
    return min(MAX_BALLAST, total // 100)


class Room:
    """`givers`, in their order, are asked for so many bytes and say how many they gave back; (who comes before packets
    that wait, once there is something of less worth, is put before them)."""

    def __init__(self, folder: Path, *, min_gb: int, min_percent: int):
        self._folder, self._ballast = folder, folder / "ballast"
        self.givers: list[Giver] = []
        total = space(folder)[0]
        self.floor = floor_of(total, min_gb, min_percent)
        self._reserve = reserve_of(total)
        self._tell_at = 0.0

    @property
    def free(self) -> int:
        """Bytes that this user can still write."""
        return free(self._folder)

    async def run(self) -> None:
        """For ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Room is given back where there is less than the floor; the reserve is made where there is more."""
        missing = self.floor - self.free
        if missing > 0:
            if time.monotonic() >= self._tell_at:
                self._tell_at = time.monotonic() + TELL_EVERY
                log.warning("%s: %d MB free, and %d are to stay so (autocleanmingb); make room%s", self._folder,
                            self.free >> 20, self.floor >> 20, WHAT_GOES if self.givers else "")  # fmt: skip
            await self._ask(missing)
        elif missing < -2 * self._reserve:
            self._make_reserve()

    async def emergency(self) -> bool:
        """A write has failed for want of room: whether there is some more now, the reserve left alone."""
        return await self._ask(EMERGENCY) > 0

    def before_opening(self) -> None:
        """An outbox needs some room to be opened at all."""
        if self.free < TIGHT:
            self.drop_reserve()

    def drop_reserve(self) -> bool:
        """For what must still be written; whether there was one."""
        try:
            self._ballast.unlink()
        except OSError:
            return False
        log.warning("%s: the reserve is used to write down what is missing", self._folder)
        return True

    async def _ask(self, missing: int) -> int:
        given = 0
        for giver in self.givers:
            if given < missing:
                given += await giver(missing - given)
        return given

    def _make_reserve(self) -> None:
        try:
            if self._ballast.exists() and self._ballast.stat().st_size >= self._reserve:
                return
            file = os.open(self._ballast, os.O_CREAT | os.O_WRONLY, 0o600)
            try:
                os.posix_fallocate(file, 0, max(1, self._reserve))
            finally:
                os.close(file)
        except OSError as error:
            log.debug("%s: no reserve (%s)", self._ballast, error)


def free(folder: Path) -> int:
    """Bytes that can still be written there."""
    return space(folder)[1]


def same_disk(one: Path, other: Path) -> bool:
    """Whether room that is given back in one folder is room in the other."""
    try:
        return one.stat().st_dev == other.stat().st_dev
    except OSError:
        return False


def space(folder: Path | str) -> tuple[int, int]:
    """Bytes of the file system, and of it free; of a folder that is not there yet, or on a disk that fails, 0, and as
    if there were room."""
    try:
        said = shutil.disk_usage(folder)
    except OSError:
        return 0, 1 << 62
    return said.total, said.free
