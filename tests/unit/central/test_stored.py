"""The store in its thread: what waits is committed together, and one batch's fault is not another's."""

import asyncio
import os

import pytest
import sqlalchemy as sa
from support.records import EPOCH, call, row
from voipfleet.central import stored as module
from voipfleet.central.store import Peer, Store, StoreUnavailable
from voipfleet.central.stored import StoreThread
from voipfleet.records.messages import Batch, Status


def other(uuid: bytes | None = None):
    """A call that is no view of another one."""
    return call(uuid, call_id=os.urandom(8).hex())


def peer(number: int) -> Peer:
    return Peer(number.to_bytes(16), f"branch{number}", "", "10.0.0.1")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs `work(thread, groups)` in a loop; `groups`: how many batches each transaction had."""
    monkeypatch.setattr(module, "RETRY", 0.01)
    monkeypatch.setattr(module, "TOGETHER", 0.05)
    store, groups = Store(sa.make_url(f"sqlite:///{tmp_path}/calls.db")), []
    plain = store.ingest_all

    def counted(batches):
        groups.append(len(batches))
        return plain(batches)

    store.ingest_all = counted

    def start(work):
        async def main():
            thread = StoreThread(store, "hq")
            await thread.prepare()
            try:
                return await work(thread, groups)
            finally:
                await thread.close()

        return asyncio.run(main())

    return start


def test_all_that_waits_is_one_transaction(run):
    async def work(thread, groups):
        batches = [(peer(number), Batch(EPOCH, [row(1, other())])) for number in range(50)]
        acks = await asyncio.gather(*(thread.ingest(*batch) for batch in batches))
        assert [(ack.through_seq, ack.uuid) for ack in acks] == [(1, batch.rows[0].uuid) for _, batch in batches]
        assert sum(groups) == 50 and len(groups) <= 3
        more = await asyncio.gather(*(thread.ingest(peer(7), Batch(EPOCH, [row(seq, other())])) for seq in range(2, 9)))
        assert [ack.through_seq for ack in more] == list(range(2, 9))
        assert len(thread.store.calls()) == 57

    run(work)


def test_a_batch_that_fails_as_nobody_thought_fails_alone(run):
    async def work(thread, groups):
        bad, plain = os.urandom(16), thread.store.ingest_all

        def failing(batches):
            if any(batch.rows[0].uuid == bad for _, batch in batches):
                raise RuntimeError("a defect")
            return plain(batches)

        thread.store.ingest_all = failing
        batches = [(peer(number), Batch(EPOCH, [row(1, other(bad if number == 3 else None))])) for number in range(6)]
        found = await asyncio.gather(*(thread.ingest(*batch) for batch in batches), return_exceptions=True)
        assert [isinstance(one, RuntimeError) for one in found] == [False] * 3 + [True] + [False] * 2
        assert len(thread.store.calls()) == 5

    run(work)


def test_a_database_that_is_away_is_waited_for_and_who_left_is_not_written(run):
    async def work(thread, groups):
        plain, away = thread.store.ingest_all, True

        def failing(batches):
            if away:
                raise StoreUnavailable("away")
            return plain(batches)

        thread.store.ingest_all = failing
        first, second = (asyncio.create_task(thread.ingest(peer(n), Batch(EPOCH, [row(1, other())]))) for n in range(2))
        while not thread.failing:
            await asyncio.sleep(0.01)
        first.cancel()
        away = False
        assert (await second).through_seq == 1
        assert len(thread.store.calls()) == 1 and not thread.failing

    run(work)


def test_what_sensors_say_of_themselves_is_stored_together(run):
    async def work(thread, groups):
        told, plain = [], thread.store.seen
        thread.store.seen = lambda seen: (told.append(len(seen)), plain(seen))
        for number in range(20):
            for calls in range(3):
                thread.seen(peer(number), Status(f"branch{number}", number, "", "", "", 1, {"calls_active": calls}))
        while not told:
            await asyncio.sleep(0.01)
        assert told == [20]

    run(work)
