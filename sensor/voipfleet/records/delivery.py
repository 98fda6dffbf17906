"""Brings the outbox's rows to a store: a central behind the link, or the store of this instance.

At-least-once on the way, exactly once in the table: the store skips what is at or below its cursor.
A row counts as delivered only when the store's commit came back as an acknowledgement.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from voipfleet.records import resume
from voipfleet.records.messages import GAP, WINDOW, Ack, Batch, GapRecord, Status, Welcome
from voipfleet.records.outbox import OutboxError
from voipfleet.records.spool import Spool

log = logging.getLogger("voipfleet.delivery")
STATUS_EVERY = 5.0  # seconds


class Target(Protocol):
    """One connection to a store; every method raises when the connection has ended."""

    welcome: Welcome

    async def send_batch(self, batch: Batch) -> None: ...

    async def send_status(self, status: Status) -> None: ...

    async def recv_ack(self) -> Ack: ...


async def deliver(spool: Spool, target: Target, status: Callable[[], Status]) -> None:
    """Deliver over one connection until it ends (then it raises what ended it)."""
    start = await _start(spool, target.welcome)
    flow = _Flow(spool, target, start)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(flow.send())
        tasks.create_task(flow.receive())
        tasks.create_task(_tell(target, status))


async def _start(spool: Spool, welcome: Welcome) -> int:
    uuid = await spool.uuid_at(welcome.last_seq)
    decision = resume.plan(spool.state, uuid, welcome)
    if decision.why is resume.Why.ROLLED_BACK:
        log.warning("delivery: this outbox is an older copy of itself; what it holds is sent again under a new epoch")
        await spool.new_epoch()
    elif decision.why is resume.Why.REPLAY:
        log.warning("delivery: the store has less than it had acknowledged; sending again what is held")
        if decision.gone and welcome.central == spool.store:
            _tell_gone(spool, *decision.gone)
    elif welcome.last_seq > spool.state.acked_through and welcome.epoch == spool.state.epoch:
        await spool.acknowledge(welcome.last_seq)
    await spool.delivers_to(welcome.central)
    return decision.after


def _tell_gone(spool: Spool, first: int, last: int) -> None:
    """A gap record. Its uuid follows from where the gap begins, so that it counts once however often that is found."""
    log.warning("delivery: %d of these are not held any more (keep_acked_hours); the store is told", last - first + 1)
    uuid = hashlib.blake2b(spool.state.epoch + first.to_bytes(8, "big"), digest_size=16).digest()
    gap = GapRecord(first, last, last - first + 1, "not kept for a replay", time.time_ns())
    spool.put(uuid, 1, GAP, msgspec.msgpack.encode(gap))


class _Flow:
    """The window between what was sent and what was acknowledged."""

    def __init__(self, spool: Spool, target: Target, start: int):
        self._spool, self._target, self._sent = spool, target, start
        self._epoch = spool.state.epoch
        self._window = asyncio.Semaphore(WINDOW)
        self._in_flight: list[int] = []  # the last sequence number of each batch

    async def send(self) -> None:
        spool = self._spool
        while True:
            async with spool.changed:
                await spool.changed.wait_for(lambda: spool.state.next_seq > self._sent + 1 or self._renewed())
            self._check()
            rows = await spool.read(self._sent)
            if not rows:  # only acknowledged rows were there, and they were deleted
                self._sent = spool.state.next_seq - 1
                continue
            await self._window.acquire()
            self._check()
            self._sent = rows[-1].seq
            self._in_flight.append(self._sent)
            await self._target.send_batch(Batch(spool.state.epoch, rows))

    async def receive(self) -> None:
        while True:
            ack = await self._target.recv_ack()
            self._check()
            if ack.epoch != self._epoch:
                continue
            await self._spool.acknowledge(min(ack.through_seq, self._sent))
            while self._in_flight and self._in_flight[0] <= ack.through_seq:
                self._in_flight.pop(0)
                self._window.release()

    def _renewed(self) -> bool:
        return self._spool.state.epoch != self._epoch

    def _check(self) -> None:
        if self._renewed():
            raise OutboxError("outbox: it has begun a new file; delivery begins again")


async def _tell(target: Target, status: Callable[[], Status]) -> None:
    while True:
        await target.send_status(status())
        await asyncio.sleep(STATUS_EVERY)
