"""A packet buffer through anything that may happen, in any order: every block is accounted for at every step."""

import asyncio
import contextlib
import errno
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.buffers import ORIGIN, body, killed, law
from voipfleet.relay import buffer as module
from voipfleet.relay import disk, recovery, segments
from voipfleet.relay.books import FULL
from voipfleet.relay.buffer import PacketBuffer

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
        self.given: set[tuple[bytes, int]] = set()  # numbers that the receiver may know
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
            assert (self.epoch, self.buffer.last + 1) not in self.given
            data = body(self.buffer.last + 1, size)
            self.put[self.buffer.put(ORIGIN, size % 7, data)] = size % 7, data

    async def do_take(self, count: int) -> None:
        for _ in range(count):
            at = max(self.at, self.buffer.through)
            if not (self.buffer._disk.after(at) or self.buffer._first(at)):
                break
            try:
                block = await asyncio.wait_for(self.buffer.next(at), 0.2)
            except TimeoutError:  # all that waited there turned out to be damaged
                assert self.harmed
                break
            assert (block.packets, block.body) == self.put[block.number] and block.origin == ORIGIN
            between = range(max(self.at, self.buffer.through) + 1, block.number)
            lost = {n for gap in self.buffer._books.gaps for n in range(gap.from_block, gap.to_block + 1)}
            assert set(between) <= lost
            self.at = block.number
            self.given.add((self.epoch, block.number))

    async def do_acknowledge(self, back: int) -> None:
        self.buffer.acknowledge(max(0, self.at - back))

    async def do_tell(self) -> None:
        gaps = self.buffer.gaps()
        assert gaps == sorted(gaps, key=lambda gap: gap.from_block)
        if gaps and gaps[0].to_block <= self.at:
            self.buffer.acknowledge(gaps[0].to_block)
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
        acknowledged, saved = self.buffer.through, not self.buffer._dirty
        await killed(self.buffer)
        await self._again(had.blocks > 0)
        if had.blocks and not self.harmed and saved:
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
        files = sorted(path for path in self.folder.iterdir() if path.suffix != ".new" and path.stat().st_size)
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
        patch.setattr(recovery, "UNKNOWN", 600)
        patch.setattr(module.PacketBuffer, "_due", lambda self: False)
        patch.setattr(disk, "RETRY", 0.0)
        patch.setattr(disk, "FULL_FOR", 0.0)
        asyncio.run(main())
