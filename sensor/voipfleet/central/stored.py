"""The store in a thread of its own, as the event loop uses it; it keeps trying while the database is away."""

import asyncio
import collections
import contextlib
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from voipfleet.central.store import Peer, Store, StoreUnavailable
from voipfleet.records.delivery import deliver
from voipfleet.records.messages import Ack, Batch, Status, Welcome
from voipfleet.records.outbox import OutboxError
from voipfleet.records.spool import Spool
from voipfleet.tasks import end_all

log = logging.getLogger("voipfleet.central")
GROUP_ROWS = 1000  # records that one transaction takes, about
TOGETHER = 1.0  # seconds for which what sensors say of themselves is collected: one transaction for all of them
REMEMBERED = 1 << 16  # hosts whose records are counted: whoever has the password may come under any number of names
RETRY = 2.0  # seconds between tries while the database does not answer


class StoreThread:
    """See the module. `failing` is the sentence of the last failure, empty when all is well."""

    def __init__(self, store: Store, name: str):
        self.store, self.name = store, name
        self.failing = ""
        self.store_uuid = b""
        self.counters = {"records": 0, "commits": 0, "seconds": 0.0}  # since the start
        self.of_sensors: collections.Counter[bytes] = collections.Counter()  # records of each uuid, since the start
        self._waiting: collections.deque[tuple[Peer, Batch, asyncio.Future]] = collections.deque()
        self._writing: asyncio.Task | None = None
        self._seen: dict[bytes, tuple[Peer, Status, str, int]] = {}
        self._telling: asyncio.Task | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    async def call(self, function, *args):
        """One try; raises StoreUnavailable."""
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
        except StoreUnavailable as error:
            if not self.failing:
                log.error("%s", error)
            self.failing = str(error)
            raise
        if self.failing:
            log.warning("database: answers again")
            self.failing = ""
        return result

    async def prepare(self) -> None:
        await self.call(self.store.prepare)
        self.store_uuid = self.store.store_uuid

    async def welcome(self, sensor_uuid: bytes) -> Welcome:
        if not self.store_uuid:
            await self.prepare()
        epoch, last_seq, last_uuid = await self.call(self.store.cursor, sensor_uuid)
        return Welcome(os.urandom(8), self.store_uuid, self.name[:64], epoch, last_seq, last_uuid)

    async def ingest(self, peer: Peer, batch: Batch) -> Ack:
        """Does not return before the batch is committed; all that wait are committed together."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((peer, batch, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        return await done

    async def _write(self) -> None:
        while self._waiting:
            group, size = [], 0
            while self._waiting and size < GROUP_ROWS:
                peer, batch, done = self._waiting.popleft()
                if not done.done():  # else its connection has ended, and it will come again
                    group.append((peer, batch, done))
                    size += len(batch.rows)
            await self._commit(group)

    async def _commit(self, group: list) -> None:
        """In one transaction; one by one where that fails by something that nobody thought of."""
        while group:
            begun = time.perf_counter()
            try:
                acks = await self.call(self.store.ingest_all, [(peer, batch) for peer, batch, _ in group])
            except StoreUnavailable:
                await asyncio.sleep(RETRY)
                group = [one for one in group if not one[2].done()]
                continue
            except Exception as error:
                if len(group) == 1:
                    _tell(group[0][2], error=error)
                    return
                for one in group:
                    await self._commit([one])
                return
            self.counters["records"] += sum(len(batch.rows) for _, batch, _ in group)
            self.counters["commits"] += 1
            self.counters["seconds"] += time.perf_counter() - begun
            if len(self.of_sensors) > REMEMBERED:
                self.of_sensors.clear()  # machines see counters that began anew
            for (peer, batch, done), ack in zip(group, acks, strict=True):
                self.of_sensors[peer.sensor_uuid] += len(batch.rows)
                _tell(done, ack)
            return

    def seen(self, peer: Peer, status: Status, via: str = "", connected: float = 0.0) -> None:
        """Best effort, of all sensors together: each says more in a few seconds. `via`: the host through which that
        came, where it is not connected here; `connected`: since when it is (s since the epoch)."""
        self._seen[peer.sensor_uuid] = peer, status, via, int(connected * 1e9)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        await asyncio.sleep(TOGETHER)
        seen, self._seen = list(self._seen.values()), {}
        with contextlib.suppress(StoreUnavailable):
            await self.call(self.store.seen, seen)

    async def take_from(self, spool: Spool, status: Callable[[], Status]) -> None:
        """The records of this instance itself, for ever; `status()` is what it says of itself."""
        peer = Peer(sensor_uuid=spool.sensor_uuid, name=self.name, key="", address="local")
        while True:
            try:
                welcome = await self.welcome(spool.sensor_uuid)
                await deliver(spool, LocalTarget(self, peer, welcome), status)
            except* (StoreUnavailable, OutboxError):
                pass  # said once, here and by the spool
            await asyncio.sleep(RETRY)

    async def close(self) -> None:
        await end_all(*(task for task in (self._telling, self._writing) if task))
        await asyncio.get_running_loop().run_in_executor(self._thread, self.store.close)
        self._thread.shutdown()


def _tell(done: asyncio.Future, ack: Ack | None = None, error: Exception | None = None) -> None:
    if done.done():
        return
    if error:
        done.set_exception(error)
    else:
        done.set_result(ack)


class LocalTarget:
    """Delivery into the store of this instance (a voipfleet.records.delivery.Target)."""

    def __init__(self, stored: StoreThread, peer: Peer, welcome: Welcome):
        self._stored, self._peer = stored, peer
        self.welcome = welcome
        self._batches: asyncio.Queue[Batch] = asyncio.Queue()

    async def send_batch(self, batch: Batch) -> None:
        await self._batches.put(batch)

    async def send_status(self, status: Status) -> None:
        self._stored.seen(self._peer, status)

    async def recv_ack(self) -> Ack:
        return await self._stored.ingest(self._peer, await self._batches.get())
