"""Keeps the connection to the central: connects, delivers, and when it breaks tries again for ever."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from voipfleet.errors import VoipfleetError
from voipfleet.link import client, keys, types
from voipfleet.records.delivery import deliver
from voipfleet.records.messages import Ack, Batch, Status, Welcome
from voipfleet.records.spool import Spool

log = logging.getLogger("voipfleet.uplink")
CONNECT_SECONDS = 10.0

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


class Uplink:
    """`state` and `peer` are for people: what the connection is doing, and with whom."""

    def __init__(self, config, identity, psk: bytes, spool: Spool, status: Callable[[], Status]):
        self._config, self._identity, self._psk = config, identity, psk
        self._spool, self._status = spool, status
        self._session = None
        self.state, self.peer, self.why, self.since = "connecting", "", "", time.time()
        self.connections = 0

    async def run(self) -> None:
        delays = client.backoff()
        while True:
            for host in self._config.server_destination:
                try:
                    await self._connect_and_deliver(host)
                    delays = client.backoff()
                except* (VoipfleetError, OSError, EOFError) as group:
                    if self.state == "connected":
                        delays = client.backoff()
                    self._down(host, _first(group))
            await asyncio.sleep(next(delays))

    async def _connect_and_deliver(self, host: str) -> None:
        config = self._config
        state = self._spool.state
        hello = client.Hello(
            sensor_uuid=self._spool.sensor_uuid, name=config.name_sensor or socket.gethostname(),
            spool_epoch=state.epoch, next_seq=state.next_seq,
        )  # fmt: skip
        session, welcome = await client.connect(
            host, config.server_destination_port, identity=self._identity, psk=self._psk, role=types.ROLE_RECORDS,
            pins=keys.parse_pins(config.server_key), tofu_path=Path(config.spooldir) / "known_server", hello=hello,
            timeout=CONNECT_SECONDS,
        )  # fmt: skip
        self._session = session
        target = LinkTarget(session, welcome)
        self.state, self.peer, self.why, self.since = "connected", target.welcome.central_name, "", time.time()
        self.connections += 1
        log.info("connected to %s (%s)", target.welcome.central_name, host)
        try:
            await deliver(self._spool, target, self._status)
        finally:
            self._session = None
            await session.close("end of delivery")

    def _down(self, host: str, error: BaseException) -> None:
        why = str(error) or type(error).__name__
        if self.state == "connected" or why != self.why:
            log.warning("central %s: %s; records wait in the outbox, trying again", host, why)
        if self.state == "connected":
            self.since = time.time()
        self.state, self.why = "disconnected", why

    async def close(self) -> None:
        if self._session:
            await self._session.close("shutdown")


def _first(group: BaseExceptionGroup) -> BaseException:
    """The first plain exception of a group: the one that ended the connection."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
