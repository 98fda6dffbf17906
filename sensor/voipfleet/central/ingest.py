"""The central's side of a sensor's link: batches into the store, acknowledged after the commit."""

import asyncio
import logging

import msgspec

from voipfleet.asking.switchboard import ServerLine
from voipfleet.central.store import Peer
from voipfleet.central.stored import StoreThread
from voipfleet.link import types
from voipfleet.link.strange import Strange
from voipfleet.records.messages import WINDOW, Batch, Status
from voipfleet.tasks import end_all

log = logging.getLogger("voipfleet.central")

_decode_batch = msgspec.msgpack.Decoder(Batch).decode
_decode_status = msgspec.msgpack.Decoder(Status).decode


async def serve_records(session, peer: Peer, stored: StoreThread, line: ServerLine) -> None:
    """One sensor's session until it ends. Reading goes on while a commit waits, so the link stays alive. `line` takes
    what is not about records."""
    batches: asyncio.Queue[Batch] = asyncio.Queue(WINDOW)
    strange = Strange(log, peer.name, "which is not for a central")

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
                line.status(_decode_status(body))
            elif not line.take(kind, body):
                strange.tell(kind)

    committing = asyncio.create_task(commit())
    listening = asyncio.create_task(listen())
    try:
        done, _ = await asyncio.wait({committing, listening}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # the latter for text that is none
        log.warning("%s sent a malformed message (%s); the connection is closed", peer.name, error)
    finally:
        await end_all(committing, listening)
