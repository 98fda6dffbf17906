"""Packed blocks that wait for their receiver: in memory, and on disk once they have waited for a moment.

All methods are for one event loop. A block that its receiver does not acknowledge within AFTER goes to disk, so a
process that is killed loses no more than the last second. With the disk at its bound, memory fills up; with both full
the oldest blocks make room, and a gap says which. Whatever the disk does, `put` neither waits nor fails.
"""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from pathlib import Path

import msgspec

from voipfleet.relay.books import DAMAGED, FULL, NO_ROOM, STOPPED, Amount, Books, BufferState, Gap, encode
from voipfleet.relay.disk import Disk
from voipfleet.relay.messages import Origin
from voipfleet.relay.recovery import Found
from voipfleet.relay.segments import DamagedError, Queued, Segment

log = logging.getLogger("voipfleet.packets")
TICK, AFTER = 0.2, 0.6  # s: how often blocks are looked at; their age when they go to disk
OVERHEAD = 400  # bytes of memory that a block needs beside its body


class PacketBuffer:
    """See the module. Made by `open`."""

    def __init__(self, folder: Path, memory: int, disk: int):
        self._limit = memory
        self._disk = Disk(folder, disk)
        self._found, self._books = Found(), Books()
        self._memory: OrderedDict[int, Queued] = OrderedDict()
        self._writing: OrderedDict[int, Queued] = OrderedDict()  # the first of memory, on their way to disk
        self._held = Amount()  # in both
        self._dirty = False  # the books on disk are not these
        self._damaged = 0
        self._told_full = self._closing = False
        self._arrived, self._moved, self._wake = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task | None = None

    @classmethod
    async def open(cls, folder: Path, *, memory: int, disk: int) -> "PacketBuffer":
        """With what an earlier process has left in `folder`. `memory` and `disk` are bounds in bytes; with `disk` 0
        only the books go there. A folder that cannot be used is a fault like others, not an error."""
        self = cls(folder, memory, disk)
        found = self._found = await self._disk.open()
        self._books = found.books
        if found.torn or found.damaged:
            log.warning("%s: %d files end within a block, %d are damaged; what was in them is counted as dropped",
                        folder, found.torn, found.damaged)  # fmt: skip
        await self._save()
        self._task = asyncio.create_task(self._run())
        return self

    # -- what capture and link ask ---------------------------------------------------------------------

    @property
    def epoch(self) -> bytes:
        return self._books.epoch

    def put(self, origin: Origin, packets: int, body: bytes) -> int:
        """Queue a block; its number. Not after `close`."""
        books = self._books
        books.last += 1
        block = Queued(books.last, origin, packets, body, time.time_ns(), books.put)
        books.put += block.amount
        self._memory[block.number] = block
        self._held += block.amount
        self._bound()
        if self._pressed():
            self._wake.set()
        self._arrived.set()
        return block.number

    async def next(self, after: int) -> Queued:
        """The first block behind `after` that is still wanted; waits for one."""
        while True:
            after = max(after, self._books.through)
            segment = self._disk.after(after)
            if segment is not None:
                block = await self._read(segment, max(after + 1, segment.first))
            else:
                block = self._first(after)
                if not block:
                    self._arrived.clear()
                    await self._arrived.wait()
            if block:
                self._books.sent = max(self._books.sent, block.number)
                return block

    def acknowledge(self, through: int) -> None:
        """Every block through there is in safe hands. Going back is not an acknowledgement."""
        books = self._books
        through = min(through, books.last)
        if through <= books.through:
            return
        self._dirty = self._dirty or self._kept()
        books.delivered(through)
        freed = self._disk.acknowledge(books.through, through)
        for store in (self._writing, self._memory):
            while store and next(iter(store)) <= through:
                amount = store.popitem(last=False)[1].amount
                self._held -= amount
                freed += amount
        books.acknowledged += freed
        books.through = through
        self._told_full = self._told_full and self._kept()
        self._moved.set()

    def gaps(self) -> list[Gap]:
        """What was dropped and not told yet, the oldest first."""
        self._dirty = self._dirty or any(not gap.shown for gap in self._books.gaps)
        return self._books.show()

    def gaps_told(self, through: int) -> None:
        """The receiver knows of all gaps that end at `through` or before, which is acknowledged."""
        kept = [gap for gap in self._books.gaps if gap.to_block > min(through, self._books.through)]
        self._dirty = self._dirty or len(kept) < len(self._books.gaps)
        self._books.gaps = kept

    async def give_back(self, wanted: int) -> int:
        """Drop the oldest files for `wanted` bytes of disk, which is closed for a while; how many were given back."""
        given = 0
        async with self._lock:
            while given < wanted and self._disk.files:
                given += self._disk.files[0].size
                self._give_up(self._disk.files[0], 0, NO_ROOM)
            self._disk.close_for_now()
            if given:
                log.warning("the disk runs out of room: packets that waited on it are dropped, %d MB", given >> 20)
                await self._save()
        return given

    def state(self) -> BufferState:
        books, oldest = self._books, 0
        if segment := self._disk.after(books.through):
            oldest = segment.times[max(0, books.through + 1 - segment.first)]
        elif block := self._first(books.through):
            oldest = block.at
        return BufferState(
            books.put, books.acknowledged, self._held, self._disk.amount, books.dropped, self._disk.used, oldest,
            self._disk.faults, self._disk.fault, self._found.torn, self._found.damaged + self._damaged)  # fmt: skip

    async def close(self) -> None:
        """Everything that was not acknowledged goes to disk, as far as its bound allows."""
        self._closing = True
        self._wake.set()
        if self._task:
            await self._task
        async with self._lock:
            while self._memory and await self._flush():
                pass
        if self._memory:
            log.warning("%d blocks of packets are lost at the stop, since the disk took no more", len(self._memory))
            for number, block in self._memory.items():
                self._held -= block.amount
                self._lost(number, [(block.packets, len(block.body))], block.before, STOPPED)
            self._memory.clear()
        await self._save(clean=True)
        self._disk.close()

    @property
    def through(self) -> int:
        """The last block that was acknowledged."""
        return self._books.through

    @property
    def last(self) -> int:
        """The last block that was put."""
        return self._books.last

    @property
    def safe_through(self) -> int:
        """All blocks through there are acknowledged, on disk, or in a gap."""
        first = self._first(0)
        return first.number - 1 if first else self._books.last

    async def wait_safe(self, after: int) -> int:
        """`safe_through`, once that is beyond `after`."""
        while self.safe_through <= after:
            self._moved.clear()
            await self._moved.wait()
        return self.safe_through

    # -- inside ----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._wake.wait()
            self._wake.clear()
            async with self._lock:
                while not self._closing and self._due() and await self._flush():
                    pass
            if (self._dirty and self._disk.usable) or self._disk.useless:
                await self._save()

    def _due(self) -> bool:
        if not self._memory or not self._disk.usable:
            return False
        age = time.time_ns() - next(iter(self._memory.values())).at
        return not 0 <= age <= AFTER * 1e9 or self._pressed()  # below 0: the clock was set

    def _pressed(self) -> bool:
        return self._held.bytes + OVERHEAD * self._held.blocks > self._limit * 3 // 4

    def _kept(self) -> bool:
        """Whether something must survive this process."""
        return bool(self._disk.files or self._writing or self._books.gaps)

    def _first(self, after: int) -> Queued | None:
        """The first block behind `after` in memory."""
        for store in (self._writing, self._memory):
            if store and next(reversed(store)) > after:
                wanted = max(after + 1, next(iter(store)))
                return store.get(wanted) or next(block for number, block in store.items() if number > after)
        return None

    def _bound(self) -> None:
        """Memory within its bound. What is on its way to disk stays until it is there."""
        while self._memory and self._held.bytes + OVERHEAD * self._held.blocks > self._limit:
            number, block = self._memory.popitem(last=False)
            self._held -= block.amount
            self._lost(number, [(block.packets, len(block.body))], block.before, FULL)

    async def _flush(self) -> bool:
        """One write of the oldest blocks in memory; False where the disk takes none now. Under the lock."""
        batch = self._disk.take(self._memory.values())
        if not self._disk.room(batch, 0):
            return False
        while not self._disk.room(batch, self._disk.used):
            if not (self._closing or self._pressed()):
                return False
            self._give_up(self._disk.files[0], 0, FULL)
        for block in batch:
            self._writing[block.number] = self._memory.pop(block.number)
        if self._disk.useless:
            await self._save()
        written = await self._disk.write(self._books.epoch, batch)
        if written:
            for block in self._writing.values():  # those that were not acknowledged meanwhile
                self._held -= block.amount
                self._disk.amount += block.amount
            self._disk.acknowledge(self._books.through, self._books.through)
            self._dirty = True
        else:
            for block in reversed(self._writing.values()):
                self._memory[block.number] = block
                self._memory.move_to_end(block.number, last=False)
        self._writing.clear()
        self._bound()
        self._moved.set()
        return written

    async def _read(self, segment: Segment, number: int) -> Queued | None:
        """A block on disk; None where it is not wanted any more or cannot be read: then the file's rest is given up."""
        try:
            block = await self._disk.read(segment, number)
        except (OSError, DamagedError) as error:
            async with self._lock:
                if self._wanted(segment, number):
                    log.error("%s; the packets behind it in that file are dropped", error)
                    self._damaged += 1
                    self._give_up(segment, number, DAMAGED)
            return None
        return block if self._wanted(segment, number) else None

    def _wanted(self, segment: Segment, number: int) -> bool:
        return number > self._books.through and segment in self._disk.files and number <= segment.last

    def _give_up(self, segment: Segment, number: int, reason: str) -> None:
        """The blocks of a file from `number` on. Under the lock."""
        first = max(number, segment.first, self._books.through + 1)
        before = segment.before + segment.amount(0, first - 1)
        self._lost(first, self._disk.lose(segment, first, self._books.through), before, reason)

    def _lost(self, first: int, rows: list[tuple[int, int]], before: Amount, reason: str) -> None:
        self._books.lose(first, rows, before, reason)
        self._dirty = True
        self._moved.set()
        if reason == FULL and not self._told_full:
            self._told_full = True
            log.warning("packets wait for their receiver and there is no more room, so the oldest are dropped; see"
                        " max_buffer_mem and packetbuffer_file_totalmaxsize")  # fmt: skip

    async def _save(self, *, clean: bool = False) -> None:
        """The books to disk; `clean`: they are the last ones of this process, and right."""
        self._dirty = False
        if not await self._disk.save(encode(msgspec.structs.replace(self._books, clean=clean))):
            self._dirty = not self._closing
