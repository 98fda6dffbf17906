"""Blocks from a buffer to a receiver: each once, in order, over any number of broken connections."""

import asyncio
import random
from dataclasses import dataclass

import msgspec
import pytest
from support.lines import client_line, server_line
from voipfleet.link import types
from voipfleet.records.messages import Status, Welcome
from voipfleet.relay.messages import MAX_PART, Origin, Part
from voipfleet.relay.receive import Receiver
from voipfleet.relay.send import Totals, send_blocks

OWN, SOURCE = b"o" * 16, b"s" * 16
ORIGIN = Origin("branch1", [SOURCE])
STATUS = Status("n", 1, "v", "m", "s", 0, {})


class Wire:
    """One end of a connection in memory; with `rng` it breaks somewhere."""

    def __init__(self, rng=None):
        self.inbox: asyncio.Queue = asyncio.Queue(8)
        self.other: Wire = self
        self.left = rng.randint(1, 60) if rng else 1 << 30

    async def send(self, kind, body=b""):
        self.left -= 1
        if self.left < 0:
            await self.other.inbox.put(None)
            raise ConnectionError("broken")
        await self.other.inbox.put((kind, body))

    def __aiter__(self):
        return self

    async def __anext__(self):
        found = await self.inbox.get()
        if found is None:
            raise StopAsyncIteration
        return found


@dataclass
class Block:
    number: int
    origin: Origin
    packets: int
    body: bytes


@dataclass
class Gap:
    from_block: int
    to_block: int
    packets: int
    bytes: int
    reason: str


class Buffer:
    def __init__(self, sizes, gaps=()):
        self.epoch = b"e" * 16
        self.blocks = [Block(n, ORIGIN, n, bytes([n % 256]) * size) for n, size in enumerate(sizes, 1)]
        for gap in gaps:
            self.blocks = [block for block in self.blocks if not gap.from_block <= block.number <= gap.to_block]
        self._gaps, self.acknowledged = list(gaps), 0

    @property
    def through(self):
        return self.acknowledged

    @property
    def last(self):
        return self.blocks[-1].number

    async def next(self, after):
        found = next((block for block in self.blocks if block.number > max(after, self.acknowledged)), None)
        if found is None:
            await asyncio.Event().wait()
        return found

    def acknowledge(self, through):
        self.acknowledged = max(self.acknowledged, through)

    def gaps(self):
        return self._gaps

    def gaps_told(self, through):
        self._gaps = [gap for gap in self._gaps if gap.to_block > through]


async def connection(buffer, receiver, rng=None):
    near, far = Wire(rng), Wire()
    near.other, far.other = far, near
    stream = receiver.expect(SOURCE, buffer.epoch, buffer.acknowledged + 1)
    welcome = Welcome(b"", b"", "hq", stream.epoch, stream.safe)
    serving = asyncio.create_task(receiver.serve(far, SOURCE, "branch1", server_line(far, SOURCE, "branch1")))
    flow = send_blocks(near, welcome, buffer, status=lambda: STATUS, heard=lambda number: [], totals=Totals(),
                       line=client_line(near))  # fmt: skip
    sending = asyncio.create_task(flow)
    last = buffer.blocks[-1].number
    while not sending.done() and not serving.done() and buffer.acknowledged < last:
        await asyncio.sleep(0.01)
    for task in (sending, serving):
        task.cancel()
    await asyncio.gather(sending, serving, return_exceptions=True)


class Sink:
    """Takes what comes; a block is in safe hands a moment later."""

    def __init__(self, taken):
        self.taken, self.missing = taken, 0

    async def put(self, source, origin, packets, body):
        await asyncio.sleep(0)
        self.taken.append((packets, body))
        safe = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.002, lambda: safe.done() or safe.set_result(None))
        return safe

    async def lost(self, source, name, packets):
        self.missing += packets

    async def heard(self, source, heard): ...


def receiver_of(taken):
    return Receiver(OWN, Sink(taken))


