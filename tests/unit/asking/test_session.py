"""Both ends of asking over one session: answers whole, within credit, cancelled, refused, and below records."""

import asyncio
import hashlib
import itertools
import json
import os
import time

import pytest
from support.asked import session, until
from support.wires import pair
from voipfleet.asking import answerer as answering
from voipfleet.asking import asker as asking
from voipfleet.asking import messages
from voipfleet.asking.asker import no_data
from voipfleet.errors import VoipfleetError
from voipfleet.link import types

TARGET = b"t" * 16


async def test_a_result_and_an_error_in_words():
    async def run(ask, send):
        if ask.command == "no":
            raise VoipfleetError("not today; come back tomorrow")
        if ask.command == "defect":
            raise RuntimeError("secret")
        return {"heard": messages.json_object(ask.arguments), "who": ask.who, "target": ask.target.hex()}

    async with session(run) as (asker, *_):
        said = await asker.ask(TARGET, "status", {"x": 1}, "root@hq", no_data)
        assert said == {"heard": {"x": 1}, "who": "root@hq", "target": TARGET.hex()}
        with pytest.raises(VoipfleetError, match=r"^not today; come back tomorrow$"):
            await asker.ask(TARGET, "no", {}, "root", no_data)
        with pytest.raises(VoipfleetError, match=r"defect: internal error \(RuntimeError\)") as error:
            await asker.ask(TARGET, "defect", {}, "root", no_data)
        assert "secret" not in str(error.value)


async def test_data_arrives_whole_and_in_order_within_the_window():
    data = os.urandom(3_000_000)

    async def run(ask, send):
        for at in range(0, len(data), 100_001):
            await send(data[at : at + 100_001])
        return {"digest": hashlib.blake2b(data).hexdigest()}

    got = bytearray()

    async def take(piece):
        got.extend(piece)
        await asyncio.sleep(0)

    async with session(run) as (asker, _, _, far):
        said = await asker.ask(TARGET, "fetch", {}, "root", take)
        assert bytes(got) == data and said["digest"] == hashlib.blake2b(got).hexdigest()
        assert max(size for kind, size in far.sent if kind == types.DATA) <= messages.MAX_DATA + 20


async def test_nothing_more_is_sent_than_there_is_room_for():
    sent = 0

    async def run(ask, send):
        nonlocal sent
        while True:
            await send(bytes(50_000))
            sent += 50_000

    hold = asyncio.Event()

    async def take(piece):
        await hold.wait()

    async with session(run) as (asker, answerer, *_):
        asked = asyncio.create_task(asker.ask(TARGET, "fetch", {}, "root", take))
        await asyncio.sleep(0.2)
        assert messages.WINDOW - 50_000 <= sent <= messages.WINDOW
        hold.set()
        await until(lambda: sent > 4 * messages.WINDOW)
        asked.cancel()
        await until(lambda: not answerer._running)


async def test_who_is_gone_is_not_answered_any_more():
    ended = []

    async def run(ask, send):
        try:
            while True:
                await send(bytes(1000))
        finally:
            ended.append(ask.number)

    async with session(run) as (asker, answerer, *_):
        asked = asyncio.create_task(asker.ask(TARGET, "fetch", {}, "root", no_data))
        await asyncio.sleep(0.05)
        asked.cancel()
        await until(lambda: ended)
        await until(lambda: not answerer._running and not asker._open)


async def test_a_taker_that_fails_cancels_the_answer():
    async def leave(piece):
        raise ConnectionError("left")

    async def run(ask, send):
        while True:
            await send(bytes(1000))

    async with session(run) as (asker, answerer, *_):
        with pytest.raises(ConnectionError):
            await asker.ask(TARGET, "fetch", {}, "root", leave)
        await until(lambda: not answerer._running)


async def test_the_end_of_the_session_is_an_error_in_words():
    async def run(ask, send):
        await asyncio.sleep(60)

    async with session(run) as (asker, _, near, _):
        asked = asyncio.create_task(asker.ask(TARGET, "status", {}, "root", no_data))
        await asyncio.sleep(0.05)
        await near.close()
        with pytest.raises(VoipfleetError, match="branch1: the connection ended before the answer did; ask again"):
            await asked
        with pytest.raises(VoipfleetError, match="the connection ended"):
            await asker.ask(TARGET, "status", {}, "root", no_data)


async def test_silence_is_an_error_in_words(monkeypatch):
    monkeypatch.setattr(asking, "SILENCE", 0.05)
    near, _ = pair()  # whose other end knows nothing of questions
    asker = asking.Asker(near, "branch1")
    for _ in range(2 * messages.AT_ONCE):
        with pytest.raises(VoipfleetError, match=r"^branch1: no answer within 0.05 s; .* cannot be asked says nothing"):
            await asker.ask(TARGET, "status", {}, "root", no_data)
        await asyncio.wait_for(anext(near.other), 1)
        await asyncio.wait_for(anext(near.other), 1)
    await until(lambda: not asker._open)


