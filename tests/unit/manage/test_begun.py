"""What ends a central in the middle of an erasure leaves nothing half done: the next process carries it out."""

import asyncio
import contextlib
import functools

import pytest
from support.instances import Instance, Pool, Store
from support.joined import joined
from voipfleet import tasks
from voipfleet.asking.asker import no_data
from voipfleet.calls.record import CallRecord
from voipfleet.errors import VoipfleetError
from voipfleet.manage import begun, later, packets, table
from voipfleet.manage.begun import Begun, Note
from voipfleet.manage.later import Later
from voipfleet.manage.request import ALL, Request

HQ, ONE, TWO, CALL, PART, OWN = (letter * 16 for letter in (b"h", b"1", b"2", b"c", b"p", b"o"))
RECORD = CallRecord(uuid=CALL, call_id="abc", setup_time=1)


class Away(VoipfleetError):
    temporary = True


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(later, "LOOK", 0.02)
    monkeypatch.setattr(begun, "LOOK", 0.02)
    monkeypatch.setattr(begun, "AGAIN", 0.05)
    monkeypatch.setattr(begun, "LONGEST", 0.1)


def center(folder, parts=((PART, ONE), (OWN, HQ)), known=True):
    """A central that keeps packets itself; whether its database has the call."""
    records = {CALL.hex(): (RECORD, list(parts))} if known else {}
    made = Instance(HQ, "hq", store=Store(records), pool=Pool({OWN: 5}))
    made.later, made.begun = Later(folder), Begun(folder)
    return made


async def erase(instance, **arguments):
    return await table.run_local(instance, "erase", Request(arguments, "ann", ALL, no_data))


@contextlib.asynccontextmanager
async def at_work(instance):
    """With one sensor that has the packets."""
    one = Instance(ONE, "one", pool=Pool({PART: 9}))
    running = [asyncio.create_task(instance.later.run(instance)),
               asyncio.create_task(instance.begun.run(functools.partial(packets.carry_out, instance)))]  # fmt: skip
    try:
        async with joined(one.board, instance.board, uuid=ONE, name="one", central=HQ):
            yield one
        assert not any(task.done() for task in running)
    finally:
        await tasks.end_all(*running)


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def killed(folder, instance, at, **what):
    """The command, ended before or after the database has erased."""
    reached, store = asyncio.Event(), instance.stored.store

    async def call(function, *arguments):
        if function != store.erase:
            return function(*arguments)
        if at == "after":
            function(*arguments)
        reached.set()
        return await asyncio.sleep(60)

    instance.stored.call = call
    asking = asyncio.create_task(erase(instance, **what))
    await reached.wait()
    await tasks.end_all(asking, *tasks._going)


@pytest.mark.parametrize("at", ["before", "after"])
@pytest.mark.parametrize("what", [{"uuid": CALL.hex()}, {"number": "5"}])
async def test_a_kill_loses_nobody(tmp_path, at, what):
    """Neither a sensor, nor what the central itself keeps. It is in the audit log."""
    hq = center(tmp_path)
    async with at_work(hq) as one:
        await killed(tmp_path, hq, at, **what)
        assert not one.pool.done
    assert (tmp_path / begun.FILE).stat().st_mode & 0o777 == 0o600
    again = center(tmp_path, known=at == "before")
    assert len(again.begun.notes) == 1
    async with at_work(again) as one:
        await until(lambda: not (tmp_path / begun.FILE).exists())
        assert one.pool.done == [("erase", PART if "uuid" in what else "5")]
    assert again.pool.done == [("erase", OWN if "uuid" in what else "5")]
    done = [(said["who"], said["sensor"], said["result"]) for event, said in again.audit if event == "erase"]
    assert sorted(done) == [("ann", "hq", "ok"), ("ann", "hq", "ok"), ("ann", "one", "ok")]
    assert not again.begun.notes and not again.later.waiting


async def test_what_the_database_names_only_now_is_asked_too(tmp_path):
    hq = center(tmp_path)
    hq.begun._notes = [Note("ann", call=CALL.hex())]
    await hq.begun._save()
    again = center(tmp_path)
    async with at_work(again) as one:
        await until(lambda: not again.begun.notes)
        assert one.pool.done == [("erase", PART)] and again.pool.done == [("erase", OWN)]


async def test_what_a_hold_forbids_is_erased_nowhere_also_after_a_kill(tmp_path, caplog):
    hq = center(tmp_path)
    hq.stored.store.held.add(CALL.hex())
    async with at_work(hq) as one:
        with pytest.raises(VoipfleetError, match="are held"):
            await erase(hq, uuid=CALL.hex())
        assert not hq.begun.notes and not (tmp_path / begun.FILE).exists()
        await killed(tmp_path, hq, "before", uuid=CALL.hex())
        again = center(tmp_path)
        again.stored.store.held.add(CALL.hex())
        async with at_work(again):
            await until(lambda: not again.begun.notes)
        assert not one.pool.done and "not carried out: 1 of the calls" in caplog.text
    assert again.audit[-1] == ("erase", {"who": "ann", "sensor": "hq", "call": CALL.hex(), "result": "failed"})


async def test_a_database_that_is_away_is_waited_for(tmp_path):
    """It may have erased before its connection broke."""
    hq, tries = center(tmp_path), []
    erases = hq.stored.store.erase

    def away(*arguments):
        tries.append(erases(*arguments) if not tries else [])
        if len(tries) < 3:
            raise Away("database: does not answer")
        return tries[-1]

    hq.stored.store.erase = away
    async with at_work(hq) as one:
        with pytest.raises(VoipfleetError, match="does not answer; it is erased as soon as the database answers"):
            await erase(hq, uuid=CALL.hex())
        assert hq.begun.notes and not one.pool.done
        await until(lambda: not hq.begun.notes)
        assert one.pool.done == [("erase", PART)]


