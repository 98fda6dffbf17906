"""The sending end of packets: blocks out of the buffer, in parts, and what the receiver says of them."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from voipfleet.link import types
from voipfleet.records.messages import Status, Welcome
from voipfleet.relay.messages import MAX_PART, Lost, Origin, Part, Taken

WINDOW = 32 << 20  # bytes that may be on their way without an acknowledgement
STATUS_EVERY = 5.0  # s

_decode_taken = msgspec.msgpack.Decoder(Taken).decode


class Block(Protocol):
    """What the buffer gives: its number, whose packets it holds and how many, and the bytes as they were put in."""

    number: int
    origin: Origin
    packets: int
    body: bytes


class Buffer(Protocol):
    """What waits for the link (relay/buffer.py)."""

    epoch: bytes

    async def next(self, after: int) -> Block: ...

    def acknowledge(self, through: int) -> None: ...

    def gaps(self) -> list: ...

    def gaps_told(self, through: int) -> None: ...


async def send_blocks(session, welcome: Welcome, buffer: Buffer, status: Callable[[], Status]) -> None:
    """Everything that is in the buffer and comes into it, until the connection ends (then it raises what ended it)."""
    flow = _Flow(session, buffer)
    if welcome.epoch == buffer.epoch:
        flow.taken(welcome.last_seq)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(flow.send())
        tasks.create_task(flow.receive())
        tasks.create_task(_tell(session, status))


class _Flow:
    """What is on its way, and how much more may be."""

    def __init__(self, session, buffer: Buffer):
        self._session, self._buffer = session, buffer
        self._sent = 0
        self._on_the_way: dict[int, int] = {}  # number -> bytes
        self._room = asyncio.Condition()

    async def send(self) -> None:
        buffer, told = self._buffer, 0
        while True:
            block = await buffer.next(self._sent)
            for gap in buffer.gaps():
                if told < gap.to_block < block.number:
                    told = gap.to_block
                    lost = Lost(buffer.epoch, gap.from_block, gap.to_block, gap.packets, gap.bytes, gap.reason)
                    await self._session.send(types.PACKETS_GAP, msgspec.msgpack.encode(lost))
            async with self._room:
                await self._room.wait_for(lambda: sum(self._on_the_way.values()) < WINDOW)
            self._on_the_way[block.number] = len(block.body)
            self._sent = block.number
            parts = max(1, -(-len(block.body) // MAX_PART))
            for part in range(parts):
                body = block.body[part * MAX_PART : (part + 1) * MAX_PART]
                message = Part(buffer.epoch, block.number, part, parts, block.packets, block.origin, body)
                await self._session.send(types.PACKETS, msgspec.msgpack.encode(message))

    async def receive(self) -> None:
        async for kind, body in self._session:
            if kind == types.PACKETS_TAKEN:
                taken = _decode_taken(body)
                if taken.epoch == self._buffer.epoch:
                    self.taken(min(taken.through, self._sent))
                    async with self._room:
                        self._room.notify_all()
        raise ConnectionError("the receiver closed the connection")

    def taken(self, through: int) -> None:
        self._sent = max(self._sent, through)
        self._on_the_way = {number: size for number, size in self._on_the_way.items() if number > through}
        self._buffer.acknowledge(through)
        self._buffer.gaps_told(through)


async def _tell(session, status: Callable[[], Status]) -> None:
    while True:
        await session.send(types.STATUS, msgspec.msgpack.encode(status()))
        await asyncio.sleep(STATUS_EVERY)
