"""An uplink over which the outbox's records go to a central."""

from collections.abc import Callable

import msgspec

from voipfleet.link import client, keys, types
from voipfleet.link.session import Session
from voipfleet.records.delivery import deliver
from voipfleet.records.messages import Ack, Batch, Status, Welcome
from voipfleet.records.spool import Spool
from voipfleet.uplink import Uplink, decoded

_decode_ack = msgspec.msgpack.Decoder(Ack).decode


class LinkTarget:
    """A central behind an open session (voipfleet.records.delivery.Target)."""

    def __init__(self, session: Session, welcome: Welcome):
        self._session, self.welcome = session, welcome

    async def send_batch(self, batch: Batch) -> None:
        await self._session.send(types.BATCH, msgspec.msgpack.encode(batch))

    async def send_status(self, status: Status) -> None:
        await self._session.send(types.STATUS, msgspec.msgpack.encode(status))

    async def recv_ack(self) -> Ack:
        async for kind, body in self._session:
            if kind == types.ACK:
                return decoded(_decode_ack, body, "acknowledgement")
        raise ConnectionError("the central closed the connection")


def records_uplink(config, identity: keys.Identity, psk: bytes, *, spool: Spool, name: str,
                   status: Callable[[], Status]) -> Uplink:  # fmt: skip
    """To `server_destination`; `status()` is what this instance says of itself every few seconds."""

    def hello() -> client.Hello:
        state = spool.state
        return client.Hello(sensor_uuid=spool.sensor_uuid, name=name, spool_epoch=state.epoch, next_seq=state.next_seq)

    async def serve(session: Session, welcome: Welcome) -> None:
        await deliver(spool, LinkTarget(session, welcome), status)

    return Uplink(config, identity, psk, role=types.ROLE_RECORDS, hosts=config.server_destination,
                  port=config.server_destination_port, hello=hello, serve=serve)  # fmt: skip
