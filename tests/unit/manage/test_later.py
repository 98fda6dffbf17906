"""What is to be erased on a host that is away is erased when it is back, once, over restarts."""

import asyncio
import contextlib
import json
from types import SimpleNamespace

import pytest
from support.instances import Instance, Pool, Store
from support.joined import joined
from voipfleet import tasks
from voipfleet.asking.asker import no_data
from voipfleet.asking.messages import Unreached
from voipfleet.calls.record import CallRecord
from voipfleet.errors import VoipfleetError
from voipfleet.manage import later, table
from voipfleet.manage.later import Later
from voipfleet.manage.request import ALL, Request

HQ, ONE, RELAY, CALL, PART = (letter * 16 for letter in (b"h", b"1", b"r", b"c", b"p"))
RECORD = CallRecord(uuid=CALL, call_id="abc", setup_time=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(later, "LOOK", 0.02)
    monkeypatch.setattr(later, "AGAIN", 0.1)


def center(folder):
    made = Instance(HQ, "hq", store=Store({CALL.hex(): (RECORD, [(PART, ONE)])}))
    made.later = Later(folder)
    return made


async def erase(instance, **arguments):
    return await table.run_local(instance, "erase", Request(arguments, "ann", ALL, no_data))


@contextlib.asynccontextmanager
async def at_work(instance):
    running = asyncio.create_task(instance.later.run(instance))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def put(waiting, host, arguments):
    """Whether it waits now, as after a command that did not get there."""
    await waiting.begin([(host, arguments)], "ann@hq")
    await waiting.ended(host, arguments, "ann@hq", over=False)
    return waiting.keeps(host, arguments, "ann@hq")


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_host_that_was_away_erases_when_it_is_back(tmp_path):
    hq = center(tmp_path)
    said = await erase(hq, uuid=CALL.hex())
    assert said["records"] == 1 and said["missed"][0]["later"] is True and "not connected" in said["missed"][0]["error"]
    assert (tmp_path / later.FILE).stat().st_mode & 0o777 == 0o600
    again = center(tmp_path)  # another process
    assert again.later.waiting == hq.later.waiting and len(again.later.waiting) == 1
    one = Instance(ONE, "one", pool=Pool({PART: 9}))
    async with at_work(again), joined(one.board, again.board, uuid=ONE, name="one", central=HQ):
        await until(lambda: json.loads((tmp_path / later.FILE).read_text()) == [])
    assert one.pool.done == [("erase", PART)] and not one.pool.calls and not again.later.waiting
    assert again.audit == [("erase", {"who": "ann@hq", "sensor": "one", "call": PART.hex(), "result": "ok"})]
    assert one.audit[0][1]["who"] == "ann@hq"


async def test_a_number_waits_too_and_is_on_no_record(tmp_path):
    hq = center(tmp_path)
    said = await erase(hq, number="+4930123456")
    assert [one["later"] for one in said["missed"]] == [True]
    one = Instance(ONE, "one", pool=Pool({}))
    async with at_work(hq), joined(one.board, hq.board, uuid=ONE, name="one", central=HQ):
        await until(lambda: not hq.later.waiting)
    assert one.pool.done == [("erase", "+4930123456")] and "4930123456" not in repr(hq.audit)


async def test_who_says_no_himself_is_not_asked_again(tmp_path, caplog):
    hq, one = center(tmp_path), Instance(ONE, "one", pool=Pool({}))
    async with joined(one.board, hq.board, uuid=ONE, name="one", central=HQ):
        said = await erase(hq, uuid=CALL.hex())
    assert said["missed"][0]["later"] is False and not hq.later.waiting
    await put(hq.later, ONE, {"uuid": PART.hex(), "here": True})
    async with at_work(hq), joined(one.board, hq.board, uuid=ONE, name="one", central=HQ):
        await until(lambda: not hq.later.waiting)
    assert "one: what was to be erased there while it was away is not: " in caplog.text
    assert hq.audit[-1][1]["result"] == "failed"


async def test_who_breaks_off_is_asked_again(tmp_path):
    hq, one, times = center(tmp_path), Instance(ONE, "one"), []

    async def answers(command, arguments, who, send):
        times.append(command)
        if len(times) < 3:
            raise Unreached("the one behind is away")
        return {"done": [], "missed": []}

    one.board._answers = answers
    await put(hq.later, ONE, {"number": "5"})
    async with at_work(hq), joined(one.board, hq.board, uuid=ONE, name="one", central=HQ):
        await until(lambda: not hq.later.waiting)
    assert times == ["erase"] * 3


async def test_that_a_host_further_on_is_away_is_known_through_others(tmp_path):
    """The sentence comes from the relay, and it is not that host which says no."""
    hq, relay = Instance(HQ, "hq"), Instance(RELAY, "relay")
    async with joined(relay.board, hq.board, uuid=RELAY, name="relay", central=HQ):
        hq.board.routes.behind(RELAY, hq.board.routes.find(RELAY), _behind())
        with pytest.raises(Unreached, match="not connected to relay"):
            await hq.board.ask(ONE, "version", {}, "x", no_data)


async def test_a_host_that_never_answers_keeps_no_other_waiting(tmp_path, monkeypatch):
    """One of an older release, of which nobody knows whether it will ever say anything."""
    monkeypatch.setattr(later, "AT_ONCE", 2)
    hq, one, times = center(tmp_path), Instance(ONE, "one", pool=Pool({PART: 9})), []
    ask_of = hq.board.ask

    async def ask(uuid, *more):
        if uuid == ONE:
            return await ask_of(uuid, *more)
        times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.3)
        raise Unreached("old: no answer")

    monkeypatch.setattr(hq.board, "ask", ask)
    for number in range(3):
        await put(hq.later, RELAY, {"uuid": bytes([number] * 16).hex(), "here": True})
    await put(hq.later, ONE, {"uuid": PART.hex(), "here": True})
    async with (joined(Instance(RELAY, "old").board, hq.board, uuid=RELAY, name="old", central=HQ),
                joined(one.board, hq.board, uuid=ONE, name="one", central=HQ), at_work(hq)):  # fmt: skip
        await until(lambda: one.pool.done)
        assert len(times) == 1
        await until(lambda: len(times) == 3)
    assert times[1] - times[0] > 0.35 and times[2] - times[1] > 0.45  # silence and a pause, which doubles
    assert len(hq.later.waiting) == 3


