"""The answering end of a session: a closed table's commands, few at once, their data only as fast as it is taken.

Records go first: while some wait, answers give way but for one piece a second.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable

from voipfleet.asking import messages
from voipfleet.asking.messages import Ask, Cancel, Data, End, More, Unreached
from voipfleet.errors import VoipfleetError
from voipfleet.link import types
from voipfleet.link.session import LinkClosed
from voipfleet.tasks import end_all

log = logging.getLogger("voipfleet.asking")
UNTAKEN = 60.0  # s that an answer waits for room at the other end before it is given up
GIVE_WAY = 1.0  # s between pieces while records wait
LOOK = 0.05  # s between looks whether they still do

Send = Callable[[bytes], Awaitable[None]]
Run = Callable[[Ask, Send], Awaitable[dict]]
_decode_ask, _decode_more, _decode_cancel = map(messages.decoder, (Ask, More, Cancel))


class _Running:
    def __init__(self):
        self.work: asyncio.Task  # the command, which the other end may cancel
        self.task: asyncio.Task  # what is said of it, until its END is sent
        self.credit = messages.WINDOW - messages.MIN_COST  # the first word has its price too
        self.more = asyncio.Event()


class Answerer:
    """On `session`. `run(ask, send)` does what is asked and gives the result, or raises VoipfleetError with a sentence;
    `busy()`: whether records wait to be sent. Whoever reads the session gives `take` its frames."""

    def __init__(self, session, run: Run, *, busy: Callable[[], bool] = lambda: False):
        self._session, self._run, self._busy = session, run, busy
        self._running: dict[int, _Running] = {}
        self._turn, self._last = asyncio.Lock(), 0.0

    async def take(self, kind: int, body: bytes) -> bool:
        """Whether the frame asks something. MsgspecError or UnicodeDecodeError for a malformed one."""
        if kind == types.ASK:
            await self._begin(_decode_ask(body))
        elif kind == types.MORE:
            more = _decode_more(body)
            if found := self._running.get(more.number):
                found.credit = min(messages.WINDOW, found.credit + more.credit)
                found.more.set()
        elif kind == types.CANCEL:
            if found := self._running.get(_decode_cancel(body).number):
                found.work.cancel()
        else:
            return False
        return True

    async def close(self) -> None:
        """The session is over: so is whatever was done for it."""
        await end_all(*(task for running in self._running.values() for task in (running.work, running.task)))

    async def _begin(self, ask: Ask) -> None:
        """Refusals are sent by who reads, so that a peer which takes nothing is not read on either."""
        if ask.number in self._running:
            await self._end(End(ask.number, f"{ask.command}: its number is in use; number questions anew"))
        elif len(self._running) >= messages.AT_ONCE:
            fault = f"{messages.AT_ONCE} commands run already over this connection; try again later"
            await self._end(End(ask.number, fault, unreached=True))
        else:
            running = self._running[ask.number] = _Running()
            running.work = asyncio.create_task(self._work(ask, running))
            running.task = asyncio.create_task(self._answer(ask, running))
            running.task.add_done_callback(lambda _: self._running.pop(ask.number))  # also if it never began

    async def _answer(self, ask: Ask, running: _Running) -> None:
        """That it is being worked on, and its end. Until that has left it counts: also whoever cancels may not ask
        faster than he takes answers."""
        try:
            await self._session.send(types.DATA, messages.encode(Data(ask.number, b"")))
            await asyncio.wait({running.work})
            cancelled = running.work.cancelled()
            await self._end(End(ask.number, f"{ask.command}: cancelled") if cancelled else running.work.result())
        except LinkClosed:
            running.work.cancel()  # who reads says why

    async def _work(self, ask: Ask, running: _Running) -> End:
        async def send(data: bytes) -> None:
            await self._send(ask.number, running, data)

        try:
            return self._ended(ask, await self._run(ask, send))
        except VoipfleetError as error:
            return End(ask.number, str(error)[: messages.MAX_SENTENCE], unreached=isinstance(error, Unreached))
        except LinkClosed:
            return End(ask.number, "the connection ended")  # who reads says why
        except Exception as error:
            log.exception("command %s failed unexpectedly", ask.command[:32])
            fault = f"{ask.command}: internal error ({type(error).__name__}); its log has more, report it"
            return End(ask.number, fault)

    @staticmethod
    def _ended(ask: Ask, result: dict) -> End:
        body = json.dumps(result).encode()
        if len(body) > messages.MAX_RESULT:
            raise VoipfleetError(f"{ask.command}: the answer has {len(body)} bytes, more than a link takes at once; ask"
                                 " for less, or on that host")  # fmt: skip
        return End(ask.number, "", body)

    async def _send(self, number: int, running: _Running, data: bytes) -> None:
        at = 0
        while at < len(data):
            await self._room(running)
            piece = data[at : at + min(running.credit, messages.MAX_DATA)]
            running.credit -= messages.cost(piece)
            at += len(piece)
            await self._give_way()
            await self._session.send(types.DATA, messages.encode(Data(number, bytes(piece))))

    async def _room(self, running: _Running) -> None:
        try:
            async with asyncio.timeout(UNTAKEN):
                while running.credit < messages.MIN_COST:
                    running.more.clear()
                    await running.more.wait()
        except TimeoutError:
            raise VoipfleetError(f"nobody took anything of the answer for {UNTAKEN:g} s; ask again") from None

    async def _give_way(self) -> None:
        """Pieces of all answers of this session take turns."""
        async with self._turn:
            while self._busy() and time.monotonic() - self._last < GIVE_WAY:
                await asyncio.sleep(LOOK)
            self._last = time.monotonic()

    async def _end(self, end: End) -> None:
        await self._session.send(types.END, messages.encode(end))
