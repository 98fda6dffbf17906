"""The listening side of the link: who may come in, at what cost to us, and one task a session.

A stranger costs a place for seconds, 80 bytes read and a hash; a caller that knows our key three scalar
multiplications. Argon2id was computed at start, so no connection can make us do it.
"""

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
from voipfleet.link.limits import CALLER, STRANGER, Buckets, Recent, Room, network
from voipfleet.link.session import LinkClosed, Session, tune
from voipfleet.tasks import end_all

log = logging.getLogger("voipfleet.link")
M1_SECONDS, M3_SECONDS = 3.0, 5.0
PLACES, RESERVED = 512, 128  # before the welcome: for anybody; for addresses that were let in before
STRANGERS = 8  # places of one address that does not know our key
FIRSTS = 20, 10.0  # first messages of such an address: at once, a minute
FAILURES = 20, 10.0  # failed handshakes of one address before it is on the grey list: at once, a minute
GREY = 4  # handshakes at once of an address on the grey list; it may be that of many honest sensors
ENTRIES = 60, 60.0  # successful handshakes of one key: at once, a minute
REMEMBERED = 4096  # sensors whose processes are known: whoever has the password may come under any number of names
TWICE = 3600.0  # s: two processes that come by turns with one key in this time are copies of one sensor
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
    slot: int = 0  # which of the active passwords it has


