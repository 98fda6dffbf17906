"""Where an instance's own records go: over the link to a central, or into the store of this instance."""

import asyncio

import msgspec

from voipfleet.link import types
from voipfleet.records.messages import Ack, Batch, Status, Welcome

_decode_ack = msgspec.msgpack.Decoder(Ack).decode


class LinkTarget:
    """A central behind an open session (voipfleet.records.delivery.Target)."""

    def __init__(self, session, welcome: bytes):
        self._session = session
        self.welcome = msgspec.msgpack.decode(welcome, type=Welcome)

    async def send_batch(self, batch: Batch) -> None:
        await self._session.send(types.BATCH, msgspec.msgpack.encode(batch))

    async def send_status(self, status: Status) -> None:
        await self._session.send(types.STATUS, msgspec.msgpack.encode(status))

    async def recv_ack(self) -> Ack:
        async for kind, body in self._session:
            if kind == types.ACK:
                return _decode_ack(body)
        raise ConnectionError("the central closed the connection")


class LocalTarget:
    """The store of this instance. `stored` is a voipfleet.central.ingest.StoreThread."""

    def __init__(self, stored, peer, welcome: Welcome):
        self._stored, self._peer = stored, peer
        self.welcome = welcome
        self._batches: asyncio.Queue[Batch] = asyncio.Queue()

    async def send_batch(self, batch: Batch) -> None:
        await self._batches.put(batch)

    async def send_status(self, status: Status) -> None:
        await self._stored.seen(self._peer, status)

    async def recv_ack(self) -> Ack:
        return await self._stored.ingest(self._peer, await self._batches.get())
