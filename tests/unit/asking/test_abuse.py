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
from voipfleet.asking.asker import Asker, no_data
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
    assert got == messages.WINDOW - messages.MIN_COST and ended == [1]  # the first word took that
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
    assert [type(message) for message in waiting] == [End]
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

    near, far = pair()
    answerer = Answerer(far, run)
    for number in range(3 * messages.AT_ONCE):
        await answerer.take(types.ASK, messages.encode(Ask(number, TARGET, "probe", b"{}", "x")))
        await answerer.take(types.CANCEL, messages.encode(messages.Cancel(number)))
        kinds = [await anext(near) for _ in range(2)]
        assert [kind for kind, _ in kinds] == [types.DATA, types.END]
        assert messages.decoder(End)(kinds[1][1]) == End(number, "probe: cancelled")
        await until(lambda: not answerer._running)


class Stuck:
    """A session whose other end reads nothing; `out`: what waits for it."""

    def __init__(self):
        self.out = []

    async def send(self, kind, body=b""):
        self.out.append(body)
        await asyncio.Event().wait()


@pytest.mark.parametrize("cancel", [False, True])
async def test_answers_to_a_peer_that_reads_nothing_are_few_and_end_with_the_session(cancel):
    async def run(ask, send):
        if ask.number % 2:
            await send(bytes(messages.MAX_DATA))
        return {"x": "y" * 400_000}

    session, before = Stuck(), asyncio.all_tasks()
    answerer = Answerer(session, run)

    async def read():
        for number in range(300):
            await answerer.take(types.ASK, messages.encode(Ask(number, TARGET, "active", b"{}", "x")))
            await asyncio.sleep(0)
            if cancel:
                await answerer.take(types.CANCEL, messages.encode(messages.Cancel(number)))
                await asyncio.sleep(0)

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.2)
    assert not reading.done()  # the fifth question is not read past
    assert len(answerer._running) == messages.AT_ONCE and sum(map(len, session.out)) < 4 * (600 << 10)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await answerer.close()
    assert asyncio.all_tasks() == before and not answerer._running


async def test_a_place_is_free_when_the_end_has_left():
    release = asyncio.Event()

    class Slow(Stuck):
        async def send(self, kind, body=b""):
            self.out.append(kind)
            if kind == types.END:
                await release.wait()

    async def run(ask, send):
        return {}

    session = Slow()
    answerer = Answerer(session, run)
    ask = messages.encode(Ask(1, TARGET, "active", b"{}", "x"))
    await answerer.take(types.ASK, ask)
    await until(lambda: types.END in session.out)
    assert list(answerer._running) == [1]
    await answerer.take(types.CANCEL, messages.encode(messages.Cancel(1)))  # it is on its way already
    again = asyncio.create_task(answerer.take(types.ASK, ask))
    await asyncio.sleep(0.05)
    assert session.out == [types.DATA, types.END, types.END]  # the second one: its number is in use
    release.set()
    await again
    await until(lambda: not answerer._running)
    await answerer.take(types.ASK, ask)
    await until(lambda: session.out.count(types.END) == 3)


async def test_tiny_pieces_are_few():
    """A piece of one byte takes 1 KiB of the room, so that no more than 256 wait."""
    near, _ = pair()
    asker = Asker(near, "branch1")
    asked = asyncio.create_task(asker.ask(TARGET, "fetch", {}, "root", no_data))
    await asyncio.sleep(0.01)
    piece, most = messages.encode(Data(1, b"x")), 0
    for _ in range(5000):
        asker.take(types.DATA, piece)
        most = max(most, len(asker._open[1].waiting))
    assert most == messages.WINDOW // messages.MIN_COST
    with pytest.raises(VoipfleetError, match="branch1 sends more than it was asked for"):
        await asked


async def test_tiny_pieces_that_are_taken_go_on():
    async def run(ask, send):
        for _ in range(3000):
            await send(b"x")
        return {}

    got = bytearray()

    async def take(piece):
        got.extend(piece)

    async with session(run) as (asker, *_):
        assert await asker.ask(TARGET, "fetch", {}, "root", take) == {}
    assert got == b"x" * 3000


async def test_of_many_ends_one_is_kept():
    near, _ = pair()
    asker = Asker(near, "branch1")
    hold = asyncio.Event()

    async def take(piece):
        await hold.wait()

    asked = asyncio.create_task(asker.ask(TARGET, "fetch", {}, "root", take))
    await asyncio.sleep(0.01)
    asker.take(types.DATA, messages.encode(Data(1, b"x")))
    await asyncio.sleep(0.01)
    for number in range(100):
        asker.take(types.END, messages.encode(End(1, "", b'{"n": %d}' % number)))
        asker.take(types.DATA, messages.encode(Data(1, b"x")))
    assert len(asker._open[1].waiting) == 1
    hold.set()
    assert await asked == {"n": 0} and not asker._open


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
    async with session(run, other=other) as (asker, answerer, _, far):
        asked = [asyncio.create_task(asker.ask(TARGET, "fetch", {}, "root", take)) for _ in range(10)]
        for _ in range(20):
            await asyncio.sleep(0.05)
            await far.send(types.ACK, str(time.monotonic()).encode())
        await until(lambda: len(came) == 20)
        _, peak = tracemalloc.get_traced_memory()
        at_once = len(answerer._running)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    tracemalloc.stop()
    assert at_once == 4 and taken > 4 * messages.WINDOW
    assert peak < 8 << 20
    assert max(late) < 0.5, late
