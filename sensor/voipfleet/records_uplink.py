"""An uplink over which the outbox's records go to a central."""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from voipfleet.asking.switchboard import ClientLine, Switchboard
from voipfleet.link import client, keys, types
from voipfleet.link.session import Session
from voipfleet.link.strange import Strange
from voipfleet.records.delivery import deliver
from voipfleet.records.messages import Ack, Batch, Status, Welcome
from voipfleet.records.spool import Spool
from voipfleet.uplink import Uplink, decoded, taken

log = logging.getLogger("voipfleet.uplink")
_decode_ack = msgspec.msgpack.Decoder(Ack).decode


class LinkTarget:
    """A central behind an open session (voipfleet.records.delivery.Target)."""

    def __init__(self, session: Session, welcome: Welcome, line: ClientLine):
        self._session, self.welcome, self._line = session, welcome, line
        self.sent = 0  # the last row
        self._strange = Strange(log, "the central", "which is not for a sensor")

    def goes_first(self, spool: Spool) -> None:
        """While rows of the outbox were not sent yet, answers give way."""
        self._line.busy = lambda: spool.state.next_seq - 1 > max(self.sent, spool.state.acked_through)

    async def send_batch(self, batch: Batch) -> None:
        self.sent = batch.rows[-1].seq
        await self._session.send(types.BATCH, msgspec.msgpack.encode(batch))

    async def send_status(self, status: Status) -> None:
        await self._session.send(types.STATUS, msgspec.msgpack.encode(status))

    async def recv_ack(self) -> Ack:
        async for kind, body in self._session:
            if kind == types.ACK:
                return decoded(_decode_ack, body, "acknowledgement")
            if not await taken(self._line, kind, body):
                self._strange.tell(kind)
        raise ConnectionError("the central closed the connection")


def records_uplink(config, identity: keys.Identity, psk: bytes, *, spool: Spool, name: str,
                   status: Callable[[], Status], board: Switchboard) -> Uplink:  # fmt: skip
    """To `server_destination`; `status()` is what this instance says of itself every few seconds."""

    def hello() -> client.Hello:
        state = spool.state
        return client.Hello(sensor_uuid=spool.sensor_uuid, name=name, spool_epoch=state.epoch, next_seq=state.next_seq)

    async def serve(session: Session, welcome: Welcome) -> None:
        async with board.client(session, welcome.central) as line, asyncio.TaskGroup() as tasks:
            target = LinkTarget(session, welcome, line)
            target.goes_first(spool)
            tasks.create_task(line.tell())
            tasks.create_task(deliver(spool, target, status))

    return Uplink(config, identity, psk, role=types.ROLE_RECORDS, hosts=config.server_destination,
                  port=config.server_destination_port, hello=hello, serve=serve)  # fmt: skip
