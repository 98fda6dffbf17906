"""The asking end of a session: questions out, answers in, never more of them than there is room for."""

import asyncio
import contextlib
import itertools
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from voipfleet.asking import messages
from voipfleet.asking.messages import Ask, Cancel, Data, End, More, Unreached
from voipfleet.errors import VoipfleetError
from voipfleet.harmless import harmless
from voipfleet.link import types
from voipfleet.link.session import LinkClosed

log = logging.getLogger("voipfleet.asking")
SILENCE = 90.0  # s without a word of an answer before it is given up
GRANT = messages.WINDOW // 4  # bytes that were taken before the other end is told
CANCEL_SECONDS = 1.0
MAX_OPEN = 64  # questions at once over one session; the other end answers four of them at a time

Send = Callable[[bytes], Awaitable[None]]
_decode_data, _decode_end = messages.decoder(Data), messages.decoder(End)


async def no_data(data: bytes) -> None:
    """Takes the data of an answer that has none."""


class _Open:
    """A question that has no end yet: what has come and was not taken, and what may still come."""

    def __init__(self):
        self.waiting: deque[Data | End] = deque()
        self.credit = messages.WINDOW
        self.news = asyncio.Event()

    def put(self, message: Data | End) -> None:
        self.waiting.append(message)
        self.news.set()


class Asker:
    """Of the session with `name`. Whoever reads the session gives `take` the frames, and calls `ended` at its end."""

    def __init__(self, session, name: str):
        self._session, self.name = session, name
        self._numbers = itertools.count(1)
        self._open: dict[int, _Open] = {}
        self._over = False

    async def ask(self, target: bytes, command: str, arguments: dict, who: str, send: Send, *, hops: int = 0) -> dict:
        """The result. What comes before it goes to `send`, and nothing more comes while that waits. VoipfleetError with
        the other end's sentence, or one of our own where there is no answer."""
        body = json.dumps(arguments).encode()
        if len(body) > messages.MAX_ARGUMENTS:
            raise VoipfleetError(f"{command}: its arguments are longer than {messages.MAX_ARGUMENTS} bytes; ask for"
                                 " less at once")  # fmt: skip
        if len(self._open) >= MAX_OPEN:
            raise Unreached(f"{self.name}: {MAX_OPEN} questions wait for it already; try again later")
        if self._over:
            raise self._gone()
        number, answer = next(self._numbers), _Open()
        self._open[number] = answer
        ended = False
        try:
            await self._say(types.ASK, Ask(number, target, command, body, who[:128], hops))
            while True:
                match await self._next(answer):
                    case Data(body=piece):
                        await send(piece)
                        await self._grant(number, answer)
                    case End() as end:
                        ended = True
                        return self._result(end)
        finally:
            del self._open[number]
            if not ended and not self._over:
                with contextlib.suppress(VoipfleetError, TimeoutError):
                    async with asyncio.timeout(CANCEL_SECONDS):
                        await self._say(types.CANCEL, Cancel(number))

    def take(self, kind: int, body: bytes) -> bool:
        """Whether the frame is of an answer. MsgspecError or UnicodeDecodeError for a malformed one."""
        if kind == types.DATA:
            message = _decode_data(body)
        elif kind == types.END:
            message = _decode_end(body)
        else:
            return False
        answer = self._open.get(message.number)
        if answer is None:
            return True  # it was cancelled, and this was on its way
        if kind == types.DATA:
            answer.credit -= len(message.body)
            if answer.credit < 0 or not message.body:
                message = End(message.number, f"{self.name} sends more than it was asked for; its answer is refused")
                answer.waiting.clear()
        answer.put(message)
        return True

    def ended(self) -> None:
        """The session is over, and with it every question."""
        self._over = True
        for answer in self._open.values():
            answer.news.set()

    async def _next(self, answer: _Open) -> Data | End:
        try:
            async with asyncio.timeout(SILENCE):
                while not answer.waiting and not self._over:
                    answer.news.clear()
                    await answer.news.wait()
        except TimeoutError:
            raise Unreached(f"{self.name}: no answer within {SILENCE:g} s; see its log (a release that cannot be"
                                 " asked says nothing)") from None  # fmt: skip
        if not answer.waiting:
            raise self._gone()
        return answer.waiting.popleft()

    async def _grant(self, number: int, answer: _Open) -> None:
        """What was taken may come anew, said from time to time."""
        waiting = sum(len(message.body) for message in answer.waiting if isinstance(message, Data))
        free = messages.WINDOW - answer.credit - waiting
        if free >= GRANT:
            answer.credit += free
            await self._say(types.MORE, More(number, free))

    def _result(self, end: End) -> dict:
        if end.error:
            raise (Unreached if end.unreached else VoipfleetError)(harmless(end.error))
        try:
            return messages.json_object(end.body)
        except ValueError:
            raise VoipfleetError(f"{self.name}: its answer is no JSON object; another release may run there") from None

    def _gone(self) -> Unreached:
        return Unreached(f"{self.name}: the connection ended before the answer did; ask again once it is back")

    async def _say(self, kind: int, message) -> None:
        try:
            await self._session.send(kind, messages.encode(message))
        except (LinkClosed, OSError):
            raise self._gone() from None
