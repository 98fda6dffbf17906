"""Delivery against a store that forgets, lags and breaks: everything arrives, in order, once per connection."""

import asyncio
import os
import sqlite3

import msgspec
import pytest
from voipfleet.records.delivery import deliver
from voipfleet.records.messages import CALL, CHECKPOINT, GAP, WINDOW, Ack, GapRecord, Status, Welcome
from voipfleet.records.outbox import Outbox, OutboxError
from voipfleet.records.salvage import open_outbox
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


def broken(spool, name, error="disk I/O error", times=1):
    """The next calls of a method of the outbox fail; every later call of anything that writes to it is a fault."""
    outbox, left = spool._outbox, [times]

    def fails(*_):
        assert left[0] > 0, "used once more after it failed"
        left[0] -= 1
        raise sqlite3.OperationalError(error)

    setattr(outbox, name, fails)
    return outbox


def test_after_an_error_of_the_disk_a_new_file_takes_over_with_all_that_was_put(tmp_path, caplog):
    async def main():
        spool, sent = await filled(tmp_path, 20)
        await spool.acknowledge(5)
        epoch, uuid = spool.state.epoch, spool.sensor_uuid
        broken(spool, "append")
        spool.put(b"n" * 16, 1, CALL, b"new")
        spool.put(b"o" * 16, 1, CHECKPOINT, b"open")
        assert await spool.flush()
        assert [row.uuid for row in await spool.read(0)] == [*sent, b"n" * 16]
        state = spool.state
        assert state.epoch != epoch and (state.queued, state.acked_through, state.gaps) == (16, 5, 0)
        assert "disk I/O error" in spool.failing and "restart this service" in spool.failing
        assert len(list(tmp_path.glob("outbox.db.corrupt-*"))) >= 1 and "damaged" in caplog.text
        await spool.close()
        again = open_outbox(tmp_path / "outbox.db")
        assert (again.sensor_uuid, again.leftovers, again.state().queued) == (uuid, 1, 17)

    asyncio.run(main())


def test_a_disk_that_goes_on_failing_costs_no_file_a_second_and_no_record(tmp_path, monkeypatch):
    async def main():
        spool, sent = await filled(tmp_path, 3)
        broken(spool, "append")
        fails = [3]

        def append(self, *arguments, append=Outbox.append):
            fails[0] -= 1
            if fails[0] >= 0:
                raise sqlite3.OperationalError("disk I/O error")
            return append(self, *arguments)

        monkeypatch.setattr(Outbox, "append", append)
        spool.put(b"n" * 16, 1, CALL, b"new")
        for _ in range(3):
            assert not await spool.flush()
        assert len(list(tmp_path.glob("outbox.db.corrupt-*[0-9Z]"))) == 1
        assert await spool.flush()
        assert [row.uuid for row in await spool.read(0)] == [*sent, b"n" * 16]

    asyncio.run(main())


@pytest.mark.parametrize("name", ["read", "acknowledge"])
def test_delivery_begins_again_with_the_new_file(tmp_path, name):
    async def main():
        spool, sent = await filled(tmp_path, 600)
        epoch, table = spool.state.epoch, []
        broken(spool, name)
        with pytest.raises(ExceptionGroup) as raised:
            await asyncio.wait_for(deliver(spool, FakeTarget(table, welcome()), status), 5)
        assert raised.group_contains(OutboxError)
        await until_acknowledged(spool, FakeTarget(table, welcome(epoch, len(table), table[-1] if table else b"")))
        assert spool.state.epoch != epoch and set(table) == set(sent)
        assert spool.state.acknowledged == 600

    asyncio.run(main())


def test_delivery_notices_that_a_commit_began_a_new_file(tmp_path):
    async def main():
        spool, _ = await filled(tmp_path, 10)
        delivering = asyncio.create_task(deliver(spool, FakeTarget([], welcome()), status))
        await asyncio.wait_for(spool.wait_acknowledged(10), 5)
        broken(spool, "append")
        spool.put(b"n" * 16, 1, CALL, b"new")
        assert await spool.flush()
        with pytest.raises(ExceptionGroup) as raised:
            await asyncio.wait_for(delivering, 5)
        assert raised.group_contains(OutboxError)

    asyncio.run(main())


def test_a_disk_that_is_full_when_an_acknowledgement_comes_ends_nothing(tmp_path):
    async def main():
        spool, _ = await filled(tmp_path, 10)
        outbox = broken(spool, "acknowledge", "database or disk is full")
        await spool.acknowledge(5)
        assert spool.state.acked_through == 0
        del outbox.acknowledge
        await spool.acknowledge(10)
        assert spool.state.queued == 0 and list(tmp_path.glob("*.corrupt*")) == []

    asyncio.run(main())


