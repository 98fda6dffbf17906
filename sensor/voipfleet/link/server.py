"""The listening side of the link: who may come in, at what cost to us, and one task a session."""

import asyncio
import collections
import errno
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from voipfleet.errors import VoipfleetError
from voipfleet.link import frames, handshake, keys, types
from voipfleet.link.clock import Offset
from voipfleet.link.handshake import HandshakeError
from voipfleet.link.session import LinkClosed, Session, tune

log = logging.getLogger("voipfleet.link")
M1_SECONDS, M3_SECONDS = 3.0, 5.0
BEFORE_WELCOME = 256  # connections that have not proven anything yet
STRANGERS = 8  # of them from one address, without the knock
BACKLOG, BUFFER = 512, 4096
REFUSAL_DELAY = 0.2  # seconds, at most: how long a refusal takes says nothing about its reason
SAME_REFUSAL = 60.0  # seconds in which the same refusal of the same address is logged once


@dataclass(frozen=True)
class Policy:
    """`auth`: `password` (whoever knows it, the key is bound to the sensor at first use) or `key` (listed keys only).
    `allowed`: public key -> name. `bind_key(sensor_uuid, public)`: whether the sensor may come with this key."""

    auth: str
    allowed: dict[bytes, str]
    require_knock: bool
    bind_key: Callable[[bytes, bytes], Awaitable[bool]]


@dataclass(frozen=True)
class Peer:
    """Who is at the other end; all of it is authenticated but the address."""

    sensor_uuid: bytes
    name: str
    key: bytes
    address: str
    role: int
    hello: handshake.Hello = field(repr=False)


