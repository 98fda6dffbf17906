"""What waits for its receiver: bounded, in order, over faults and restarts, and every block accounted for."""

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from voipfleet.relay import buffer as module
from voipfleet.relay import disk, segments
from voipfleet.relay.books import FULL, Amount
from voipfleet.relay.buffer import PacketBuffer
from voipfleet.relay.messages import Origin

ORIGIN = Origin("branch1", [b"s" * 16], b"e" * 16, 7, -3)
BIG = 1 << 30


def body(number: int, size: int) -> bytes:
    return number.to_bytes(4, "big") * (size // 4)


def law(buffer: PacketBuffer) -> None:
    state = buffer.state()
    assert state.put == state.acknowledged + state.memory + state.disk + state.dropped
    assert min(min(part.blocks, part.packets, part.bytes) for part in (state.memory, state.disk, state.dropped)) >= 0
    assert not (state.memory.blocks or state.disk.blocks) or state.oldest


async def take(buffer: PacketBuffer, count: int, after: int = 0) -> list:
    out = []
    while len(out) < count:
        out.append(await asyncio.wait_for(buffer.next(after), 5))
        after = out[-1].number
    return out


async def killed(buffer: PacketBuffer) -> None:
    """As kill -9 leaves it: nothing more is written."""
    buffer._task.cancel()
    await asyncio.gather(buffer._task, return_exceptions=True)
    buffer._disk.close()


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


def test_memory_and_disk_stay_within_their_bounds_and_the_oldest_go_first(tmp_path):
    async def main():
        memory, size = 200_000, 400_000
        buffer = await PacketBuffer.open(tmp_path, memory=memory, disk=size)
        for n in range(1, 2001):
            buffer.put(ORIGIN, 2, body(n, 1000))
            law(buffer)
            state = buffer.state()
            assert state.memory.bytes + module.OVERHEAD * state.memory.blocks <= memory
            assert sum(path.stat().st_size for path in tmp_path.glob("*.packets")) <= size
            if not n % 20:
                await asyncio.sleep(0.002)
        await asyncio.sleep(0.3)
        state, gaps = buffer.state(), buffer.gaps()
        assert state.disk.bytes > size // 2 and state.dropped.blocks > 1000
        assert sum((gap.amount for gap in gaps), Amount()) == state.dropped
        assert all(gap.packets == 2 * gap.amount.blocks and gap.reason == FULL for gap in gaps)
        assert len(gaps) < 5 and gaps[0].from_block == 1  # and they are few, not one a block
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
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", CHILD, tmp_path], stdout=subprocess.PIPE, text=True) as child:
            safe = 0
            while safe < 1500:
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


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a file system of its own")
def test_a_full_disk_stops_nothing(tmp_path, monkeypatch):
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


# -- anything that may happen, in any order ----------------------------------------------------------------

steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 12), st.integers(1, 3000)),
        st.tuples(st.just("take"), st.integers(1, 12)),
        st.tuples(st.just("acknowledge"), st.integers(0, 20)),
        st.tuples(st.just("tell")),
        st.tuples(st.just("write")),
        st.tuples(st.just("save")),
        st.tuples(st.just("fault"), st.booleans()),
        st.tuples(st.just("kill")),
        st.tuples(st.just("close")),
        st.tuples(st.just("damage"), st.integers(0, 1 << 20), st.booleans()),
    ),
    max_size=40,
)