async def test_a_defect_ends_nothing(tmp_path, caplog):
    hq, tries = center(tmp_path), []
    erases = hq.stored.store.erase

    def broken(*arguments):
        tries.append(1)
        if len(tries) < 3:
            raise ZeroDivisionError
        return erases(*arguments)

    hq.stored.store.erase = broken
    async with at_work(hq) as one:
        with pytest.raises(ZeroDivisionError):
            await erase(hq, uuid=CALL.hex())
        assert hq.begun.notes  # nobody knows what was done
        await until(lambda: not hq.begun.notes)
        assert one.pool.done == [("erase", PART)] and "by a defect" in caplog.text


async def test_the_same_order_given_twice(tmp_path):
    hq = center(tmp_path)
    async with at_work(hq) as one:
        said = await asyncio.gather(*(erase(hq, uuid=CALL.hex()) for _ in range(2)), return_exceptions=True)
        assert sorted(isinstance(one, VoipfleetError) for one in said) == [False, True]
        assert one.pool.done == [("erase", PART)] and not hq.begun.notes
    assert not (tmp_path / begun.FILE).exists()


async def test_a_call_id_that_looks_like_a_uuid_means_no_other_call(tmp_path):
    hq = center(tmp_path)
    async with at_work(hq) as one:
        with pytest.raises(VoipfleetError, match="no call of that name"):
            await erase(hq, uuid=PART.hex())
        assert not one.pool.done and not hq.begun.notes


async def test_what_the_central_itself_has_can_be_meant(tmp_path):
    hq = center(tmp_path, known=False)
    assert (await erase(hq, uuid=OWN.hex(), sensor=HQ.hex()))["done"][0]["packets"] == 1
    assert hq.pool.done == [("erase", OWN)]


@pytest.mark.parametrize("text", [
    "[{", "5", "\x00", "[5]", '[{"who": "a"}]', '[{"who": "a", "call": "x"}]', "[" * 9999,
    '[{"who": "a", "call": "ab", "number": ""}]', '[{"who": 5, "number": "1"}]', '[{"who": "a", "number": "\xff"}]',
    '[{"who": "a", "number": "1", "hosts": [["", ""]]}]',
])  # fmt: skip
def test_a_damaged_file_is_told(tmp_path, text, caplog):
    (tmp_path / begun.FILE).write_bytes(text.encode("latin-1"))
    assert Begun(tmp_path).notes == [] and "order it again" in caplog.text


async def test_a_disk_that_refuses_is_told_and_erased_is_all_the_same(tmp_path, caplog):
    hq = center(tmp_path / "gone")
    async with at_work(hq) as one:
        await erase(hq, uuid=CALL.hex())
        assert one.pool.done == [("erase", PART)] and caplog.text.count("a kill may lose an erasure") == 1
        (tmp_path / "gone").mkdir()
        await until(lambda: not hq.begun._unsaved)


async def test_what_is_over_leaves_the_file_as_soon_as_that_can_be_written(tmp_path, monkeypatch):
    """Else the next process would erase what was called since."""
    hq, write = center(tmp_path), Begun._write

    def refuses(self, content):
        if not content:
            raise OSError(28, "No space left on device")
        write(self, content)

    monkeypatch.setattr(Begun, "_write", refuses)
    async with at_work(hq):
        await erase(hq, uuid=CALL.hex())
        assert (tmp_path / begun.FILE).exists() and not hq.begun.notes
        monkeypatch.setattr(Begun, "_write", write)
        await until(lambda: not (tmp_path / begun.FILE).exists())


async def test_packets_of_the_central_that_could_not_be_erased_are_tried_again(tmp_path):
    hq = center(tmp_path)
    async with at_work(hq):
        await killed(tmp_path, hq, "after", uuid=CALL.hex())
    again, tries = center(tmp_path, known=False), []
    erases = again.pool.erase

    async def fails_first(what):
        tries.append(what)
        if len(tries) < 3:
            raise VoipfleetError("calls.db: cannot be used (disk I/O error)")
        return await erases(what)

    again.pool.erase = fails_first
    async with at_work(again) as one:
        await until(lambda: not again.begun.notes)
        assert again.pool.done == [("erase", OWN)] and ("erase", PART) in one.pool.done


async def test_what_is_under_way_when_this_instance_ends_is_for_the_next(tmp_path):
    hq = center(tmp_path)

    async def closed(what):
        raise VoipfleetError("the pool is closed")

    hq.pool.erase = closed
    hq.begun.close()
    async with at_work(hq) as one:
        await erase(hq, uuid=CALL.hex())
        assert one.pool.done == [("erase", PART)]
    again = center(tmp_path, known=False)
    async with at_work(again):
        await until(lambda: not again.begun.notes)
    assert again.pool.done == [("erase", OWN)]


async def test_a_number_that_is_no_text_is_refused(tmp_path):
    hq = center(tmp_path)
    with pytest.raises(VoipfleetError, match="no text that a record can have"):
        await erase(hq, number="\ud800")
    for where in ({"sensor": ONE.hex()}, {"here": True}):
        with pytest.raises(VoipfleetError, match="erased on all hosts"):
            await erase(hq, number="5", **where)
    assert not hq.begun.notes and not hq.pool.done
