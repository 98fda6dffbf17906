"""A listening port: who may connect, and one task a connected host, which sends records, packets, or both."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable

import msgspec

from voipfleet.link import clock, keys, server, types
from voipfleet.records.messages import Welcome

log = logging.getLogger("voipfleet.link")
SENDS = {types.ROLE_RECORDS: "records", types.ROLE_PACKETS: "packets", types.ROLE_MANAGER: "commands"}
Serve = Callable[[object, server.Peer], Awaitable[None]]
BindKey = Callable[[bytes, bytes, Callable[[bytes], bool]], Awaitable[bool]]


class Listener:
    """`identities`, `psks`: this node's keys and the active passwords' ones. `roles`: for each role that the port
    serves, what makes the welcome and what serves a session. `bind_key(sensor uuid, its key, may_replace)`: whether
    it may come with this key; `may_replace(key)`: whether a key that it came with before may be forgotten. `sensors`
    is filled with what a person wants to know of each connection. `auth`, `allowed`: other than in the configuration.
    """

    def __init__(self, config, identities: tuple[keys.Identity, ...], psks: tuple[bytes, ...], *, bind: str, port: int,
                 roles: dict[int, tuple[Callable[[server.Peer], Awaitable[Welcome]], Serve]], bind_key: BindKey,
                 sensors: dict[tuple, dict], audit: Callable[..., None], auth: str = "",
                 allowed: dict[bytes, str] | None = None):  # fmt: skip
        self._bind, self._port, self._roles, self._sensors = bind, port, roles, sensors
        self._allowed = keys.parse_named(config.sensor_keys, "sensor_keys") if allowed is None else allowed
        self._auth, self._bind_key, self._slots = auth or config.auth, bind_key, len(psks)
        policy = server.Policy(auth=self._auth, allowed=self._allowed, require_knock=config.require_knock,
                               bind_key=self._may_come)  # fmt: skip
        self._server = server.LinkServer(identities, psks, policy=policy, welcome=self._welcome,
                                         on_session=self._on_session, roles=frozenset(roles), audit=audit)  # fmt: skip

    async def start(self) -> None:
        await self._server.start(self._bind, self._port)

    async def close(self) -> None:
        await self._server.close()

    def report(self) -> dict:
        """For `voipfleet status`: what came to this port; how many peers use which of the active passwords."""
        slots = [0] * self._slots
        for (_, _, port), entry in self._sensors.items():
            if port == self._port:
                slots[entry["password"]] += 1
        return {"port": self._port, "slots": slots, **self._server.counters}

    async def _may_come(self, sensor: bytes, key: bytes) -> bool:
        """With an allow-list, it says who has which key: a listed sensor may come with a new one (a rotation), if its
        old one is not that of another."""

        def may_replace(old: bytes) -> bool:
            return self._auth == "key" and self._allowed.get(old, self._allowed[key]) == self._allowed[key]

        return await self._bind_key(sensor, key, may_replace)

    async def _welcome(self, peer: server.Peer) -> bytes:
        return msgspec.msgpack.encode(await self._roles[peer.role][0](peer))

    async def _on_session(self, session, peer: server.Peer) -> None:
        what = SENDS[peer.role]
        entry = {"name": peer.name, "address": peer.address, "key": keys.fingerprint(peer.key), "sends": what,
                 "connected": time.time(), "clock": session.clock, "password": peer.slot}  # fmt: skip
        name = (peer.sensor_uuid, peer.role, self._port)
        self._sensors[name] = entry
        log.info("%s connected from %s to send %s, key %s", peer.name, peer.address, what, entry["key"])
        watching = asyncio.create_task(clock.watch(session.clock, peer.name))
        try:
            await self._roles[peer.role][1](session, peer)
        finally:
            watching.cancel()
            if self._sensors.get(name) is entry:
                del self._sensors[name]
            log.info("%s disconnected, it sent %s", peer.name, what)


class KeyBook:
    """Which key each source came with first, in a file: for an instance that has no database."""

    def __init__(self, path):
        self._path = path
        self._known: dict[str, str] = {}
        if path.exists():
            self._known = dict(line.split(" ", 1) for line in path.read_text("ascii").splitlines() if " " in line)

    def knows(self, source: bytes) -> bool:
        return source.hex() in self._known

    async def bind_key(self, source: bytes, public: bytes, may_replace: Callable[[bytes], bool]) -> bool:
        known = self._known.get(source.hex())
        if known is None or (known != public.hex() and may_replace(bytes.fromhex(known))):
            with self._path.open("a", encoding="ascii") as file:  # of several lines of one source the last one counts
                file.write(f"{source.hex()} {public.hex()}\n")
                file.flush()
                os.fsync(file.fileno())
            known = self._known[source.hex()] = public.hex()
        return known == public.hex()
