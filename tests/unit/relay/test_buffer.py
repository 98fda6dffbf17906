"""What waits for its receiver: bounded, in order, over faults and restarts, and every block accounted for."""

import asyncio
import signal
import subprocess
import sys

import pytest
from support.buffers import BIG, ORIGIN, body, law, take
from voipfleet.relay import buffer as module
from voipfleet.relay import segments
from voipfleet.relay.books import FULL, Amount
from voipfleet.relay.buffer import PacketBuffer


def test_blocks_come_back_as_they_were_put_from_memory_and_from_disk(tmp_path):
    async def main():
        buffer = await PacketBuffer.open(tmp_path, memory=BIG, disk=BIG)
        numbers = [buffer.put(ORIGIN, n, body(n, 100)) for n in range(1, 6)]
        assert numbers == [1, 2, 3, 4, 5]
        assert await asyncio.wait_for(buffer.wait_safe(4), 5) == 5  # within a second, on disk
        assert buffer.state().disk == Amount(5, 15, 500)
        numbers += [buffer.put(ORIGIN, n, body(n, 100)) for n in range(6, 9)]
        blocks = await take(buffer, 8)
        assert [(b.number, b.origin, b.packets, b.body) for b in blocks] == [
            (n, ORIGIN, n, body(n, 100)) for n in range(1, 9)
        ]
        law(buffer)
        buffer.acknowledge(7)
        law(buffer)
        assert (buffer.through, buffer.safe_through, buffer.last) == (7, 7, 8)
        buffer.acknowledge(3)
        assert buffer.through == 7
        buffer.acknowledge(99)
        assert buffer.through == 8
        assert buffer.state().acknowledged == buffer.state().put
        await buffer.close()
        assert not list(tmp_path.glob("*.packets"))

    asyncio.run(main())


def test_blocks_that_are_acknowledged_soon_never_touch_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "append", lambda *_: pytest.fail("written"))

    async def main():
        buffer = await PacketBuffer.open(tmp_path, memory=BIG, disk=BIG)
        for number in range(1, 20):
            buffer.put(ORIGIN, 1, b"x")
            await asyncio.sleep(0.05)
            buffer.acknowledge(number)
        await buffer.close()

    asyncio.run(main())


def test_next_waits_for_a_block_and_safe_for_the_disk(tmp_path):
    async def main():
        buffer = await PacketBuffer.open(tmp_path, memory=BIG, disk=BIG)
        getting, safe = asyncio.create_task(buffer.next(0)), asyncio.create_task(buffer.wait_safe(0))
        await asyncio.sleep(0.01)
        assert not getting.done()
        buffer.put(ORIGIN, 1, b"x")
        assert (await asyncio.wait_for(getting, 1)).number == 1
        assert not safe.done()
        buffer.acknowledge(1)
        assert await asyncio.wait_for(safe, 1) == 1
        await buffer.close()

    asyncio.run(main())


def test_memory_and_disk_stay_within_their_bounds_and_the_oldest_go_first(tmp_path, monkeypatch):
    """B12"""
    append, sizes = segments.append, []

    def watched(*arguments):
        append(*arguments)
        sizes.append(sum(path.stat().st_size for path in tmp_path.glob("*.packets")))

    monkeypatch.setattr(segments, "append", watched)

    async def main():
        memory, size = 200_000, 400_000
        buffer = await PacketBuffer.open(tmp_path, memory=memory, disk=size)
        for n in range(1, 2001):
            buffer.put(ORIGIN, 2, body(n, 1000))
            law(buffer)
            state = buffer.state()
            assert state.memory.bytes + module.OVERHEAD * state.memory.blocks <= memory
            if not n % 20:
                await asyncio.sleep(0.002)
        await asyncio.sleep(0.3)
        assert max(sizes) <= size
        state, gaps = buffer.state(), buffer.gaps()
        assert state.disk.bytes > size // 2 and state.dropped.blocks > 1000
        assert sum((gap.amount for gap in gaps), Amount()) == state.dropped
        assert all(gap.packets == 2 * gap.amount.blocks and gap.reason == FULL for gap in gaps)
        assert len(gaps) < state.dropped.blocks // 20 and gaps[0].from_block == 1  # few, however slow the disk is
        blocks = await take(buffer, state.put.blocks - state.dropped.blocks)
        gone = {n for gap in gaps for n in range(gap.from_block, gap.to_block + 1)}
        assert [b.number for b in blocks] == [n for n in range(1, 2001) if n not in gone]
        assert all(b.body == body(b.number, 1000) for b in blocks)
        buffer.acknowledge(2000)
        buffer.gaps_told(2000)
        assert not buffer.gaps()
        law(buffer)
        await buffer.close()

    asyncio.run(main())


