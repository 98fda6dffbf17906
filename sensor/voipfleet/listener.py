"""The central's listening side: who may connect, and one task a connected sensor."""

import logging
import time

import msgspec

from voipfleet.central.ingest import serve_records
from voipfleet.central.store import Peer
from voipfleet.central.stored import StoreThread
from voipfleet.link import keys, server

log = logging.getLogger("voipfleet.central")


class Listener:
    """`sensors` is filled with what a person wants to know of each connected sensor."""

    def __init__(self, config, identity, psk: bytes, stored: StoreThread, sensors: dict[bytes, dict]):
        self._config, self._stored, self._sensors = config, stored, sensors
        policy = server.Policy(
            auth=config.auth,
            allowed=keys.parse_sensor_keys(config.sensor_keys or ()),
            require_knock=config.require_knock,
            bind_key=self._bind_key,
        )
        self._server = server.LinkServer(
            (identity,), (psk,), policy=policy, welcome=self._welcome, on_session=self._on_session
        )

    async def start(self) -> None:
        await self._server.start(self._config.server_bind, self._config.server_bind_port)

    async def close(self) -> None:
        await self._server.close()

    async def _bind_key(self, sensor_uuid: bytes, public: bytes) -> bool:
        return await self._stored.call(self._stored.store.bind_key, sensor_uuid, public)

    async def _welcome(self, peer) -> bytes:
        return msgspec.msgpack.encode(await self._stored.welcome(peer.sensor_uuid))

    async def _on_session(self, session, peer) -> None:
        who = Peer(sensor_uuid=peer.sensor_uuid, name=peer.name, key=keys.fingerprint(peer.key), address=peer.address)
        entry = {"name": peer.name, "address": peer.address, "key": who.key, "connected": time.time()}
        self._sensors[peer.sensor_uuid] = entry
        log.info("sensor %s connected from %s, key %s", peer.name, peer.address, who.key)
        try:
            await serve_records(session, who, self._stored)
        finally:
            if self._sensors.get(peer.sensor_uuid) is entry:
                del self._sensors[peer.sensor_uuid]
            log.info("sensor %s disconnected", peer.name)