@pytest.mark.parametrize("seed", range(6))
def test_each_block_once_and_in_order(seed):
    rng, taken = random.Random(seed), []
    buffer = Buffer([rng.choice([0, 1, MAX_PART, 3 * MAX_PART + 5, 400]) for _ in range(60)])
    receiver = receiver_of(taken)

    async def run():
        for _ in range(400):
            await connection(buffer, receiver, rng)
            if buffer.acknowledged == 60:
                return

    asyncio.run(asyncio.wait_for(run(), 30))
    assert taken == [(block.packets, block.body) for block in buffer.blocks]
    stream = receiver.stream(SOURCE)
    assert (stream.blocks, stream.packets, stream.lost_packets) == (60, sum(range(61)), 0)


def test_what_was_dropped_is_told_and_counted_once(caplog):
    taken = []
    buffer = Buffer([10] * 20, [Gap(3, 5, 12, 30, "the buffer was full"), Gap(9, 9, 9, 10, "the buffer was full")])
    receiver = receiver_of(taken)

    async def run():
        for _ in range(3):
            await connection(buffer, receiver)

    asyncio.run(asyncio.wait_for(run(), 20))
    stream = receiver.stream(SOURCE)
    assert (stream.through, stream.lost_packets, stream.blocks, len(taken)) == (20, 21, 16, 16)
    assert caplog.text.count("lost 12 packets before they could be sent (the buffer was full)") == 1


def test_a_receiver_that_began_anew_takes_what_comes_next():
    taken, buffer = [], Buffer([10] * 20)
    buffer.acknowledge(12)
    asyncio.run(asyncio.wait_for(connection(buffer, receiver_of(taken)), 20))
    assert [packets for packets, _ in taken] == list(range(13, 21))


def test_packets_that_come_back_are_refused(caplog):
    taken, receiver = [], None
    buffer = Buffer([10] * 5)
    for block in buffer.blocks:
        block.origin = Origin("branch1", [OWN, SOURCE])
    receiver = receiver_of(taken)
    asyncio.run(asyncio.wait_for(connection(buffer, receiver), 20))
    assert taken == [] and receiver.stream(SOURCE).looped == 5
    assert caplog.text.count("sends packets that came from here") == 1


@pytest.mark.parametrize(("hops", "taken_as"), [([SOURCE], 1), ([b"x" * 16, SOURCE], 1), ([b"x" * 16], 0)])
def test_packets_must_have_passed_the_host_that_sends_them(hops, taken_as, caplog):
    taken, buffer = [], Buffer([10])
    buffer.blocks[0].origin = Origin("branch1", hops)
    asyncio.run(asyncio.wait_for(connection(buffer, receiver_of(taken)), 20))
    assert len(taken) == taken_as
    assert ("have not passed the host that sends them" in caplog.text) == (not taken_as)


@pytest.mark.parametrize("parts", [[(1, 1, 2)], [(1, 0, 2), (1, 0, 3), (1, 1, 2)], [(1, 0, 2), (2, 1, 2)],
                                   [(1, 0, 1), (3, 0, 1)], [(1, 3, 2)]])  # fmt: skip
def test_parts_that_are_not_the_next_ones_end_the_connection(parts, caplog):
    taken = []

    async def run():
        near, far = Wire(), Wire()
        near.other, far.other = far, near
        for number, part, of in parts:
            body = msgspec.msgpack.encode(Part(b"e" * 16, number, part, of, 1, ORIGIN, b"x"))
            await near.send(types.PACKETS, body)
        await receiver_of(taken).serve(far, SOURCE, "branch1", server_line(far, SOURCE, "branch1"))

    asyncio.run(asyncio.wait_for(run(), 5))
    assert "malformed packets" in caplog.text


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"\x93\x01\x02\x03", msgspec.msgpack.encode([b"short", 1, 0, 1, 1, [], b""])]
)
def test_what_is_no_message_ends_the_connection(body, caplog):
    async def run():
        near, far = Wire(), Wire()
        near.other, far.other = far, near
        await near.send(types.PACKETS, body)
        await receiver_of([]).serve(far, SOURCE, "branch1", server_line(far, SOURCE, "branch1"))

    asyncio.run(asyncio.wait_for(run(), 5))
    assert "malformed packets" in caplog.text
