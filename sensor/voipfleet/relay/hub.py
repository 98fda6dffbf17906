"""Where an instance's packets go, its own and those it receives: on to other hosts, to its analysis, or to both.

A block that was received is in safe hands when it is on the disk of a relay or acknowledged further on, and where it is
analysed when its records are in the outbox. With them goes, in one transaction, how far each origin has come: what is
sent once more after a crash is not analysed twice.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from voipfleet.relay import codec
from voipfleet.relay.buffer import PacketBuffer
from voipfleet.relay.messages import Handed, Heard, Origin
from voipfleet.relay.shifts import Shifts

Key = tuple[bytes, bytes]  # uuid of a capturing host, epoch of its numbers
CONFIRM_EVERY = 0.2  # s between transactions of what was analysed


@dataclass(slots=True, eq=False)
class Output:
    """One destination: what waits for it, blocks that are not safe in it yet, and what may be said after a block."""

    name: str
    buffer: PacketBuffer
    last: int = 0
    waiting: deque[tuple[int, asyncio.Future]] = field(default_factory=deque)
    heard: dict[bytes, tuple[Heard, int]] = field(default_factory=dict)

    def told(self, sent: int) -> list[Heard]:
        """What may be said of origins when all through `sent` has been sent; each is given once."""
        found = [uuid for uuid, (_, number) in self.heard.items() if number <= sent]
        return [self.heard.pop(uuid)[0] for uuid in found]


class Hub:
    """`analyse(Handed)` gives a block to the analysis and waits while that has enough (None: nothing is analysed here).
    `note(cursors)` keeps (origin, epoch) -> number together with the records that came until then; `commit()` makes
    that safe, and says whether it could. `cursors` is what was kept before."""

    def __init__(self, own: bytes, name: str, outputs: list[Output], *,
                 analyse: Callable[[Handed], Awaitable[None]] | None,
                 note: Callable[[Mapping[Key, int]], None], commit: Callable[[], Awaitable[bool]],
                 cursors: Mapping[Key, int]):  # fmt: skip
        self._own, self._name, self.outputs = own, name, outputs
        self._analyse, self._note, self._commit = analyse, note, commit
        self._cursors = dict(cursors)
        self._epoch, self._number, self._seq = os.urandom(16), 0, 0
        self._fed: deque[tuple[int, Key, int, asyncio.Future]] = deque()
        self._noted: list[asyncio.Future] = []  # of blocks that are analysed, and not committed yet
        self._analysed = asyncio.Event()
        self._shifts = Shifts()
        self.offsets: dict[bytes, Callable[[], float | None]] = {}  # by source: its clock minus ours now, s
        self.repeated = 0  # blocks that had come before, by another way or before a crash

    # -- what comes ------------------------------------------------------------------------------------

    def own(self, body: bytes) -> None:
        """A block that this instance has captured and packed."""
        self._number += 1
        origin = Origin(self._name, [self._own], self._epoch, self._number)
        for output in self.outputs:
            output.last = output.buffer.put(origin, codec.count(body), body)

    def own_heard(self, clock: int) -> None:
        """Everything captured here before `clock` has come."""
        for output in self.outputs:
            output.heard[self._own] = Heard(Origin(self._name, [self._own]), clock), output.last

    async def put(self, source: bytes, origin: Origin, packets: int, body: bytes) -> asyncio.Future:
        """A block that has come from `source`, the uuid of the link's other end. May wait: nothing more is read there
        until it has returned. Its future is done when the block is in safe hands."""
        loop = asyncio.get_running_loop()
        safe = loop.create_future()
        key = origin.hops[0], origin.epoch
        if origin.number <= self._cursors.get(key, 0):
            self.repeated += 1
            safe.set_result(None)
            return safe
        self._cursors[key] = origin.number
        onward = self._onward(source, origin)
        parts = []
        for output in self.outputs:
            output.last = output.buffer.put(onward, packets, body)
            parts.append(loop.create_future())
            output.waiting.append((output.last, parts[-1]))
        if self._analyse:
            self._seq += 1
            parts.append(loop.create_future())
            self._fed.append((self._seq, key, origin.number, parts[-1]))
            shift = self._shifts.of(origin.hops[0], onward.offset)
            await self._analyse(Handed(origin.name, shift, onward.offset / 1000, self._seq, body))
        missing = len(parts)

        def one_less(_) -> None:
            nonlocal missing
            missing -= 1
            if not missing:
                _done(safe)

        for part in parts:
            part.add_done_callback(one_less)
        return safe

    async def lost(self, source: bytes, name: str, packets: int) -> None:
        """Packets that a source had to drop count as drops of those who analyse."""
        self._number += 1
        origin = Origin(name, [source], self._epoch, self._number)
        await self.put(source, origin, 0, codec.dropped(packets))

    async def heard(self, source: bytes, heard: Heard) -> None:
        onward = self._onward(source, heard.origin)
        first = onward.hops[0]
        for output in self.outputs:
            output.heard[first] = Heard(onward, heard.clock), output.last
        if self._analyse:
            shift = self._shifts.of(first, onward.offset)
            await self._analyse(Handed(onward.name, shift, onward.offset / 1000, clock=heard.clock - shift))

    def analysed(self, seq: int) -> None:
        """All blocks through there are analysed, and their records have come."""
        cursors: dict[Key, int] = {}
        while self._fed and self._fed[0][0] <= seq:
            _, key, number, future = self._fed.popleft()
            cursors[key] = max(number, cursors.get(key, 0))
            self._noted.append(future)
        self._note(cursors)
        self._analysed.set()

    def _onward(self, source: bytes, origin: Origin) -> Origin:
        """As it goes on from here: one hop more, and the clock's offset to this instance."""
        now = self.offsets.get(source, lambda: None)()
        offset = origin.offset + round((now or 0.0) * 1e6)
        return msgspec.structs.replace(origin, hops=[*origin.hops, self._own], offset=offset)

    # -- what is safe ----------------------------------------------------------------------------------

    async def confirm(self) -> None:
        """Commit what was analysed, for ever."""
        while True:
            await self._analysed.wait()
            self._analysed.clear()
            futures, self._noted = self._noted, []
            if futures and not await self._commit():
                self._noted = futures + self._noted
                self._analysed.set()
            else:
                for future in futures:
                    _done(future)
            await asyncio.sleep(CONFIRM_EVERY)

    async def watch(self, output: Output) -> None:
        """Tell of blocks that are safe in a destination's buffer, for ever."""
        through = 0
        while True:
            through = await output.buffer.wait_safe(through)
            while output.waiting and output.waiting[0][0] <= through:
                _done(output.waiting.popleft()[1])


def _done(future: asyncio.Future) -> None:
    if not future.done():  # its connection may have ended
        future.set_result(None)


def lag(oldest: int) -> float:
    """Seconds since the oldest block that waits was put (ns since the epoch; 0: none waits)."""
    return max(0.0, time.time() - oldest / 1e9) if oldest else 0.0