class Run:
    """A buffer, and what must be true of it. Blocks are written when a step says so."""

    def __init__(self, folder: Path, fault: dict):
        self.folder, self.fault = folder, fault
        self.put: dict[int, tuple[int, bytes]] = {}
        self.at = 0  # given out
        self.harmed = False

    async def open(self) -> None:
        self.buffer = await PacketBuffer.open(self.folder, memory=20_000, disk=60_000)
        self.epoch = self.buffer.epoch

    async def step(self, name: str, *arguments) -> None:
        await getattr(self, f"do_{name}")(*arguments)
        law(self.buffer)
        for gap in self.buffer._books.gaps:
            rows = [self.put[n] for n in range(gap.from_block, gap.to_block + 1) if n in self.put]
            mine = sum(packets for packets, _ in rows), sum(len(data) for _, data in rows)
            exact = gap.reason == FULL
            assert mine == (gap.packets, gap.bytes) if exact else mine >= (gap.packets, gap.bytes), gap

    async def do_put(self, count: int, size: int) -> None:
        for _ in range(count):
            data = body(self.buffer.last + 1, size)
            self.put[self.buffer.put(ORIGIN, size % 7, data)] = size % 7, data

    async def do_take(self, count: int) -> None:
        for _ in range(count):
            try:
                block = await asyncio.wait_for(self.buffer.next(self.at), 0.02)
            except TimeoutError:
                break
            assert (block.packets, block.body) == self.put[block.number] and block.origin == ORIGIN
            between = range(max(self.at, self.buffer.through) + 1, block.number)
            lost = {n for gap in self.buffer._books.gaps for n in range(gap.from_block, gap.to_block + 1)}
            assert set(between) <= lost
            self.at = block.number

    async def do_acknowledge(self, back: int) -> None:
        self.buffer.acknowledge(max(0, self.at - back))

    async def do_tell(self) -> None:
        gaps = self.buffer.gaps()
        assert gaps == sorted(gaps, key=lambda gap: gap.from_block)
        if gaps and gaps[0].to_block <= self.at:
            self.buffer.gaps_told(gaps[0].to_block)

    async def do_write(self) -> None:
        if self.buffer._memory:
            async with self.buffer._lock:
                await self.buffer._flush()

    async def do_save(self) -> None:
        await self.buffer._save()

    async def do_fault(self, now: bool) -> None:
        self.fault["now"] = now

    async def do_kill(self) -> None:
        safe, had = self.buffer.safe_through, self.buffer.state().disk
        waiting = set(self.put) if had.blocks else set()
        gone = {n for gap in self.buffer._books.gaps for n in range(gap.from_block, gap.to_block + 1)}
        acknowledged = self.buffer.through
        await killed(self.buffer)
        await self._again(had.blocks > 0)
        if had.blocks and not self.harmed:
            assert self.buffer.last >= safe
            there = {n for n in waiting if acknowledged < n <= safe} - gone
            files = {n for one in self.buffer._disk.files for n in range(one.first, one.last + 1)}
            assert there <= files

    async def do_close(self) -> None:
        state, faulty = self.buffer.state(), self.fault["now"]
        waits = state.memory + state.disk
        await self.buffer.close()
        room = waits.bytes + 300 * waits.blocks < 30_000
        await self._again(state.disk.blocks > 0 or (waits.blocks > 0 and not faulty and room))
        if not faulty and room and not self.harmed:
            now = self.buffer.state()
            assert now.disk == waits
            assert not waits.blocks or now.put == state.put

    async def do_damage(self, place: int, running: bool) -> None:
        """A byte of a file changes, or a file ends early."""
        files = sorted(path for path in self.folder.iterdir() if path.stat().st_size)
        if not files:
            return
        self.harmed = True
        if not running:
            await killed(self.buffer)
        path = files[place % len(files)]
        data = bytearray(path.read_bytes())
        data[place % len(data)] ^= 1 << place % 8
        path.write_bytes(data if place % 3 else data[: place % len(data)])
        if not running:
            await self._again(False)
            self.harmed = bool(self.buffer.state().damaged or self.buffer.state().torn) or self.harmed

    async def _again(self, same: bool) -> None:
        epoch = self.epoch
        await self.open()
        assert self.epoch == epoch or not same or self.harmed
        if self.epoch != epoch:
            self.put.clear()
            self.at = 0
        else:  # what did not get to the disk is not
            self.put = {n: each for n, each in self.put.items() if n <= self.buffer.last}
            self.at = self.buffer.through


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
@example([("put", 12, 3000), ("write",), ("put", 12, 3000), ("write",), ("put", 12, 3000), ("write",), ("kill",)])
@example([("put", 9, 900), ("take", 9), ("write",), ("kill",), ("put", 3, 10), ("take", 9), ("close",), ("take", 9)])
def test_every_block_is_accounted_for_whatever_happens(tmp_path_factory, steps):
    fault = {"now": False}
    append = segments.append

    def failing(path, at, epoch, blocks):
        if fault["now"]:
            with contextlib.suppress(OSError):
                append(path, at, epoch, blocks[: len(blocks) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        append(path, at, epoch, blocks)

    async def main():
        run = Run(tmp_path_factory.mktemp("buffer"), fault)
        await run.open()
        for step in steps:
            await run.step(*step)
        fault["now"] = False
        await run.step("take", 1000)
        await run.step("close")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "append", failing)
        patch.setattr(module, "TICK", 3600)
        patch.setattr(module.PacketBuffer, "_due", lambda self: False)
        patch.setattr(disk, "RETRY", 0.0)
        patch.setattr(disk, "FULL_FOR", 0.0)
        asyncio.run(main())