class LinkServer:
    """`identities`: this node's keys (two in a rotation); `psks`: the active passwords' keys; `roles`: what this port
    serves. `welcome(peer)` makes the body of WELCOME; `on_session(session, peer)` serves until the link ends.
    `counters` says what came."""

    def __init__(self, identities, psks, *, policy: Policy, welcome, on_session,
                 roles: frozenset[int] = frozenset({types.ROLE_RECORDS})):  # fmt: skip
        self._identities, self._psks, self._policy, self._roles = identities, psks, policy, roles
        self._welcome, self._on_session = welcome, on_session
        self._server: asyncio.Server | None = None
        self._waiting = 0
        self._strangers: collections.Counter[str] = collections.Counter()
        self._sessions: dict[tuple, Session] = {}
        self._tasks: set[asyncio.Task] = set()
        self._said: dict[tuple[str, str], float] = {}
        self.counters: collections.Counter[str] = collections.Counter()

    async def start(self, bind: str, port: int) -> None:
        try:
            self._server = await asyncio.start_server(self._accept, bind, port, limit=BUFFER, backlog=BACKLOG)
        except OSError as error:
            raise VoipfleetError(f"{bind}:{port}: {_bind_fault(error)}") from None

    @property
    def port(self) -> int:
        return self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server:
            self._server.close()
        await asyncio.gather(*(session.close("shutdown") for session in list(self._sessions.values())))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        address = writer.get_extra_info("peername", ("?",))[0]
        try:
            opened = await self._admit(reader, writer, address)
            if opened:
                await self._serve(*opened)
        except (LinkClosed, ConnectionError):
            pass
        except asyncio.CancelledError:
            if self._server.is_serving():
                raise
        except Exception:
            # One connection's fault must not be another's; what it was is a defect and is told whole.
            log.exception("link from %s: unexpected failure; the connection is closed", address)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _admit(self, reader, writer, address: str) -> tuple[Session, Peer] | None:
        """The handshake within its limits; None (and closed) for whoever does not come through it."""
        if self._waiting >= BEFORE_WELCOME:
            self.counters["overload"] += 1
            return None
        self._waiting += 1
        stranger, clock = False, Offset()
        try:
            tune(writer)
            shake = handshake.Server(self._identities)
            async with asyncio.timeout(M1_SECONDS):
                first = await reader.readexactly(handshake.M1)
            try:
                shake.first(first)
            except HandshakeError as error:
                if error.word == "version":  # a hint for the caller's log, nothing more
                    version = handshake.VERSION
                    writer.write(handshake.REJECT + bytes((1, version, version, 0)))
                raise
            if not shake.knocked:
                if self._policy.require_knock:
                    raise HandshakeError("no_knock", "does not know this node's public key")
                stranger = True
                self._strangers[address] += 1
                if self._strangers[address] > STRANGERS:
                    raise HandshakeError("too_many", "too many connections at once without this node's public key")
            sent = time.time_ns() // 1000
            writer.write(shake.second(sent, listed=self._policy.auth == "key"))
            async with asyncio.timeout(M3_SECONDS):
                third = await reader.readexactly(handshake.M3)
                hello = shake.third(third, self._psks)
                clock.sample(sent, hello.client_time, time.time_ns() // 1000)
                peer = await self._allow(shake, hello, address)
                header = await reader.readexactly(frames.HEADER)
            return await self._open(reader, writer, shake, header, peer, clock), peer
        except HandshakeError as error:
            await self._refuse(error.word, str(error), address, shake.client_key)
        except (TimeoutError, asyncio.IncompleteReadError):
            self.counters["incomplete"] += 1
        except VoipfleetError:  # the store is away: it was said by the store
            self.counters["not_ready"] += 1
        finally:
            self._waiting -= 1
            if stranger:
                self._strangers[address] -= 1
                if not self._strangers[address]:
                    del self._strangers[address]
        return None

    async def _allow(self, shake: handshake.Server, hello: handshake.Hello, address: str) -> Peer:
        if shake.role not in self._roles:
            served = ", ".join(map(str, sorted(self._roles)))
            raise HandshakeError("role", f"{hello.name} wants role {shake.role}; this port serves role {served}")
        key, listed = shake.client_key, self._policy.allowed.get(shake.client_key)
        if self._policy.auth == "key" and listed is None:
            raise HandshakeError("unknown_key", f"{hello.name} is not in sensor_keys; roll out this host again from an"
                                 " inventory that has it")  # fmt: skip
        if not await self._policy.bind_key(hello.sensor_uuid, key):
            raise HandshakeError("key_conflict", f"{hello.name} came with another key before; if its key was made anew,"
                                 " forget the old one at the central")  # fmt: skip
        return Peer(hello.sensor_uuid, listed or hello.name, key, address, shake.role, hello)

    async def _open(self, reader, writer, shake: handshake.Server, header: bytes, peer: Peer, clock: Offset) -> Session:
        sealer = frames.Sealer(shake.keys.send, shake.keys.hash)
        opener = frames.Opener(shake.keys.receive, header, shake.keys.hash)
        body = await self._welcome(peer)
        if len(body) + 2 > frames.MAX_BEFORE_WELCOME:
            raise ValueError(f"a welcome of {len(body)} bytes")
        writer.write(sealer.header)
        session = Session(reader, writer, sealer, opener, clock)
        await session.send(types.WELCOME, body)
        return session

    async def _serve(self, session: Session, peer: Peer) -> None:
        # The newest connection wins: a half-open one of the same sensor must not lock it out.
        name = (peer.sensor_uuid, peer.key, peer.role)
        if older := self._sessions.get(name):
            older.abort()
        self._sessions[name] = session
        self.counters["sessions"] += 1
        try:
            await self._on_session(session, peer)
        finally:
            if self._sessions.get(name) is session:
                del self._sessions[name]
            await session.close("end of service")

    async def _refuse(self, word: str, sentence: str, address: str, key: bytes) -> None:
        """Into the log, with who it was; the caller learns nothing."""
        self.counters[f"refused_{word}"] += 1
        now = time.monotonic()
        if now - self._said.get((address, word), -SAME_REFUSAL) >= SAME_REFUSAL:
            if len(self._said) >= 1024:
                self._said.clear()
            self._said[address, word] = now
            who = f", key {keys.fingerprint(key)}" if key else ""
            log.warning("link refused (%s) from %s%s: %s", word, address, who, sentence)
        await asyncio.sleep(random.uniform(0, REFUSAL_DELAY))


def _bind_fault(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is taken; stop what listens there (`ss -ltnp` names it) or choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this host does not have that address; bind to one of its own, or to 0.0.0.0"
    if error.errno == errno.EACCES:
        return "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE, choose a higher one"
    return f"cannot listen ({error.strerror}); check the address and the port"