async def test_as_many_hosts_as_may_be_are_asked_at_a_time_the_others_after_them(tmp_path, monkeypatch):
    monkeypatch.setattr(later, "AT_ONCE", 2)
    hq, most, now = center(tmp_path), [], set()

    async def ask(uuid, *_):
        now.add(uuid)
        most.append(len(now))
        await asyncio.sleep(0.03)
        now.discard(uuid)
        return {"done": [], "missed": []}

    monkeypatch.setattr(hq.board, "ask", ask)
    monkeypatch.setattr(hq.board.routes, "get", lambda uuid: SimpleNamespace(uuid=uuid, name="x", way=lambda: True))
    for number in range(7):
        await put(hq.later, bytes([number] * 16), {"uuid": PART.hex(), "here": True})
    async with at_work(hq):
        await until(lambda: not hq.later.waiting)
    assert max(most) == 2 and len(most) == 7


async def test_who_asks_may_leave_and_it_is_erased_all_the_same(tmp_path):
    hq, one = center(tmp_path), Instance(ONE, "one", pool=Pool({PART: 9}))
    begun, go, erases = asyncio.Event(), asyncio.Event(), one.pool.erase

    async def slow(what):
        begun.set()
        await go.wait()
        return await erases(what)

    one.pool.erase = slow
    async with joined(one.board, hq.board, uuid=ONE, name="one", central=HQ):
        asking = asyncio.create_task(erase(hq, uuid=CALL.hex()))
        await begun.wait()
        assert Later(tmp_path).waiting == hq.later.waiting != []  # on the disk before anybody was asked
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not one.pool.done
        async with at_work(hq):  # what a command is about is not asked twice
            await asyncio.sleep(0.1)
        go.set()
        await until(lambda: not hq.later.waiting and len(hq.audit) == 2)
    assert one.pool.done == [("erase", PART)] and Later(tmp_path).waiting == []
    assert [(fields["sensor"], fields["result"]) for _, fields in hq.audit] == [("hq", "ok"), ("one", "ok")]


async def test_what_was_not_done_when_this_instance_ended_is_done_after_the_next_start(tmp_path):
    hq, one = center(tmp_path), Instance(ONE, "one", pool=Pool({PART: 9}))

    begun = asyncio.Event()

    async def slow(what):
        begun.set()
        await asyncio.sleep(60)

    erases, one.pool.erase = one.pool.erase, slow
    async with joined(one.board, hq.board, uuid=ONE, name="one", central=HQ):
        asking = asyncio.create_task(erase(hq, uuid=CALL.hex()))
        await begun.wait()
        for task in list(tasks._going):  # as at the end of the process
            task.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert hq.audit[-1][1] == {"who": "ann", "sensor": "one", "call": CALL.hex(), "result": "left"}
    again, one.pool.erase = center(tmp_path), erases
    async with at_work(again), joined(one.board, again.board, uuid=ONE, name="one", central=HQ):
        await until(lambda: not again.later.waiting)
    assert one.pool.done == [("erase", PART)]


async def test_records_that_a_host_had_to_send_are_erased_after_it_has_erased(tmp_path):
    hq, one, away = center(tmp_path), Instance(ONE, "one", pool=Pool({})), []
    store = hq.stored.store

    def erase_of(uuid, number):
        if not away:
            away.append(1)
            raise VoipfleetError("database: is away")
        store.done.append((uuid, number, list(one.pool.done)))
        return []

    await put(hq.later, ONE, {"number": "5"})
    store.erase = erase_of
    async with at_work(hq), joined(one.board, hq.board, uuid=ONE, name="one", central=HQ):
        await until(lambda: not hq.later.waiting)
    assert store.done == [(None, "5", [("erase", "5")] * 2)]  # the first time the database did not answer


def _behind():
    from voipfleet.asking.messages import Behind
    from voipfleet.records.messages import Status

    return Behind(ONE, [RELAY], "one", "", "", 0, Status("one", 0, "", "", "", 0, {}))


async def test_it_is_bounded_and_a_disk_that_refuses_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(later, "MAX_WAITING", 2)
    waiting = Later(tmp_path)
    assert [await put(waiting, ONE, {"number": text}) for text in ("1", "2", "2", "3")] == [True, True, True, False]
    assert [one["arguments"]["number"] for one in Later(tmp_path).waiting] == ["1", "2"]
    gone = Later(tmp_path / "gone")
    assert not await put(gone, ONE, {"number": "1"}) and not gone.waiting
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize(
    "text", ["[{", "5", "\x00", "[5]", '[{"sensor": "x", "arguments": {}, "who": ""}]', "[" * 9999]
)
def test_a_damaged_file_is_told(tmp_path, text, caplog):
    (tmp_path / later.FILE).write_text(text)
    assert Later(tmp_path).waiting == []
    assert "is damaged; what was to be erased" in caplog.text
