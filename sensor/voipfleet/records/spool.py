"""The outbox as the event loop sees it: group commit in a thread of its own, and waiting for progress."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from voipfleet.records import salvage
from voipfleet.records.messages import CALL, CHECKPOINT, Row
from voipfleet.records.outbox import Origin, Outbox, OutboxError
from voipfleet.records.tables import OutboxState

log = logging.getLogger("voipfleet.outbox")
GROUP_SECONDS, GROUP_ROWS = 0.05, 100  # a sync costs milliseconds whatever it carries
LAZY_SECONDS = 0.4  # for checkpoints of open calls
RENEW_EVERY = 60.0  # s between tries to begin a new file: a disk that fails would fill up with damaged ones
MAX_PENDING = 100_000  # rows in memory while the disk refuses; beyond it the oldest go, counted


class Opening:
    """Stands for the spool while its outbox is checked."""

    state = OutboxState(b"", 1, 0, 1, 0, 0, 0, 0)
    failing, dropped, sensor_uuid = "the outbox is still being checked", 0, b""

    def __bool__(self) -> bool:
        return False

    async def waiting(self) -> dict:
        return {}


class Spool:
    """`put` never blocks; a row is safe once `committed` has reached it. Create it inside the event loop."""

    def __init__(self, outbox: Outbox):
        self._outbox = outbox
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._pending: list[tuple[bytes, int, int, bytes]] = []
        self._origins: dict[Origin, int] = {}
        self._checkpoints: dict[bytes, bytes] = {}  # of calls that are up, so no more than those
        self._lazy: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._full = asyncio.Event()
        self._committing = asyncio.Lock()
        self.changed = asyncio.Condition()  # notified at every commit and acknowledgement
        self.dropped = 0
        self._fault = self._alarm = ""  # what is wrong now; what was wrong with a file that was put aside
        self._untold = 0  # rows that went for want of memory, and of which no gap record tells yet
        self._renew_at = 0.0
        self.emergency: Callable[[], Awaitable[bool]] | None = None  # asked for room on a full disk: is there some now
        self._abandoned: list[Outbox] = []  # never closed: that would write to them
        self.state: OutboxState = outbox.state()
        self.sensor_uuid = outbox.sensor_uuid
        self.store = outbox.store  # to which rows were delivered last
        self.origins = outbox.origins()  # as it was at the start

    @property
    def failing(self) -> str:
        """The sentence for `voipfleet status`; empty when all is well."""
        return self._fault or self._alarm

    async def waiting(self) -> dict:
        """For `voipfleet status`: how much is kept, and how long the first record has waited."""

        def ask() -> dict:
            oldest = self._outbox.oldest()
            return {"bytes": self._outbox.size, "oldest_seconds": max(0, round(time.time()) - oldest) if oldest else 0}

        try:
            return await self._call(ask)
        except sqlite3.Error:  # said by `failing`
            return {}

    def put(self, uuid: bytes, revision: int, kind: int, body: bytes) -> None:
        if kind == CHECKPOINT:
            self._checkpoints[uuid] = body
            self._lazy = self._lazy or asyncio.get_running_loop().call_later(LAZY_SECONDS, self._wake.set)
            return
        if kind == CALL:
            self._checkpoints.pop(uuid, None)
        self._pending.append((uuid, revision, kind, body))
        if len(self._pending) > MAX_PENDING:
            del self._pending[0]
            self.dropped += 1
            self._untold += 1
        self._wake.set()
        if len(self._pending) >= GROUP_ROWS:
            self._full.set()

    async def run(self) -> None:
        """Commit what was put, a group at a time, for ever."""
        while True:
            await self._wake.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), GROUP_SECONDS)
            if not await self.flush():
                await asyncio.sleep(1.0)

    def note(self, origins: Mapping[Origin, int]) -> None:
        """How far capturing hosts' packets are analysed; committed with the records that were put before."""
        self._origins.update(origins)
        self._wake.set()

    async def flush(self) -> bool:
        """Commit everything that was put until now; False where the disk refuses (it stays pending)."""
        async with self._committing:
            return await self._commit()

    async def _commit(self) -> bool:
        self._wake.clear()
        self._full.clear()
        if self._lazy:
            self._lazy.cancel()
            self._lazy = None
        if not (self._pending or self._origins or self._checkpoints or self._untold):
            return True
        rows, self._pending = self._pending, []
        origins, self._origins = self._origins, {}
        checkpoints, self._checkpoints = self._checkpoints, {}
        lost, self._untold = self._untold, 0
        try:
            await self._call(self._outbox.append, rows, origins, checkpoints, lost)
        except Exception as error:  # a full or failing disk must not end the daemon
            self._pending = rows + self._pending
            self._origins = origins | self._origins
            self._checkpoints = checkpoints | self._checkpoints
            self._untold += lost
            self._wake.set()
            if await self._renew(error) or (full(error) and await self._room()):
                return await self._commit()
            if not self._fault:
                log.error("outbox: cannot write records (%s); make room on its file system", error)
            self._fault = str(error)
            return False
        if self._fault:
            log.warning("outbox: writing records again")
            self._fault = ""
        await self._progress()
        return True

    async def _room(self) -> bool:
        """Others, then what is kept only for a replay; whether there is some more."""
        if self.emergency and await self.emergency():
            return True
        try:
            return await self._call(self._outbox.forget_acknowledged) > 0
        except sqlite3.Error:
            return False

    async def _renew(self, error: Exception) -> bool:
        """Begin a new file where nothing more may be written to the one that is there; whether that was done."""
        if not salvage.fatal(error) or time.monotonic() < self._renew_at:
            return False
        self._renew_at = time.monotonic() + RENEW_EVERY
        old = self._outbox
        try:
            self._outbox = await self._call(lambda: salvage.renew(old.path, str(error), **old.options))
        except OutboxError as again:
            log.error("%s", again)
            return False
        self._abandoned.append(old)
        self._alarm = (f"{old.path}: could not be used any more ({error}) and was put aside, records go on in a new"
                       " file; check the disk, then restart this service")  # fmt: skip
        return True

    async def read(self, after: int) -> list[Row]:
        return await self._ask("read", after)

    async def erase(self, uuids: Collection[bytes], number: str = "") -> int:
        """Take calls out for good, what was put until now included; how many rows that were. Raises OutboxError."""
        if not await self.flush():
            raise OutboxError(f"outbox: cannot be written ({self._fault}), and records that wait in memory are not"
                              " erased; mend the disk and ask again")  # fmt: skip
        return await self._ask("erase", uuids, number)

    async def acknowledge(self, through: int) -> None:
        try:
            await self._ask("acknowledge", through)
        except OutboxError as error:  # nothing is lost: it is sent again, or acknowledged with what comes later
            log.warning("%s", error)
        await self._progress()

    async def delivers_to(self, store: bytes) -> None:
        if store != self.store:
            await self._ask("delivers_to", store)
            self.store = store

    async def uuid_at(self, seq: int) -> bytes | None:
        return await self._ask("uuid_at", seq)

    async def new_epoch(self) -> None:
        await self._ask("new_epoch")
        await self._progress()

    async def _ask(self, name: str, *args):
        """What delivery wants of the outbox. Raises OutboxError: the connection is to end and to begin anew."""
        try:
            return await self._call(getattr(self._outbox, name), *args)
        except sqlite3.Error as error:
            async with self._committing:
                if await self._renew(error):
                    await self._progress()
            raise OutboxError(f"outbox: {error}; delivery begins again") from None

    async def find(self, uuid: bytes, after: int) -> int | None:
        """The sequence number of the row `uuid` among the rows after `after`."""
        for row in await self.read(after):
            if row.uuid == uuid:
                return row.seq
        return None

    async def wait_acknowledged(self, seq: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.state.acked_through >= seq)

    async def close(self, reserve: Callable[[], bool] = lambda: False) -> None:
        """Write what is left; on a full disk with the room that `reserve()` gives, be it only how many are lost."""
        if not await self.flush() and not (reserve() and await self.flush()):
            lost = self._untold + len(self._pending)
            log.error("outbox: %d records could not be written (%s) and end with this process", lost, self._fault)
            with contextlib.suppress(Exception):
                await self._call(self._outbox.append, [], {}, {}, lost)
        with contextlib.suppress(sqlite3.Error):
            await self._call(self._outbox.close)
        self._thread.shutdown()

    async def _call(self, function, *args):
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def _progress(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # what is written next meets the same fault, and acts on it
            self.state = await self._call(self._outbox.state)
        async with self.changed:
            self.changed.notify_all()


def full(error: Exception) -> bool:
    """Whether a disk is full."""
    return isinstance(error, sqlite3.Error) and str(error).startswith("database or disk is full")
