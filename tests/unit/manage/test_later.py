"""What is to be erased on a host that is away is erased when it is back, once, over restarts."""

import asyncio
import contextlib
import json

import pytest
from support.instances import Instance, Pool, Store
from support.joined import joined
from voipfleet.asking.asker import no_data
from voipfleet.asking.messages import Unreached
from voipfleet.calls.record import CallRecord
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
        await until(lambda: not again.later.waiting)
    assert one.pool.done == [("erase", PART)] and not one.pool.calls
    assert again.audit == [("erase", {"who": "ann@hq", "sensor": "one", "call": PART.hex(), "result": "ok"})]
    assert one.audit[0][1]["who"] == "ann@hq"
    assert json.loads((tmp_path / later.FILE).read_text()) == []


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
    hq.later.add(ONE, {"uuid": PART.hex(), "here": True}, "ann@hq")
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
    hq.later.add(ONE, {"number": "5"}, "ann@hq")
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


def _behind():
    from voipfleet.asking.messages import Behind
    from voipfleet.records.messages import Status

    return Behind(ONE, [RELAY], "one", "", "", 0, Status("one", 0, "", "", "", 0, {}))


def test_it_is_bounded_and_a_disk_that_refuses_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(later, "MAX_WAITING", 2)
    waiting = Later(tmp_path)
    assert [waiting.add(ONE, {"number": text}, "x") for text in ("1", "2", "2", "3")] == [True, True, True, False]
    assert [one["arguments"]["number"] for one in Later(tmp_path).waiting] == ["1", "2"]
    gone = Later(tmp_path / "gone")
    assert not gone.add(ONE, {"number": "1"}, "x") and not gone.waiting
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize("text", ["[{", "5", "\x00"])
def test_a_damaged_file_is_told(tmp_path, text, caplog):
    (tmp_path / later.FILE).write_text(text)
    assert Later(tmp_path).waiting == []
    assert "is damaged; what was to be erased" in caplog.text
