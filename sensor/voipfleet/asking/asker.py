"""The asking end of a session: questions out, answers in, never more of them than there is room for."""

import asyncio
import contextlib
import itertools
import json
from collections import deque
from collections.abc import Awaitable, Callable

from voipfleet.asking import messages
from voipfleet.asking.messages import Ask, Cancel, Data, End, More, Unreached
from voipfleet.errors import VoipfleetError
from voipfleet.harmless import harmless
from voipfleet.link import types
from voipfleet.link.session import LinkClosed

SILENCE = 90.0  # s without any word of the other end: it says at once that it works on a question
LONGEST = 1800.0  # s without a further word, and for a place; that the other end lives is what the session says
GRANT = messages.WINDOW // 4  # bytes that were taken before the other end is told
CANCEL_SECONDS = 1.0
MAX_OPEN = 64  # questions at once over one session, those included that wait for one of the AT_ONCE places

Send = Callable[[bytes], Awaitable[None]]
_decode_data, _decode_end = messages.decoder(Data), messages.decoder(End)


async def no_data(data: bytes) -> None:
    """Takes the data of an answer that has none."""


class _Open:
    """A question that has no end yet: what has come and was not taken, and what may still come."""

    def __init__(self):
        self.waiting: deque[Data | End] = deque()
        self.credit = messages.WINDOW
        self.taken = 0  # of the window, since the other end was told
        self.heard = False  # anything
        self.over = False  # nothing more is kept of what comes
        self.ended = False  # the other end has said so; until then it has a place there
        self.left = False  # nobody waits for it any more
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
        self._places, self._waiting = asyncio.Semaphore(messages.AT_ONCE), 0
        self._over = False

    async def ask(self, target: bytes, command: str, arguments: dict, who: str, send: Send, *, hops: int = 0) -> dict:
        """The result. What comes before it goes to `send`, and nothing more comes while that waits. VoipfleetError with
        the other end's sentence, or one of our own where there is no answer."""
        body = json.dumps(arguments).encode()
        if len(body) > messages.MAX_ARGUMENTS:
            raise VoipfleetError(f"{command}: its arguments are longer than {messages.MAX_ARGUMENTS} bytes; ask for"
                                 " less at once")  # fmt: skip
        await self._place()
        number, answer = next(self._numbers), _Open()
        self._open[number] = answer
        try:
            await self._say(types.ASK, Ask(number, target, command, body, who[:128], hops))
            while True:
                match await self._next(answer):
                    case Data(body=piece):
                        if piece:
                            await send(piece)
                        await self._grant(number, answer, messages.cost(piece))
                    case End() as end:
                        return self._result(end)
        finally:
            await self._leave(number, answer)

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
            return True  # it was given up, and this was on its way
        answer.heard = True
        if kind == types.END:
            answer.ended = True
            if answer.left:
                self._free(message.number)
        if answer.over:
            return True
        if kind == types.DATA:
            answer.credit -= messages.cost(message.body)
            if answer.credit < 0:
                message = End(message.number, f"{self.name} sends more than it was asked for; its answer is refused")
                answer.waiting.clear()
        answer.over = isinstance(message, End)
        answer.put(message)
        return True

    def ended(self) -> None:
        """The session is over, and with it every question."""
        self._over = True
        for number, answer in list(self._open.items()):
            answer.news.set()
            if answer.left:
                self._free(number)

    async def _place(self) -> None:
        """The other end works on so many at a time; the others wait here."""
        if len(self._open) + self._waiting >= MAX_OPEN:
            raise Unreached(f"{self.name}: {MAX_OPEN} questions wait for it already; try again later")
        self._waiting += 1
        try:
            async with asyncio.timeout(LONGEST):
                await self._places.acquire()
        except TimeoutError:
            raise Unreached(f"{self.name}: other questions to it took {LONGEST:g} s; try again later") from None
        finally:
            self._waiting -= 1
        if self._over:
            self._places.release()
            raise self._gone()

    async def _leave(self, number: int, answer: _Open) -> None:
        """Whoever asked is gone, or has what he wanted. The place is free once the other end has said END, else a while
        later."""
        answer.left = answer.over = True
        answer.waiting.clear()
        if answer.ended or self._over:
            self._free(number)
            return
        asyncio.get_running_loop().call_later(SILENCE, self._free, number)
        with contextlib.suppress(VoipfleetError, TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                await self._say(types.CANCEL, Cancel(number))

    def _free(self, number: int) -> None:
        if self._open.pop(number, None):
            self._places.release()

    async def _next(self, answer: _Open) -> Data | End:
        seconds = LONGEST if answer.heard else SILENCE
        try:
            async with asyncio.timeout(seconds):
                while not answer.waiting and not self._over:
                    answer.news.clear()
                    await answer.news.wait()
        except TimeoutError:
            why = "" if answer.heard else " (a release that cannot be asked says nothing)"
            raise Unreached(f"{self.name}: no answer within {seconds:g} s; see its log{why}") from None
        if not answer.waiting:
            raise self._gone()
        return answer.waiting.popleft()

    async def _grant(self, number: int, answer: _Open, cost: int) -> None:
        """What was taken may come anew, said from time to time."""
        answer.taken += cost
        if answer.taken >= GRANT:
            free, answer.taken = answer.taken, 0
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