def test_a_file_of_which_a_part_was_acknowledged_makes_room(tmp_path, monkeypatch):
    """Only the rest of it is dropped."""
    monkeypatch.setattr(module, "AFTER", 0.0)
    monkeypatch.setattr(module, "TICK", 0.005)

    async def main():
        buffer = await PacketBuffer.open(tmp_path, memory=20_000, disk=40_000)
        for n in range(1, 31):
            buffer.put(ORIGIN, 1, body(n, 1000))
            while buffer.safe_through < n:
                await asyncio.sleep(0.002)
            if n == 4:
                buffer.acknowledge(2)
        for n in range(31, 61):
            buffer.put(ORIGIN, 1, body(n, 1000))
            await asyncio.sleep(0.01)
            law(buffer)
        assert buffer.gaps()[0].from_block == 3
        assert buffer.state().acknowledged.blocks == 2
        await buffer.close()

    asyncio.run(main())


def test_without_room_on_disk_memory_is_what_there_is(tmp_path):
    async def main():
        buffer = await PacketBuffer.open(tmp_path, memory=100_000, disk=0)
        for n in range(1, 201):
            buffer.put(ORIGIN, 1, body(n, 1000))
        law(buffer)
        [gap] = buffer.gaps()
        assert (gap.from_block, buffer.safe_through) == (1, gap.to_block)
        assert 60 <= buffer.state().memory.blocks <= 72
        await buffer.close()
        buffer = await PacketBuffer.open(tmp_path, memory=100_000, disk=0)
        law(buffer)
        assert buffer.state().dropped == Amount(200, 200, 200_000)  # what was in memory is in a gap as well
        await buffer.close()

    asyncio.run(main())


def test_what_waits_at_the_stop_waits_at_the_start(tmp_path):
    """B03, B06"""

    async def main():
        buffer = await PacketBuffer.open(tmp_path, memory=BIG, disk=BIG)
        for n in range(1, 50):
            buffer.put(ORIGIN, n, body(n, 4 * n))
        await take(buffer, 10)
        buffer.acknowledge(5)
        epoch, put = buffer.epoch, buffer.state().put
        await buffer.close()
        buffer = await PacketBuffer.open(tmp_path, memory=BIG, disk=BIG)
        law(buffer)
        assert (buffer.epoch, buffer.through, buffer.last, buffer.state().put) == (epoch, 5, 49, put)
        assert buffer.put(ORIGIN, 1, body(50, 8)) == 50
        assert [(b.number, b.body) for b in await take(buffer, 45)] == [
            *((n, body(n, 4 * n)) for n in range(6, 50)),
            (50, body(50, 8)),
        ]
        assert not buffer.gaps()
        buffer.acknowledge(50)
        await buffer.close()

    asyncio.run(main())


CHILD = """
import asyncio, sys
from pathlib import Path
from voipfleet.relay.buffer import PacketBuffer
from voipfleet.relay.messages import Origin
async def main():
    buffer = await PacketBuffer.open(Path(sys.argv[1]), memory=1 << 26, disk=1 << 28)
    async def safe():
        through = 0
        while True:
            through = await buffer.wait_safe(through)
            print(through, flush=True)
    task = asyncio.create_task(safe())
    while True:
        number = buffer.last + 1
        buffer.put(Origin("a", [b"s" * 16]), number, number.to_bytes(4, "big") * 500)
        await asyncio.sleep(0.0005)
asyncio.run(main())
"""


def test_what_was_called_safe_is_there_after_kill_9(tmp_path):
    """B04, B07"""
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", CHILD, tmp_path], stdout=subprocess.PIPE, text=True) as child:
            safe = 0
            while safe < 700:
                safe = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            safe = max([safe, *map(int, child.stdout.read().split())])

        async def main(safe=safe):
            buffer = await PacketBuffer.open(tmp_path, memory=BIG, disk=BIG)
            law(buffer)
            assert buffer.last >= safe
            blocks = await take(buffer, safe)
            assert [b.number for b in blocks] == list(range(1, safe + 1))
            assert all(b.body == b.number.to_bytes(4, "big") * 500 and b.packets == b.number for b in blocks)
            buffer.acknowledge(buffer.last)
            buffer.gaps_told(buffer.last)
            await buffer.close()

        asyncio.run(main())
