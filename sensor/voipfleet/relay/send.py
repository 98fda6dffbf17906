"""The sending end of packets: blocks out of the buffer, in parts, and what the receiver says of them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from voipfleet.asking.switchboard import ClientLine
from voipfleet.link import types
from voipfleet.records.messages import Status, Welcome
from voipfleet.relay import codec
from voipfleet.relay.buffer import PacketBuffer
from voipfleet.relay.messages import MAX_PART, Heard, Lost, Part, Taken
from voipfleet.uplink import decoded, taken

WINDOW = 64 << 20  # bytes that may be on their way without an acknowledgement
STATUS_EVERY, HEARD_EVERY = 5.0, 1.0  # s

_decode_taken = msgspec.msgpack.Decoder(Taken).decode


@dataclass(slots=True)
class Totals:
    """What went over a destination's links, since this instance started. `raw`: bytes had nothing been compressed."""

    packets: int = 0
    raw: int = 0
    sent: int = 0


async def send_blocks(session, welcome: Welcome, buffer: PacketBuffer, *, status: Callable[[], Status],
                      heard: Callable[[int], list[Heard]], totals: Totals, line: ClientLine) -> None:  # fmt: skip
    """Everything that is in the buffer and comes into it, until the connection ends (then it raises what ended it).

    `heard(number)`: what may be said about origins once all blocks through there have been sent. `line`: what is asked
    over this session, which gives way to packets.
    """
    flow = _Flow(session, buffer, totals, line)
    line.busy = flow.behind
    if welcome.epoch == buffer.epoch:
        flow.taken(welcome.last_seq)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(flow.send())
        tasks.create_task(flow.receive())
        tasks.create_task(flow.tell(heard))
        tasks.create_task(_tell(session, status))
        tasks.create_task(line.tell())


class _Flow:
    """What is on its way, and how much more may be."""

    def __init__(self, session, buffer: PacketBuffer, totals: Totals, line: ClientLine):
        self._session, self._buffer, self._totals, self._line = session, buffer, totals, line
        self._sent = self._complete = 0
        self._on_the_way: dict[int, int] = {}  # number -> bytes
        self._size = 0  # of all of them
        self._room = asyncio.Condition()

    async def send(self) -> None:
        buffer, told, totals = self._buffer, 0, self._totals
        while True:
            block = await buffer.next(self._sent)
            for gap in buffer.gaps():
                if told < gap.to_block < block.number:
                    told = gap.to_block
                    lost = Lost(buffer.epoch, gap.from_block, gap.to_block, gap.packets, gap.bytes, gap.reason)
                    await self._session.send(types.PACKETS_GAP, msgspec.msgpack.encode(lost))
            async with self._room:
                await self._room.wait_for(lambda: self._size < WINDOW)
            self._on_the_way[block.number] = len(block.body)
            self._size += len(block.body)
            self._sent = block.number
            parts = max(1, -(-len(block.body) // MAX_PART))
            for part in range(parts):
                body = block.body[part * MAX_PART : (part + 1) * MAX_PART]
                message = Part(buffer.epoch, block.number, part, parts, block.packets, block.origin, body)
                await self._session.send(types.PACKETS, msgspec.msgpack.encode(message))
            self._complete = block.number
            totals.packets += block.packets
            totals.raw += codec.raw_size(block.body)
            totals.sent += len(block.body)

    async def tell(self, heard: Callable[[int], list[Heard]]) -> None:
        while True:
            for one in heard(max(self._complete, self._buffer.through)):
                await self._session.send(types.PACKETS_HEARD, msgspec.msgpack.encode(one))
            await asyncio.sleep(HEARD_EVERY)

    async def receive(self) -> None:
        async for kind, body in self._session:
            if kind == types.PACKETS_TAKEN:
                said = decoded(_decode_taken, body, "acknowledgement")
                if said.epoch == self._buffer.epoch:
                    self.taken(min(said.through, self._sent))
                    async with self._room:
                        self._room.notify_all()
            else:
                await taken(self._line, kind, body)
        raise ConnectionError("the receiver closed the connection")

    def behind(self) -> bool:
        """Whether more than the block that is being sent waits."""
        return self._buffer.last > max(self._sent, self._buffer.through) + 1

    def taken(self, through: int) -> None:
        self._sent = max(self._sent, through)
        while self._on_the_way and (first := next(iter(self._on_the_way))) <= through:
            self._size -= self._on_the_way.pop(first)
        self._buffer.acknowledge(through)
        self._buffer.gaps_told(through)


async def _tell(session, status: Callable[[], Status]) -> None:
    while True:
        await session.send(types.STATUS, msgspec.msgpack.encode(status()))
        await asyncio.sleep(STATUS_EVERY)
