"""Keeps the connection to a receiver: connects, hands the session over, and when it breaks tries again for ever."""

import asyncio
import contextlib
import dataclasses
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec

from voipfleet.errors import VoipfleetError
from voipfleet.link import client, clock, keys
from voipfleet.link.session import Session
from voipfleet.records.messages import Welcome

log = logging.getLogger("voipfleet.uplink")
CONNECT_SECONDS = 10.0
FAIL_BACK = 30.0  # s between looks whether a host that is wanted more is back
RENEW = 24 * 3600.0  # s after which a connection is made anew, with keys of its own, before the old one ends
LIFE = os.urandom(16)  # names this process: two of them that come by turns are copies of one sensor

_decode_welcome = msgspec.msgpack.Decoder(Welcome).decode


class Malformed(VoipfleetError):
    """The receiver sent something that is no message."""


class Renewed(VoipfleetError):
    """A new connection takes the place of the one that was there."""


class BetterHost(VoipfleetError):
    """A host that stands before this one in the list is back."""


@contextlib.contextmanager
def _readable(what: str) -> Iterator[None]:
    """Malformed, where the receiver's `what` turns out to be no message."""
    try:
        yield
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # the latter for text that is none
        raise Malformed(f"sent a malformed {what} ({error}); another release may run there") from None


def decoded(decode: Callable, body: bytes, what: str):
    """The message; Malformed where there is none."""
    with _readable(what):
        return decode(body)


async def taken(line, kind: int, body: bytes) -> bool:
    """Whether `line` (asking.switchboard.ClientLine) has a use for the frame; Malformed where it is no message."""
    with _readable(f"frame of type {kind}"):
        return await line.take(kind, body)


class Uplink:
    """`serve(session, welcome)` runs while there is a connection.

    `state` and `peer` are for people: what the connection is doing, and with whom; `name` and `meanwhile` are words for
    the log.
    """

    def __init__(self, config, identity: keys.Identity, psk: bytes, *, role: int, hosts: tuple[str, ...], port: int,
                 hello: Callable[[], client.Hello], serve: Callable[[Session, Welcome], Awaitable[None]],
                 name: str = "central", meanwhile: str = "records wait in the outbox"):  # fmt: skip
        self._config, self._identity, self._psk, self._role = config, identity, psk, role
        self._hosts, self._port, self._hello, self._serve = hosts, port, hello, serve
        self._name, self._meanwhile = name, meanwhile
        self._session: Session | None = None
        self._renewed: tuple[Session, bytes] | None = None
        self.state, self.peer, self.why, self.since = "connecting", "", "", time.time()
        self.connections = 0
        self.offset: float | None = None  # of the last session: the receiver's clock minus ours, s
        self._connected = self._closing = False

    async def run(self) -> None:
        """For ever: the first host of the list that takes us; while that is not the first, back as soon as that is."""
        delays = client.backoff()
        while not self._closing:
            for place, host in enumerate(self._hosts):
                self._connected = False
                await self._stay(host, self._hosts[:place])
                if self._connected or self._closing:
                    delays = client.backoff()
                    break
            await asyncio.sleep(next(delays))

    async def _stay(self, host: str, better: tuple[str, ...]) -> None:
        """With one host, over one connection or several that take each other's place."""
        while True:
            try:
                await self._connect_and_serve(host, better)
            except* (VoipfleetError, OSError, EOFError) as group:
                if not self._renewed:
                    self._down(host, _first(group))
            if self._closing and self._renewed:  # it came in the very moment of the end
                (session, _), self._renewed = self._renewed, None
                session.abort()
            if not self._renewed:
                return

    async def _connect_and_serve(self, host: str, better: tuple[str, ...]) -> None:
        (session, body), self._renewed = self._renewed or await self._connect(host), None
        self._session = session
        try:
            welcome = decoded(_decode_welcome, body, "welcome")
            self.state, self.peer, self.why, self.since = "connected", welcome.central_name, "", time.time()
            self.connections += 1
            self._connected = True
            log.info("%s: connected to %s (%s)", self._name, welcome.central_name, host)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(clock.watch(session.clock, welcome.central_name))
                tasks.create_task(self._back(better))
                tasks.create_task(self._renew(host))
                await self._serve(session, welcome)
        finally:
            self.offset = session.clock.seconds
            self._session = None
            await session.close("end of delivery")

    async def _connect(self, host: str) -> tuple[Session, bytes]:
        config = self._config
        return await client.connect(
            host, self._port, identity=self._identity, psk=self._psk, role=self._role,
            pins=keys.parse_pins(config.server_key, host), tofu_path=Path(config.spooldir) / "known_server",
            hello=dataclasses.replace(self._hello(), boot_id=LIFE), timeout=CONNECT_SECONDS,
        )  # fmt: skip

    async def _renew(self, host: str) -> None:
        """New keys for the connection; the receiver takes the newest one of a sensor for the one that counts."""
        while True:
            await asyncio.sleep(RENEW * random.uniform(0.9, 1.0))
            try:
                self._renewed = await self._connect(host)
            except (VoipfleetError, OSError, EOFError) as error:
                log.warning("%s: the connection could not be renewed (%s); it stays", self._name, error)
                continue
            raise Renewed(f"{host}: a new connection")

    async def _back(self, better: tuple[str, ...]) -> None:
        """Ends the connection once a host that stands before this one in the list answers again."""
        while better:
            await asyncio.sleep(FAIL_BACK * random.uniform(0.8, 1.2))
            for host in better:
                try:
                    session, _ = await self._connect(host)
                except (VoipfleetError, OSError, EOFError):
                    continue
                await session.close("back again")
                raise BetterHost(f"{host} is back, so it is used again")

    @property
    def clock_offset(self) -> float | None:
        """Our clock minus the receiver's, s; as it was last measured."""
        theirs = self._session.clock.seconds if self._session else self.offset
        return -theirs if theirs is not None else None

    def report(self) -> dict:
        """For `voipfleet status`."""
        offset = self.clock_offset
        return {
            "state": self.state, "central": self.peer, "why": self.why, "hosts": list(self._hosts),
            "seconds": round(time.time() - self.since, 1), "connections": self.connections,
            "clock_offset_ms": round(offset * 1000, 1) if offset is not None else None,
            "rtt": self._session.clock.round_trip if self._session else None,
        }  # fmt: skip

    def _down(self, host: str, error: BaseException) -> None:
        why = str(error) or type(error).__name__
        if self._closing:
            return
        if self.state == "connected" or why != self.why:
            log.warning("%s %s: %s; %s, trying again", self._name, host, why, self._meanwhile)
        if self.state == "connected":
            self.since = time.time()
        self.state, self.why = "disconnected", why

    async def close(self) -> None:
        """Hang up, and do not come again."""
        self._closing = True
        if self._session:
            await self._session.close("shutdown")


def _first(group: BaseExceptionGroup) -> BaseException:
    """The first plain exception of a group: the one that ended the connection."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
