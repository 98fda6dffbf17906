"""Handshakes and frames that are almost right, from very many addresses, so that no limit of one address stops them."""

import asyncio
import contextlib
import os
import random

import msgspec
from faults.harness import PORT
from faults.strangers import an_identity
from voipfleet.link import frames, handshake, types

KINDS = ("first", "first", "third", "third", "third", "frame", "body")
_random = random.Random(1)


def mutated(data: bytes) -> bytes:
    """With bits flipped, bytes cut, put in, or said twice."""
    changed = bytearray(data)
    for _ in range(_random.choice((1, 1, 2, 8))):
        at = _random.randrange(len(changed) or 1)
        what = _random.randrange(4)
        if what == 0 and changed:
            changed[at % len(changed)] ^= 1 << _random.randrange(8)
        elif what == 1:
            del changed[at : at + _random.randrange(1, 40)]
        elif what == 2:
            changed[at:at] = _random.randbytes(_random.randrange(1, 40))
        else:
            changed[at:at] = changed[at : at + 16]
    return bytes(changed)


async def attack(fleet, count: int, at_once: int = 48) -> dict[str, int]:
    """`count` connections; how many of each kind."""
    made = dict.fromkeys(KINDS, 0)
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            kind = _random.choice(KINDS)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
                await _one(fleet, kind)
            made[kind] += 1

    await asyncio.gather(*(work() for _ in range(at_once)))
    return made


async def _one(fleet, kind: str) -> None:
    source = f"127.{_random.randrange(1, 255)}.{_random.randrange(256)}.{_random.randrange(1, 255)}"
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT, local_addr=(source, 0))
    try:
        client = handshake.Client(an_identity(), fleet.psk, types.ROLE_RECORDS, (fleet.public,))
        first = client.first()
        writer.write(mutated(first) if kind == "first" else first)
        if kind == "first":
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 4)
            return
        client.second(await reader.readexactly(handshake.M2))
        third = client.third(handshake.Hello(os.urandom(16), "mutant", bytes(16), 1), 0)
        sealer = frames.Sealer(client.keys.send, client.keys.hash)
        if kind == "third":
            writer.write(mutated(third + sealer.header))
            writer.write_eof()
        else:
            writer.write(third + sealer.header)
            await reader.readexactly(frames.HEADER)
            for _ in range(5):
                body = _random.randbytes(_random.randrange(40)) if _random.random() < 0.3 else mutated(_A_BATCH)
                frame = sealer.seal(_random.choice((2, 3, 4, 16, 17, 18, 32, 33, 99)), body)
                writer.write(mutated(frame) if kind == "frame" else frame)
            writer.write_eof()
        await asyncio.wait_for(reader.read(), 4)
    finally:
        writer.transport.abort()


_A_BATCH = msgspec.msgpack.encode((bytes(16), [(1, bytes(16), 1, 99, b"x" * 40)]))
