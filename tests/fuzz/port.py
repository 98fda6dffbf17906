"""The open port before and after the password, driven with any bytes in any cuts over a transport in memory.

The real server runs; only its clocks are short. Whatever is said to it, the conversation ends in its time, with
nothing left of it: no task, no place, no session, and nothing in the log that is a defect.
"""

import asyncio
import logging
import struct

from fuzz.local import Writer
from voipfleet.link import frames, handshake, keys, noise, server, session, types

PSK = b"p" * 32
SHORT = 0.02  # s, instead of seconds
ENDS = 1.0  # s in which every conversation has ended


def _identity(fill: bytes) -> keys.Identity:
    return keys.Identity(fill * 32, noise.public_key(fill * 32))


CENTRAL, SENSOR = _identity(b"s"), _identity(b"c")


class _Defects(logging.Handler):
    """Tracebacks that were logged."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


async def _yes(uuid: bytes, key: bytes) -> bool:
    return True


async def _welcome(peer: server.Peer) -> bytes:
    return b"hello"


async def _echo(link: session.Session, peer: server.Peer) -> None:
    async for kind, body in link:
        await link.send(kind, body)


def _server() -> server.LinkServer:
    policy = server.Policy("password", {}, False, _yes)
    return server.LinkServer((CENTRAL,), (PSK,), policy=policy, welcome=_welcome, on_session=_echo)


async def _talk(data: bytes) -> None:
    """The first byte: 0 what follows is said as it is; else a sensor that knows all says its first, second or third
    thing with changes. Then pieces, u8 length and bytes, with a turn of the loop after each; a last byte of 1: it stays
    silent then instead of leaving."""
    listening, reader, writer = _server(), asyncio.StreamReader(limit=server.BUFFER), Writer()
    before = asyncio.all_tasks()
    task = asyncio.create_task(listening._accept(reader, writer))
    await asyncio.sleep(0)
    honest, rest = data[0] % 4 if data else 0, data[1:]
    client = handshake.Client(SENSOR, PSK, types.ROLE_RECORDS, (CENTRAL.public,))
    if honest:
        reader.feed_data(_changed(client.first(), rest if honest == 1 else b""))
        await _until(lambda: task.done() or len(writer.sent) >= handshake.M2)
    if honest > 1 and not task.done():
        client.second(bytes(writer.sent[: handshake.M2]))
        third = client.third(handshake.Hello(b"u" * 16, "branch", b"e" * 16, 1), 2)
        sealer = frames.Sealer(client.keys.send, client.keys.hash)
        reader.feed_data(_changed(third + sealer.header, rest if honest == 2 else b""))
        if honest == 3:
            reader.feed_data(_changed(sealer.seal(16, b"body") + sealer.seal(17, b""), rest))
    while not honest and rest and not task.done():
        reader.feed_data(rest[1 : 1 + rest[0]])
        rest = rest[1 + rest[0] :]
        await asyncio.sleep(0)
    if data[-1:] != b"\1" or honest == 3:
        reader.feed_eof()
    _, late = await asyncio.wait([task], timeout=ENDS)
    assert not late, "the conversation does not end"
    assert writer.closed and task.exception() is None
    assert not (listening._tasks or listening._sessions or listening._busy or len(listening._room))
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - before - {task}
    assert not left, left


async def _until(done) -> None:
    for _ in range(1000):
        if done():
            return
        await asyncio.sleep(0)


def _changed(said: bytes, changes: bytes) -> bytes:
    """u16 place, u8 bytes that go, u8 length and bytes that come instead."""
    content, at = bytearray(said), 0
    while at + 4 <= len(changes):
        place, cut, size = struct.unpack_from("!HBB", changes, at)
        place %= len(content) + 1
        content[place : place + cut] = changes[at + 4 : at + 4 + size]
        at += 4 + size
    return bytes(content)


def port(data: bytes) -> None:
    names = {"M1_SECONDS": SHORT, "M3_SECONDS": SHORT, "REFUSAL_DELAY": 0.0}
    saved = {name: getattr(server, name) for name in names}
    dead, session.DEAD_SECONDS = session.DEAD_SECONDS, 2 * SHORT
    tune, log, defects = server.tune, logging.getLogger("voipfleet.link"), _Defects()
    propagate, log.propagate = log.propagate, False
    log.addHandler(defects)
    try:
        for name, value in names.items():
            setattr(server, name, value)
        server.tune = lambda writer: None  # there is no socket
        asyncio.run(_talk(data))
    finally:
        for name, value in saved.items():
            setattr(server, name, value)
        server.tune, log.propagate, session.DEAD_SECONDS = tune, propagate, dead
        log.removeHandler(defects)
    assert not defects.found, defects.found[0]


def conversations() -> list[bytes]:
    """Inputs to begin with: nonsense in pieces, a sensor at each step, with a change and without, silence."""
    change = struct.pack("!HBB", 30, 1, 1) + b"x"
    return [b"", b"\0\3abc\1d\1", b"\1", b"z\1", b"\1" + change, b"\2", b"\2" + change, b"\3", b"\3" + change,
            b"\3" + struct.pack("!HBB", 0, 4, 4) + b"\xff" * 4,
            b"\2" + struct.pack("!HBB", 100, 0, 1) + b"\1"]  # fmt: skip
