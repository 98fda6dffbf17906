"""The calling side of the link: connect, prove, be welcome; or one sentence why not."""

import asyncio
import contextlib
import errno
import logging
import random
import time
from collections.abc import Iterator
from pathlib import Path

from voipfleet.errors import VoipfleetError
from voipfleet.link import frames, handshake, keys, types
from voipfleet.link.clock import Offset
from voipfleet.link.handshake import Hello
from voipfleet.link.session import LinkClosed, Session, tune

__all__ = ["Hello", "LinkError", "backoff", "connect"]
log = logging.getLogger("voipfleet.link")
FIRST_DELAY, LONGEST_DELAY = 0.2, 30.0

_REFUSED = ("closed the connection instead of saying welcome; its log has the reason (another password, a key that is"
            " not allowed, or its database is away)")  # fmt: skip
_WHY = {
    errno.ECONNREFUSED: "nothing listens there; see whether voipfleet runs on that host, and the port",
    errno.EHOSTUNREACH: "cannot be reached; check the address and the network between",
    errno.ENETUNREACH: "cannot be reached; check the address and the routes of this host",
}


class LinkError(VoipfleetError):
    """The link did not come about; `str()` is for a person."""


class _Ignored(LinkError):
    """Closed at the first message: it does not know the key that was knocked with, or is something else."""


def backoff() -> Iterator[float]:
    """Seconds between tries: up to a bound that doubles from 0.2 to 30, spread evenly below it, so that a
    fleet does not come back in step."""
    bound = FIRST_DELAY
    while True:
        yield random.uniform(FIRST_DELAY / 4, bound)
        bound = min(LONGEST_DELAY, bound * 2)


async def connect(host: str, port: int, *, identity: keys.Identity, psk: bytes, role: int, pins: tuple[bytes, ...],
                  tofu_path: Path, hello: Hello, timeout: float) -> tuple[Session, bytes]:  # fmt: skip
    """An open session and the body of the server's WELCOME; LinkError when there is none within `timeout` seconds.

    Without `pins` the server's key is learnt at the first connection and kept in `tofu_path`.
    """
    where = f"{host}:{port}"
    learnt = not pins
    if learnt:
        pins = _known(tofu_path, where)
    for at in range(max(1, len(pins))):
        ordered = pins[at:] + pins[:at]  # the first is knocked with; in a rotation the receiver may know but one of two
        try:
            session, welcome, key = await _try(host, port, identity, psk, role, ordered, hello, timeout)
            break
        except _Ignored:
            if at >= len(pins) - 1:
                raise
        except handshake.HandshakeError as error:
            raise LinkError(f"{where}: {_sentence(error, learnt, tofu_path)}") from None
    if learnt and not pins:
        _learn(tofu_path, where, key)
    return session, welcome


async def _try(host: str, port: int, identity: keys.Identity, psk: bytes, role: int, pins: tuple[bytes, ...],
               hello: Hello, timeout: float) -> tuple[Session, bytes, bytes]:  # fmt: skip
    where, writer = f"{host}:{port}", None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, port)
            tune(writer)
            client = handshake.Client(identity, psk, role, pins)
            session, welcome = await _shake(reader, writer, client, hello, where)
            return session, welcome, client.server_key
    except BaseException as error:
        if writer:
            writer.transport.abort()
        if isinstance(error, TimeoutError):
            raise LinkError(f"{where}: no answer in {timeout:g} s; check the address and firewalls between") from None
        if isinstance(error, OSError):
            raise LinkError(f"{where}: {_WHY.get(error.errno, error.strerror or str(error))}") from None
        raise


async def _shake(reader, writer, client: handshake.Client, hello: Hello, where: str) -> tuple[Session, bytes]:
    clock, sent = Offset(), time.time_ns() // 1000
    writer.write(client.first())
    try:
        client.second(await reader.readexactly(handshake.M2))
        clock.sample(sent, client.server_time, time.time_ns() // 1000)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise _no_second(where, getattr(error, "partial", b"")) from None
    writer.write(client.third(hello, time.time_ns() // 1000))
    sealer = frames.Sealer(client.keys.send, client.keys.hash)
    writer.write(sealer.header)
    try:
        header = await reader.readexactly(frames.HEADER)
    except (asyncio.IncompleteReadError, ConnectionError):
        raise LinkError(f"{where}: {_REFUSED}") from None
    opener = frames.Opener(client.keys.receive, header, client.keys.hash, frames.MAX_BEFORE_WELCOME)
    session = Session(reader, writer, sealer, opener, clock)
    try:
        kind, body = await session.receive()
    except LinkClosed as error:
        session.abort()
        raise LinkError(f"{where}: no welcome ({error})") from None
    except BaseException:
        session.abort()
        raise
    if kind != types.WELCOME:
        session.abort()
        raise LinkError(f"{where}: its first frame is no welcome; another release may run there")
    session.admit()
    return session, body


def _no_second(where: str, partial: bytes) -> LinkError:
    if partial[:4] == handshake.REJECT and len(partial) >= 7:
        return LinkError(f"{where}: speaks versions {partial[5]}-{partial[6]} of the link, this release"
                         f" {handshake.LOWEST}-{handshake.VERSION}; upgrade the older one")  # fmt: skip
    return _Ignored(f"{where}: closed the connection at the first message; it is no voipfleet, or it answers only those"
                    " that know its key (server_key here must be its public key)")  # fmt: skip


def _sentence(error: handshake.HandshakeError, learnt: bool, tofu_path: Path) -> str:
    if error.word == "wrong_server" and learnt:
        return f"has another key than at the first connection; if that is meant, remove {tofu_path}"
    return str(error)


def _known(path: Path, where: str) -> tuple[bytes, ...]:
    """The key that this server had at the first connection."""
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text("ascii").splitlines():
            name, _, text = line.partition(" ")
            if name == where:
                return (keys.decode(text, "server_key", str(path)),)
    return ()


def _learn(path: Path, where: str, key: bytes) -> None:
    log.warning("%s: its key is trusted from now on, fingerprint %s; compare it with `voipfleet keygen` there",
                where, keys.fingerprint(key))  # fmt: skip
    with path.open("a", encoding="ascii") as file:
        file.write(f"{where} {keys.encode(key)}\n")
