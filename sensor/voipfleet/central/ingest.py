"""The central's side of a sensor's link: batches into the store, acknowledged after the commit."""

import asyncio
import contextlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor

import msgspec

from voipfleet.central.store import Peer, Store, StoreUnavailable
from voipfleet.link import types
from voipfleet.records.messages import WINDOW, Ack, Batch, Status, Welcome

log = logging.getLogger("voipfleet.central")
RETRY = 2.0  # seconds between tries while the database does not answer

_decode_batch = msgspec.msgpack.Decoder(Batch).decode
_decode_status = msgspec.msgpack.Decoder(Status).decode


class StoreThread:
    """The store, which blocks, in a thread of its own; it keeps trying while the database is away."""

    def __init__(self, store: Store, name: str):
        self.store, self.name = store, name
        self.failing = ""
        self.store_uuid = b""
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
        return Welcome(os.urandom(8), self.store_uuid, self.name, epoch, last_seq, last_uuid)

    async def ingest(self, peer: Peer, batch: Batch) -> Ack:
        """Does not return before the batch is committed."""
        while True:
            try:
                return await self.call(self.store.ingest, peer, batch)
            except StoreUnavailable:
                await asyncio.sleep(RETRY)

    async def seen(self, peer: Peer, status: Status | None) -> None:
        """Best effort: the next status comes in a few seconds."""
        with contextlib.suppress(StoreUnavailable):
            await self.call(self.store.seen, peer, status)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self.store.close)
        self._thread.shutdown()


async def serve_records(session, peer: Peer, stored: StoreThread) -> None:
    """One sensor's session until it ends. Reading goes on while a commit waits, so the link stays alive."""
    batches: asyncio.Queue[Batch] = asyncio.Queue(WINDOW)

    async def commit() -> None:
        while True:
            batch = await batches.get()
            ack = await stored.ingest(peer, batch)
            await session.send(types.ACK, msgspec.msgpack.encode(ack))

    async def listen() -> None:
        async for kind, body in session:
            if kind == types.BATCH:
                await batches.put(_decode_batch(body))
            elif kind == types.STATUS:
                await stored.seen(peer, _decode_status(body))
            else:
                log.warning("%s sent a frame of type %d, which is not for a central; ignored", peer.name, kind)

    committing = asyncio.create_task(commit())
    listening = asyncio.create_task(listen())
    try:
        done, _ = await asyncio.wait({committing, listening}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    except msgspec.MsgspecError as error:
        log.warning("%s sent a malformed message (%s); the connection is closed", peer.name, error)
    finally:
        for task in (committing, listening):
            task.cancel()
        await asyncio.gather(committing, listening, return_exceptions=True)