async def test_what_takes_long_is_waited_for(monkeypatch):
    monkeypatch.setattr(asking, "SILENCE", 0.05)
    monkeypatch.setattr(asking, "LONGEST", 0.5)

    async def run(ask, send):
        await asyncio.sleep(json.loads(ask.arguments)["seconds"])
        return {}

    async with session(run) as (asker, answerer, *_):
        assert await asker.ask(TARGET, "erase", {"seconds": 0.3}, "root", no_data) == {}
        with pytest.raises(VoipfleetError, match=r"^branch1: no answer within 0.5 s; see its log$"):
            await asker.ask(TARGET, "erase", {"seconds": 60}, "root", no_data)
        await until(lambda: not answerer._running)  # it was cancelled there


async def test_few_commands_at_once_and_the_others_wait():
    at_once = most = 0

    async def run(ask, send):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.05)
        at_once -= 1
        return {"number": ask.number}

    async with session(run) as (asker, *_):
        asked = [asyncio.create_task(asker.ask(TARGET, "probe", {}, "root", no_data)) for _ in range(13)]
        assert [await task for task in asked] == [{"number": number} for number in range(1, 14)]
    assert most == messages.AT_ONCE


async def test_who_asks_anew_after_many_that_he_cancelled_is_not_refused():
    async def run(ask, send):
        await asyncio.sleep(60 if ask.command == "long" else 0)
        return {}

    async with session(run) as (asker, *_):
        for _ in range(5):
            asked = [asyncio.create_task(asker.ask(TARGET, "long", {}, "root", no_data)) for _ in range(6)]
            await asyncio.sleep(0.01)
            for task in asked:
                task.cancel()
            more = [asyncio.create_task(asker.ask(TARGET, "short", {}, "root", no_data)) for _ in range(6)]
            assert [await task for task in more] == [{}] * 6
            await asyncio.gather(*asked, return_exceptions=True)
        await until(lambda: not asker._open)


async def test_who_waits_for_a_place_is_told_of_the_end_of_the_session_and_of_too_long_a_wait(monkeypatch):
    async def run(ask, send):
        await asyncio.sleep(60)

    async with session(run) as (asker, _, near, _):
        asked = [asyncio.create_task(asker.ask(TARGET, "probe", {}, "root", no_data)) for _ in range(6)]
        await asyncio.sleep(0.02)
        monkeypatch.setattr(asking, "LONGEST", 0.02)
        with pytest.raises(VoipfleetError, match=r"^branch1: other questions to it took 0.02 s; try again later$"):
            await asker.ask(TARGET, "probe", {}, "root", no_data)
        await near.close()
        for task in asked:
            with pytest.raises(VoipfleetError, match="branch1: the connection ended"):
                await task
    assert not asker._open and not asker._waiting


async def test_questions_that_wait_are_bounded_too(monkeypatch):
    monkeypatch.setattr(asking, "MAX_OPEN", 2)

    async def run(ask, send):
        await asyncio.sleep(60)

    async with session(run) as (asker, *_):
        asked = [asyncio.create_task(asker.ask(TARGET, "probe", {}, "root", no_data)) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(VoipfleetError, match="2 questions wait for it already"):
            await asker.ask(TARGET, "probe", {}, "root", no_data)
        for task in asked:
            task.cancel()


async def test_arguments_and_results_that_are_too_long_are_sentences():
    async def run(ask, send):
        return {"x": "y" * (messages.MAX_RESULT + 1)}

    async with session(run) as (asker, *_):
        with pytest.raises(VoipfleetError, match="its arguments are longer than 16384 bytes"):
            await asker.ask(TARGET, "status", {"x": "y" * 20_000}, "root", no_data)
        with pytest.raises(VoipfleetError, match="more than a link takes at once"):
            await asker.ask(TARGET, "status", {}, "root", no_data)


async def test_while_records_wait_one_piece_a_second(monkeypatch):
    monkeypatch.setattr(answering, "GIVE_WAY", 0.3)
    monkeypatch.setattr(answering, "LOOK", 0.01)
    waiting = True

    async def run(ask, send):
        await send(bytes(10 * messages.MAX_DATA))
        return {}

    times = []

    async def take(piece):
        times.append(time.monotonic())

    async with session(run, busy=lambda: waiting) as (asker, *_):
        asked = [asyncio.create_task(asker.ask(TARGET, "fetch", {}, "root", take)) for _ in range(3)]
        await asyncio.sleep(1.0)
        assert 2 <= len(times) <= 5  # of all three together
        assert min(later - earlier for earlier, later in itertools.pairwise(times)) > 0.1
        waiting = False
        await asyncio.gather(*asked)
        assert len(times) >= 30 and times[-1] - times[5] < 1.0
