"""Ends of a session that do not keep to the rules, and large answers at once: little is kept, and nothing is late."""

import asyncio
import time
import tracemalloc

import pytest
from support.asked import session, until
from support.wires import pair
from voipfleet.asking import answerer as answering
from voipfleet.asking import messages
from voipfleet.asking.answerer import Answerer
from voipfleet.asking.asker import Asker
from voipfleet.asking.messages import Ask, Data, End, More
from voipfleet.errors import VoipfleetError
from voipfleet.link import types

TARGET = b"t" * 16


async def test_an_asker_that_never_grants_more_is_given_up(monkeypatch):
    monkeypatch.setattr(answering, "UNTAKEN", 0.1)
    ended = []

    async def run(ask, send):
        try:
            await send(bytes(10 * messages.WINDOW))
        finally:
            ended.append(ask.number)

    near, far = pair()
    answerer = Answerer(far, run)
    await answerer.take(types.ASK, messages.encode(Ask(1, TARGET, "fetch", b"{}", "x")))
    got = 0
    async for kind, body in near:
        if kind == types.END:
            end = messages.decoder(End)(body)
            break
        got += len(messages.decoder(Data)(body).body)
    assert got == messages.WINDOW and ended == [1]
    assert "nobody took anything of the answer" in end.error


async def test_more_credit_than_the_window_is_not_believed():
    sent = 0

    async def run(ask, send):
        nonlocal sent
        while True:
            await send(bytes(1000))
            sent += 1000

    _, far = pair()
    answerer = Answerer(far, run)
    far.other.inbox = asyncio.Queue()  # takes everything
    await answerer.take(types.ASK, messages.encode(Ask(1, TARGET, "fetch", b"{}", "x")))
    for _ in range(100):
        await answerer.take(types.MORE, messages.encode(More(1, messages.WINDOW)))
    await asyncio.sleep(0.3)
    assert sent <= 2 * messages.WINDOW
    await answerer.close()


async def test_who_sends_more_than_he_may_is_refused():
    near, _ = pair()
    asker = Asker(near, "branch1")
    hold = asyncio.Event()

    async def take(piece):
        await hold.wait()

    asked = asyncio.create_task(asker.ask(TARGET, "fetch", {}, "root", take))
    await asyncio.sleep(0.01)
    for _ in range(1000):
        asker.take(types.DATA, messages.encode(Data(1, bytes(messages.MAX_DATA))))
    waiting = asker._open[1].waiting
    assert sum(len(message.body) for message in waiting if isinstance(message, Data)) <= messages.WINDOW
    assert len(waiting) < 10
    hold.set()
    with pytest.raises(VoipfleetError, match="branch1 sends more than it was asked for"):
        await asked
    assert asker.take(types.DATA, messages.encode(Data(1, b"late")))  # of nothing that is open: passed over


async def test_a_number_twice_and_frames_of_nothing():
    async def run(ask, send):
        await asyncio.sleep(60)

    near, far = pair()
    answerer = Answerer(far, run)
    ask = messages.encode(Ask(1, TARGET, "probe", b"{}", "x"))
    await answerer.take(types.ASK, ask)
    await answerer.take(types.ASK, ask)
    kind, body = await anext(near)
    assert kind == types.END and "its number is in use" in messages.decoder(End)(body).error
    for kind, message in ((types.MORE, More(9, 5)), (types.CANCEL, messages.Cancel(9))):
        assert await answerer.take(kind, messages.encode(message))
    assert not await answerer.take(types.PING, b"")
    await answerer.take(types.CANCEL, messages.encode(messages.Cancel(1)))
    await until(lambda: not answerer._running)


async def test_a_command_that_is_cancelled_before_it_begins_leaves_its_place():
    async def run(ask, send):
        await asyncio.sleep(60)

    _, far = pair()
    answerer = Answerer(far, run)
    for number in range(3 * answering.AT_ONCE):
        await answerer.take(types.ASK, messages.encode(Ask(number, TARGET, "probe", b"{}", "x")))
        await answerer.take(types.CANCEL, messages.encode(messages.Cancel(number)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not answerer._running and not far.sent


async def test_ten_large_answers_at_once_cost_little_memory_and_records_go_between():
    """1 GiB is asked for ten times in parallel, of which four run; what else the session carries is not late."""
    piece = bytes(256 << 10)

    async def run(ask, send):
        for _ in range((1 << 30) // len(piece)):
            await send(piece)
        return {"bytes": 1 << 30}

    came, late = [], []

    def other(kind, body):
        late.append(time.monotonic() - float(body))
        came.append(kind)

    taken = 0

    async def take(data):
        nonlocal taken
        taken += len(data)

    tracemalloc.start()
    async with session(run, other=other) as (asker, _, _, far):
        asked = [asyncio.create_task(asker.ask(TARGET, "fetch", {}, "root", take)) for _ in range(10)]
        for _ in range(20):
            await asyncio.sleep(0.05)
            await far.send(types.ACK, str(time.monotonic()).encode())
        await until(lambda: len(came) == 20)
        _, peak = tracemalloc.get_traced_memory()
        refused = sum(task.done() for task in asked)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    tracemalloc.stop()
    assert refused == 6 and taken > 4 * messages.WINDOW
    assert peak < 8 << 20
    assert max(late) < 0.5, late
