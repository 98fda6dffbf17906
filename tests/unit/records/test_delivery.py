"""Delivery against a store that forgets, lags and breaks: everything arrives, in order, once per connection."""

import asyncio
import os

import pytest
from voipfleet.records.delivery import deliver
from voipfleet.records.messages import CALL, WINDOW, Ack, Status, Welcome
from voipfleet.records.outbox import Outbox
from voipfleet.records.spool import Spool


class Broken(Exception):
    pass


class FakeTarget:
    """Keeps what it commits in `table`; breaks after `breaks_after` batches, before the acknowledgement."""

    def __init__(self, table, welcome, breaks_after=None):
        self.table, self.welcome, self._left = table, welcome, breaks_after
        self._queue = asyncio.Queue()
        self.held = self.most_held = 0

    async def send_batch(self, batch):
        self.held += 1
        self.most_held = max(self.held, self.most_held)
        await self._queue.put(batch)

    async def send_status(self, status):
        pass

    async def recv_ack(self):
        batch = await self._queue.get()
        self.table.extend(row.uuid for row in batch.rows)
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                raise Broken
        self.held -= 1
        return Ack(batch.epoch, batch.rows[-1].seq, batch.rows[-1].uuid)


def status():
    return Status("s", 1, "0", "capture", "", 0, {})


def welcome(epoch=b"", last=0, uuid=b""):
    return Welcome(b"s", b"c", "hq", epoch, last, uuid)


async def until_acknowledged(spool, target):
    delivering = asyncio.create_task(deliver(spool, target, status))
    await asyncio.wait_for(spool.wait_acknowledged(spool.state.next_seq - 1), 5)
    delivering.cancel()
    await asyncio.gather(delivering, return_exceptions=True)


async def filled(path, count):
    spool = Spool(Outbox(path / "outbox.db"))
    sent = [os.urandom(16) for _ in range(count)]
    for uuid in sent:
        spool.put(uuid, 1, CALL, b"x" * 2000)
    assert await spool.flush()
    return spool, sent


def test_everything_is_delivered_in_order_within_the_window(tmp_path):
    async def main():
        spool, sent = await filled(tmp_path, 3000)
        table = []
        target = FakeTarget(table, welcome())
        await until_acknowledged(spool, target)
        assert table == sent
        assert 1 < target.most_held <= WINDOW

    asyncio.run(main())


def test_a_commit_whose_acknowledgement_was_lost_is_not_sent_again(tmp_path):
    async def main():
        spool, sent = await filled(tmp_path, 1500)
        table = []
        with pytest.raises(ExceptionGroup):
            await deliver(spool, FakeTarget(table, welcome(), breaks_after=2), status)
        assert spool.state.acked_through < len(table) < len(sent)
        await until_acknowledged(spool, FakeTarget(table, welcome(spool.state.epoch, len(table), table[-1])))
        assert table == sent

    asyncio.run(main())


def test_a_row_put_later_is_delivered_without_a_new_connection(tmp_path):
    async def main():
        spool, _ = await filled(tmp_path, 1)
        table = []
        running = asyncio.create_task(spool.run())
        delivering = asyncio.create_task(deliver(spool, FakeTarget(table, welcome()), status))
        await spool.wait_acknowledged(1)
        spool.put(b"n" * 16, 1, CALL, b"")
        await asyncio.wait_for(spool.wait_acknowledged(2), 5)
        assert table[-1] == b"n" * 16
        for task in (running, delivering):
            task.cancel()
        await asyncio.gather(running, delivering, return_exceptions=True)

    asyncio.run(main())


def test_a_store_restored_from_a_backup_gets_the_held_rows_again(tmp_path):
    """B15."""

    async def main():
        spool, sent = await filled(tmp_path, 10)
        await until_acknowledged(spool, FakeTarget([], welcome()))
        table = sent[:4]
        epoch = spool.state.epoch
        target = FakeTarget(table, welcome(epoch, 4, sent[3]))
        delivering = asyncio.create_task(deliver(spool, target, status))
        while len(table) < 10:
            await asyncio.sleep(0.01)
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        assert table == sent

    asyncio.run(main())


def test_a_disk_that_refuses_keeps_the_rows_in_memory(tmp_path, monkeypatch):
    async def main():
        outbox = Outbox(tmp_path / "outbox.db")
        spool = Spool(outbox)
        spool.put(b"a" * 16, 1, CALL, b"")
        append = outbox.append
        monkeypatch.setattr(outbox, "append", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        assert not await spool.flush()
        assert spool.failing == "disk full"
        spool.put(b"b" * 16, 1, CALL, b"")
        monkeypatch.setattr(outbox, "append", append)
        assert await spool.flush()
        assert [row.uuid[:1] for row in await spool.read(0)] == [b"a", b"b"]
        assert spool.failing == ""

    asyncio.run(main())


def test_a_second_flush_waits_for_the_one_that_is_committing(tmp_path):
    async def main():
        spool = Spool(Outbox(tmp_path / "outbox.db"))
        spool.put(b"a" * 16, 1, CALL, b"")
        first = asyncio.create_task(spool.flush())
        await asyncio.sleep(0)
        assert await spool.flush()
        assert spool.state.next_seq == 2
        await first

    asyncio.run(main())
