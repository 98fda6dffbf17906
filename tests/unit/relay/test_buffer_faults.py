"""The packet buffer while its disk is slow, full or away: nothing stops, and the books stay right."""

import asyncio
import errno
import os
import subprocess
import threading

import pytest
from support.buffers import BIG, ORIGIN, body, law, take
from voipfleet.relay import disk, segments
from voipfleet.relay.books import NO_ROOM
from voipfleet.relay.buffer import PacketBuffer


def test_acknowledgements_that_come_while_blocks_are_written(tmp_path, monkeypatch):
    append, begun, go_on = segments.append, threading.Event(), threading.Event()

    def slow(*arguments):
        begun.set()
        assert go_on.wait(5)
        append(*arguments)

    async def main(through):
        begun.clear(), go_on.clear()
        monkeypatch.setattr(segments, "append", slow)
        buffer = await PacketBuffer.open(tmp_path / str(through), memory=BIG, disk=BIG)
        for n in range(1, 6):
            buffer.put(ORIGIN, n, body(n, 100))
        assert await asyncio.to_thread(begun.wait, 5)
        law(buffer)
        assert (await buffer.next(1)).body == body(2, 100)
        buffer.acknowledge(through)
        law(buffer)
        assert buffer.state().memory.blocks == 5 - through
        go_on.set()
        assert await asyncio.wait_for(buffer.wait_safe(4), 5) == 5
        law(buffer)
        assert buffer.state().disk.blocks == 5 - through
        assert [b.number for b in await take(buffer, 5 - through)] == list(range(through + 1, 6))
        async with asyncio.timeout(5):  # a file that nobody needs goes
            while through == 5 and list((tmp_path / "5").glob("*.packets")):
                await asyncio.sleep(0.02)
        await buffer.close()

    asyncio.run(main(3))
    asyncio.run(main(5))


def test_a_write_that_fails_while_memory_fills_up(tmp_path, monkeypatch):
    """The oldest come back, behind them is a gap."""
    append, begun, go_on = segments.append, threading.Event(), threading.Event()
    monkeypatch.setattr(disk, "RETRY", 0.05)
    monkeypatch.setattr(disk, "FULL_FOR", 0.0)

    def failing(*arguments):
        begun.set()
        assert go_on.wait(5)
        monkeypatch.setattr(segments, "append", append)
        raise OSError(errno.EIO, "Input/output error")

    async def main():
        monkeypatch.setattr(segments, "append", failing)
        buffer = await PacketBuffer.open(tmp_path, memory=20_000, disk=BIG)
        for n in range(1, 6):
            buffer.put(ORIGIN, 1, body(n, 1000))
        assert await asyncio.to_thread(begun.wait, 5)
        for n in range(6, 31):
            buffer.put(ORIGIN, 1, body(n, 1000))
        law(buffer)
        assert buffer.state().dropped.blocks
        go_on.set()
        assert await asyncio.wait_for(buffer.wait_safe(29), 5) == 30
        law(buffer)
        state, gaps = buffer.state(), buffer.gaps()
        assert (state.disk.blocks, state.fault) == (30 - state.dropped.blocks, "")
        gone = {n for gap in gaps for n in range(gap.from_block, gap.to_block + 1)}
        assert [b.number for b in await take(buffer, state.disk.blocks)] == sorted(set(range(1, 31)) - gone)
        await buffer.close()

    asyncio.run(main())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a file system of its own")
def test_a_full_disk_stops_nothing(tmp_path, monkeypatch):
    """B11"""
    monkeypatch.setattr(disk, "RETRY", 0.05)
    monkeypatch.setattr(disk, "FULL_FOR", 0.2)
    where = tmp_path / "full"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", where], check=True)

    async def main():
        buffer = await PacketBuffer.open(where / "buffer", memory=400_000, disk=BIG)
        (where / "other").write_bytes(bytes(100_000))
        for n in range(1, 1501):
            buffer.put(ORIGIN, 1, body(n, 1000))
            law(buffer)
            if not n % 20:
                await asyncio.sleep(0.01)
        state = buffer.state()
        assert state.faults and "No space left" in state.fault
        assert state.disk.blocks and state.dropped.blocks and state.memory.blocks
        (where / "other").unlink()
        waiting, gaps = state.put.blocks - state.dropped.blocks, buffer.gaps()
        blocks = await take(buffer, waiting - 100)
        assert all(b.body == body(b.number, 1000) for b in blocks)
        assert sum(gap.amount.blocks for gap in gaps) == 1500 - waiting
        buffer.acknowledge(blocks[-1].number)
        assert await asyncio.wait_for(buffer.wait_safe(1499), 5) == 1500
        assert not buffer.state().fault
        law(buffer)
        await buffer.close()
        buffer = await PacketBuffer.open(where / "buffer", memory=400_000, disk=BIG)
        law(buffer)
        assert [b.number for b in await take(buffer, 100, buffer.through)] == list(range(1401, 1501))
        await buffer.close()

    try:
        asyncio.run(main())
    finally:
        subprocess.run(["umount", where], check=True)


def test_a_folder_that_cannot_be_used_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("")

    async def main():
        buffer = await PacketBuffer.open(tmp_path / "file" / "buffer", memory=BIG, disk=BIG)
        buffer.put(ORIGIN, 1, b"x")
        await asyncio.sleep(1)
        assert "packetbuffer_file_path" in buffer.state().fault
        assert [b.body for b in await take(buffer, 1)] == [b"x"]
        law(buffer)
        await buffer.close()

    asyncio.run(main())


def test_room_is_given_back_oldest_first_and_the_disk_takes_no_more_for_a_while(tmp_path, monkeypatch):
    """B11."""
    monkeypatch.setattr(segments, "MAX_SEGMENT", 20_000)

    async def main():
        buffer = await PacketBuffer.open(tmp_path, memory=BIG, disk=BIG)
        for number in range(1, 31):
            buffer.put(ORIGIN, 2, body(number, 5_000))
        await asyncio.wait_for(buffer.wait_safe(29), 5)
        before = buffer.state()
        given = await buffer.give_back(45_000)
        state = buffer.state()
        law(buffer)
        assert 45_000 <= given < 66_000 and state.disk_bytes == before.disk_bytes - given
        assert sum(file.stat().st_size for file in tmp_path.glob("*.packets")) == state.disk_bytes
        (gap,) = buffer.gaps()
        assert (gap.from_block, gap.reason, gap.packets) == (1, NO_ROOM, state.dropped.packets)
        assert state.dropped.packets == 2 * gap.to_block
        buffer.put(ORIGIN, 1, body(99, 5_000))
        await asyncio.sleep(1.0)
        assert buffer.state().memory.blocks == 1
        assert await buffer.give_back(BIG) == state.disk_bytes and await buffer.give_back(BIG) == 0
        law(buffer)
        (block,) = await take(buffer, 1)
        assert block.number == 31
        buffer.acknowledge(31)
        await buffer.close()

    asyncio.run(main())
