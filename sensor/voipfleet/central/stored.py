"""The store in a thread of its own, as the event loop uses it; it keeps trying while the database is away."""

import asyncio
import contextlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor

from voipfleet.central.store import Peer, Store, StoreUnavailable
from voipfleet.records.messages import Ack, Batch, Status, Welcome

log = logging.getLogger("voipfleet.central")
TOGETHER = 1.0  # seconds for which what sensors say of themselves is collected: one transaction for all of them
RETRY = 2.0  # seconds between tries while the database does not answer


class StoreThread:
    """See the module. `failing` is the sentence of the last failure, empty when all is well."""

    def __init__(self, store: Store, name: str):
        self.store, self.name = store, name
        self.failing = ""
        self.store_uuid = b""
        self._seen: dict[bytes, tuple[Peer, Status]] = {}
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
        """Does not return before the batch is committed."""
        while True:
            try:
                return await self.call(self.store.ingest, peer, batch)
            except StoreUnavailable:
                await asyncio.sleep(RETRY)

    def seen(self, peer: Peer, status: Status) -> None:
        """Best effort, of all sensors together: each says more in a few seconds."""
        self._seen[peer.sensor_uuid] = peer, status
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        await asyncio.sleep(TOGETHER)
        seen, self._seen = list(self._seen.values()), {}
        with contextlib.suppress(StoreUnavailable):
            await self.call(self.store.seen, seen)

    async def close(self) -> None:
        if self._telling:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self.store.close)
        self._thread.shutdown()


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