class LinkServer:
    """`identities`: this node's keys (two in a rotation); `psks`: the active passwords' keys; `roles`: what this port
    serves. `welcome(peer)` makes the body of WELCOME; `on_session(session, peer)` serves until the link ends.
    `counters` says what came; `audit(event, **fields)` is told who came in and who was refused."""

    def __init__(self, identities, psks, *, policy: Policy, welcome, on_session,
                 roles: frozenset[int] = frozenset({types.ROLE_RECORDS}),
                 audit: Callable[..., None] = lambda event, **fields: None):  # fmt: skip
        self._audit = audit
        self._identities, self._psks, self._policy, self._roles = identities, psks, policy, roles
        self._welcome, self._on_session = welcome, on_session
        self._server: asyncio.Server | None = None
        self._room, self._known = Room(PLACES, RESERVED), Recent()
        self._firsts, self._failures, self._entries = Buckets(*FIRSTS), Buckets(*FAILURES), Buckets(*ENTRIES)
        self._busy: collections.Counter[str] = collections.Counter()  # handshakes of addresses that are limited
        self._lives: dict[tuple, dict[bytes, float]] = {}  # of each sensor: its processes, and when each came last
        self._sessions: dict[tuple, Session] = {}
        self._tasks: set[asyncio.Task] = set()
        self._said: dict[tuple[str, str], list] = {}  # when a refusal was last told, how often since
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
        await end_all(*self._tasks)

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
        source, me = network(address), object()

        def leave() -> None:
            self.counters["evicted"] += 1
            writer.transport.abort()

        if not self._room.enter(me, source in self._known, time.monotonic(), leave):
            self.counters["overload"] += 1
            return None
        shake, lanes = handshake.Server(self._identities), []
        try:
            tune(writer)
            async with asyncio.timeout(M1_SECONDS):
                first = await reader.readexactly(handshake.M1)
            try:
                shake.first(first)
            except HandshakeError as error:
                if error.word == "version":  # a hint for the caller's log, nothing more
                    writer.write(shake.hint())
                raise
            lanes = self._lane(shake, source)
            self._room.advance(me, CALLER if shake.knocked else STRANGER, time.monotonic())
            clock, sent = Offset(), time.time_ns() // 1000
            writer.write(shake.second(sent, listed=self._policy.auth == "key"))
            async with asyncio.timeout(M3_SECONDS):
                third = await reader.readexactly(handshake.M3)
                hello = shake.third(third, self._psks)
                clock.sample(sent, hello.client_time, time.time_ns() // 1000)
                peer = await self._allow(shake, hello, address)
                header = await reader.readexactly(frames.HEADER)
            self._known.add(source)
            return await self._open(reader, writer, shake, header, peer, clock), peer
        except HandshakeError as error:
            if shake.client_key or not shake.knocked:
                self._failures.take(source, time.monotonic())
            await self._refuse(error.word, str(error), address, shake.client_key)
        except (TimeoutError, asyncio.IncompleteReadError):
            self.counters["incomplete"] += 1
        except VoipfleetError:  # the store is away: it was said by the store
            self.counters["not_ready"] += 1
        finally:
            self._room.leave(me)
            for lane in lanes:
                self._busy[lane] -= 1
                if not self._busy[lane]:
                    del self._busy[lane]
        return None

    def _lane(self, shake: handshake.Server, source: str) -> list[str]:
        """What of the limits of its address this handshake takes; HandshakeError where there is nothing left."""
        now = time.monotonic()
        if not shake.knocked:
            if self._policy.require_knock:
                raise HandshakeError("no_knock", "does not know this node's public key")
            if not self._firsts.take(source, now):
                raise HandshakeError("rate", "too many tries a minute without this node's public key")
            if self._busy[source] >= STRANGERS:
                raise HandshakeError("too_many", "too many connections at once without this node's public key")
        elif not self._failures.empty(source, now):
            return []
        elif self._busy[source] >= GREY:
            raise HandshakeError("grey", "too many failed handshakes from this address; it is served slowly for now")
        self._busy[source] += 1
        return [source]

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
        if not self._entries.take((hello.sensor_uuid, key), time.monotonic()):
            raise HandshakeError("rate", f"{hello.name} connects too often; see its log for what ends its connections")
        return Peer(hello.sensor_uuid, listed or hello.name, key, address, shake.role, hello, shake.slot)

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
        self._audit("link_open", name=peer.name, address=peer.address, key=keys.fingerprint(peer.key), role=peer.role,
                    sensor=peer.sensor_uuid.hex(), password=peer.slot)  # fmt: skip
        self._copies(peer, name)
        try:
            await self._on_session(session, peer)
        finally:
            if self._sessions.get(name) is session:
                del self._sessions[name]
            await session.close("end of service")

    def _copies(self, peer: Peer, name: tuple) -> None:
        """A process that comes back after another one of the same name and key: two copies of one sensor run."""
        now, life = time.monotonic(), peer.hello.boot_id
        lives = self._lives[name] = self._lives.pop(name, {})  # who came last stands last
        if len(self._lives) > REMEMBERED:
            del self._lives[next(iter(self._lives))]
        newest = max(lives, key=lives.get, default=life)
        back = life in lives and newest != life and now - lives[life] < TWICE
        lives[life] = now
        if len(lives) > 4:
            del lives[min(lives, key=lives.get)]
        if back and any(life):
            self.counters["flapping"] += 1
            self._tell("flapping", f"{peer.name}: two processes connect by turns with the same key and uuid; one is a"
                       " copy of the other (a cloned disk?): stop it, remove its spool folder and key, and roll it out"
                       " under a name of its own", peer.address, peer.key)  # fmt: skip

    async def _refuse(self, word: str, sentence: str, address: str, key: bytes) -> None:
        """Into the log, with who it was; the caller learns nothing."""
        self.counters[f"refused_{word}"] += 1
        self._tell(word, sentence, address, key, "link refused ")
        await asyncio.sleep(random.uniform(0, REFUSAL_DELAY))

    def _tell(self, word: str, sentence: str, address: str, key: bytes, what: str = "link ") -> None:
        """To the journal and the audit log; the same of the same address once a minute, with how often it was."""
        now, said = time.monotonic(), self._said.get((address, word))
        if said and now - said[0] < SAME_REFUSAL:
            said[1] += 1
            return
        if len(self._said) >= 1024:
            self._said.clear()
        self._said[address, word] = [now, 0]
        fingerprint, more = keys.fingerprint(key) if key else "", said[1] if said else 0
        who = f", key {fingerprint}" if key else ""
        again = f" ({more} more times since it was last told)" if more else ""
        log.warning("%s(%s) from %s%s: %s%s", what, word, address, who, sentence, again)
        self._audit("link_refused" if "refused" in what else "link_" + word, reason=word, address=address,
                    key=fingerprint, more=more)  # fmt: skip


def _bind_fault(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is taken; stop what listens there (`ss -ltnp` names it) or choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this host does not have that address; bind to one of its own, or to 0.0.0.0"
    if error.errno == errno.EACCES:
        return "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE, choose a higher one"
    return f"cannot listen ({error.strerror}); check the address and the port"
