"""The outbox as the event loop sees it: group commit in a thread of its own, and waiting for progress."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from voipfleet.records.messages import CALL, CHECKPOINT, Row
from voipfleet.records.outbox import Origin, Outbox, OutboxState

log = logging.getLogger("voipfleet.outbox")
GROUP_SECONDS, GROUP_ROWS = 0.05, 100  # a sync costs milliseconds whatever it carries
LAZY_SECONDS = 0.4  # for checkpoints of open calls
MAX_PENDING = 100_000  # rows in memory while the disk refuses; beyond it the oldest go, counted


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
        self.failing = ""
        self.state: OutboxState = outbox.state()
        self.sensor_uuid = outbox.sensor_uuid
        self.origins = outbox.origins()  # as it was at the start

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
        if not (self._pending or self._origins or self._checkpoints):
            return True
        rows, self._pending = self._pending, []
        origins, self._origins = self._origins, {}
        checkpoints, self._checkpoints = self._checkpoints, {}
        try:
            await self._call(self._outbox.append, rows, origins, checkpoints)
        except Exception as error:  # a full or failing disk must not end the daemon
            if not self.failing:
                log.error("outbox: cannot write records (%s); make room on its file system", error)
            self.failing = str(error)
            self._pending = rows + self._pending
            self._origins = origins | self._origins
            self._checkpoints = checkpoints | self._checkpoints
            self._wake.set()
            return False
        if self.failing:
            log.warning("outbox: writing records again")
            self.failing = ""
        await self._progress()
        return True

    async def read(self, after: int) -> list[Row]:
        return await self._call(self._outbox.read, after)

    async def acknowledge(self, through: int) -> None:
        await self._call(self._outbox.acknowledge, through)
        await self._progress()

    async def uuid_at(self, seq: int) -> bytes | None:
        return await self._call(self._outbox.uuid_at, seq)

    async def new_epoch(self) -> None:
        await self._call(self._outbox.new_epoch)
        await self._progress()

    async def find(self, uuid: bytes, after: int) -> int | None:
        """The sequence number of the row `uuid` among the rows after `after`."""
        for row in await self.read(after):
            if row.uuid == uuid:
                return row.seq
        return None

    async def wait_acknowledged(self, seq: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.state.acked_through >= seq)

    async def close(self) -> None:
        await self.flush()
        await self._call(self._outbox.close)
        self._thread.shutdown()

    async def _call(self, function, *args):
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def _progress(self) -> None:
        self.state = await self._call(self._outbox.state)
        async with self.changed:
            self.changed.notify_all()