def never_room(spool, outbox_append, fails):
    """`fails` commits find the disk full."""
    left = [fails]

    def append(*arguments):
        left[0] -= 1
        if left[0] >= 0:
            raise sqlite3.OperationalError("database or disk is full")
        return outbox_append(*arguments)

    spool._outbox.append = append


def test_on_a_full_disk_others_are_asked_then_what_is_kept_for_a_replay_goes_and_no_record(tmp_path):
    async def main():
        spool, sent = await filled(tmp_path, 100)
        await spool.acknowledge(50)
        never_room(spool, spool._outbox.append, 2)
        given = [True, False]

        async def emergency():
            return given.pop(0)

        spool.emergency = emergency
        spool.put(b"n" * 16, 1, CALL, b"new")
        assert await spool.flush() and given == []
        held = [row.uuid for row in await spool.read(0)]
        assert held[-1] == b"n" * 16 and held[-51:-1] == sent[50:] and 85 < len(held) < 101
        assert spool.state.gaps == 0 and spool.failing == ""

    asyncio.run(main())


def test_what_memory_could_not_keep_is_told_once_there_is_room(tmp_path, monkeypatch):
    async def main():
        monkeypatch.setattr("voipfleet.records.spool.MAX_PENDING", 10)
        spool, _ = await filled(tmp_path, 5)
        never_room(spool, spool._outbox.append, 1)
        for number in range(30):
            spool.put(b"%016d" % number, 1, CALL, b"x")
        assert not await spool.flush() and "full" in spool.failing
        for number in range(30, 35):
            spool.put(b"%016d" % number, 1, CALL, b"x")
        assert await spool.flush() and spool.failing == ""
        rows = await spool.read(5)
        assert [row.uuid for row in rows if row.kind == CALL] == [b"%016d" % number for number in range(25, 35)]
        (gap,) = [msgspec.msgpack.decode(row.body, type=GapRecord) for row in rows if row.kind == GAP]
        state = spool.state
        assert gap.count == state.gaps == spool.dropped == 25
        assert state.created == 5 + 35 + 1 == state.acknowledged + state.queued + state.gaps

    asyncio.run(main())


@pytest.mark.parametrize(("fails", "kept"), [(1, 5), (2, 0)])
def test_at_the_end_the_reserve_is_for_what_is_left_or_for_how_many_that_is(tmp_path, fails, kept):
    async def main():
        spool, _ = await filled(tmp_path, 5)
        never_room(spool, spool._outbox.append, fails)
        for number in range(5):
            spool.put(b"%016d" % number, 1, CALL, b"x")
        reserve = [True]
        await spool.close(reserve.pop)
        assert reserve == []
        state = open_outbox(tmp_path / "outbox.db").state()
        assert (state.queued, state.gaps) == (5 + kept + (kept == 0), 5 - kept)
        assert state.created == state.queued + state.gaps

    asyncio.run(main())


def test_a_restored_store_is_told_what_is_not_held_any_more(tmp_path):
    """B15. By the store that had it, and the same gap however often that is found."""

    async def main():
        spool = Spool(Outbox(tmp_path / "outbox.db", keep_acked_hours=0))
        sent = [os.urandom(16) for _ in range(10)]
        for uuid in sent:
            spool.put(uuid, 1, CALL, b"x")
        assert await spool.flush()
        await until_acknowledged(spool, FakeTarget([], welcome()))
        epoch = spool.state.epoch
        assert await spool.read(0) == []
        told = []
        for _ in range(2):
            behind = FakeTarget([], welcome(epoch, 4, sent[3]))
            delivering = asyncio.create_task(deliver(spool, behind, status))
            while not spool._pending:
                await asyncio.sleep(0.01)
            told += spool._pending
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
        gaps = [msgspec.msgpack.decode(body, type=GapRecord) for *_, body in told]
        assert [(gap.from_seq, gap.to_seq, gap.count) for gap in gaps] == [(5, 10, 6)] * 2
        assert len({uuid for uuid, *_ in told}) == 1 and {kind for *_, kind, _ in told} == {GAP}

    asyncio.run(main())


def test_another_store_is_told_nothing_of_what_the_first_one_has(tmp_path):
    async def main():
        spool = Spool(Outbox(tmp_path / "outbox.db", keep_acked_hours=0))
        for _ in range(10):
            spool.put(os.urandom(16), 1, CALL, b"x")
        assert await spool.flush()
        await until_acknowledged(spool, FakeTarget([], welcome()))
        other = Welcome(b"s", b"another", "hq2", spool.state.epoch, 4, b"")
        table = []
        delivering = asyncio.create_task(deliver(spool, FakeTarget(table, other), status))
        while spool.store != b"another":
            await asyncio.sleep(0.01)
        spool.put(b"n" * 16, 1, CALL, b"x")
        await spool.flush()
        await asyncio.wait_for(spool.wait_acknowledged(11), 5)
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        assert table == [b"n" * 16]
        assert open_outbox(tmp_path / "outbox.db").store == b"another"

    asyncio.run(main())
