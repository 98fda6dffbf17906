"""The part of a packet buffer that is on disk: its files, their bound, and faults that stop nothing.

One thread does what may block; everything else here belongs to the event loop.
"""

import asyncio
import contextlib
import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from voipfleet.relay import books, segments
from voipfleet.relay.books import Amount
from voipfleet.relay.recovery import STATE, Found, recover
from voipfleet.relay.segments import Queued, Segment

log = logging.getLogger("voipfleet.packets")
RETRY = 5.0  # s after a fault until something is written again
FULL_FOR = 30.0  # s for which a disk that was full is believed to be full


class Disk:
    """`limit`: bytes of all files. `amount`: what waits in them. `fault`: what is wrong now, a sentence."""

    def __init__(self, folder: Path, limit: int):
        self._folder, self._limit = folder, limit
        self.files: deque[Segment] = deque()
        self.amount = Amount()
        self.useless: list[Path] = []
        self.faults, self.fault = 0, ""
        self._retry_at = self._full_until = 0.0
        self._full_at = 0
        self._most = max(1, min(segments.MAX_SEGMENT, limit // 8))  # bytes of a file
        self._thread = ThreadPoolExecutor(1, "packets")

    async def open(self) -> Found:
        found = Found()
        with self._counted():
            found = await self._beside(recover, self._folder)
        self.files, self.useless = deque(found.files), found.useless
        for segment in self.files:
            self.amount += segment.amount(found.books.through)
        return found

    def close(self) -> None:
        self._thread.shutdown()

    @property
    def used(self) -> int:
        """Bytes of all files."""
        return sum(segment.size for segment in self.files)

    @property
    def usable(self) -> bool:
        """Whether a write is worth trying now."""
        return time.monotonic() >= self._retry_at

    def after(self, number: int) -> Segment | None:
        """The first file that has blocks behind `number`."""
        return next((segment for segment in self.files if segment.last > number), None)

    def acknowledge(self, after: int, through: int) -> Amount:
        """Blocks `after` + 1..`through` are not needed any more; what they held."""
        freed = Amount()
        for segment in self.files:
            if segment.first > through:
                break
            freed += segment.amount(after, through)
        while self.files and self.files[0].last <= through:
            self.useless.append(self.files.popleft().path)
        self.amount -= freed
        return freed

    def take(self, waiting: Iterable[Queued]) -> list[Queued]:
        """Of the blocks that wait, in their order, those that go into one write."""
        size, out = 0, []
        for block in waiting:
            size += segments.length(block)
            if out and (size > self._most or block.number != out[-1].number + 1):
                break
            out.append(block)
        return out

    def room(self, batch: list[Queued], used: int) -> bool:
        """Whether a write of these beside `used` bytes stays within the bound."""
        limit = min(self._limit, self._full_at) if time.monotonic() < self._full_until else self._limit
        return used + sum(map(segments.length, batch)) + segments.FILE_HEAD <= limit

    def close_for_now(self) -> None:
        """Take no more than there is, for a while."""
        self._full_at, self._full_until = self.used, time.monotonic() + FULL_FOR

    async def write(self, epoch: bytes, batch: list[Queued]) -> bool:
        """Append consecutive blocks; they are in `files` once this gives True. `amount` is left to the caller."""
        segment = self.files[-1] if self.files else None
        lengths = [segments.length(block) for block in batch]
        full = segment and segment.size + sum(lengths) > self._most
        if segment is None or full or segment.last + 1 != batch[0].number:
            path = self._folder / f"{batch[0].number:020d}{segments.SUFFIX}"
            segment = Segment(path, batch[0].number, batch[0].before)
        fine = False
        with self._counted():
            await self._beside(segments.append, segment.path, segment.size, epoch, batch)
            fine = True
        if not fine:
            return False
        if not self.files or self.files[-1] is not segment:
            self.files.append(segment)
        for block, length in zip(batch, lengths, strict=True):
            segment.add(block.packets, len(block.body), block.at, length)
        self._well()
        return True

    async def read(self, segment: Segment, number: int) -> Queued:
        """Raises OSError and DamagedError."""
        return await self._beside(segments.read, segment, number)

    def lose(self, segment: Segment, number: int, through: int) -> list[tuple[int, int]]:
        """Give up what `segment` has from block `number` on, (packets, bytes) each; `through` are acknowledged."""
        self.amount -= segment.amount(number - 1)
        rows = segment.rows(number)
        segment.cut(number - 1)
        if not segment.places or segment.last <= through:
            self.files.remove(segment)
            self.useless.append(segment.path)
        return rows

    async def save(self, content: bytes) -> bool:
        """The books, and then no file that they do not need. On a full disk the other way round as well."""
        useless, self.useless = self.useless, []
        state = self._folder / STATE

        def both() -> None:
            with contextlib.suppress(OSError):
                books.save(state, content)
                segments.remove(useless)
                return
            segments.remove(useless)
            books.save(state, content)

        with self._counted():
            await self._beside(both)
            return True
        return False

    # -- inside ----------------------------------------------------------------------------------------

    async def _beside(self, function: Callable, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    @contextlib.contextmanager
    def _counted(self):
        try:
            yield
        except OSError as error:
            self.faults += 1
            self._retry_at = time.monotonic() + RETRY
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.close_for_now()
            if not self.fault:
                why = error.strerror or error
                self.fault = (f"{self._folder}: packets cannot wait on disk ({why}), so they wait in memory; make room,"
                              " or the folder writable, or set packetbuffer_file_path")  # fmt: skip
                log.error("%s", self.fault)

    def _well(self) -> None:
        if self.fault:
            log.warning("%s: packets wait on disk again", self._folder)
            self.fault = ""
