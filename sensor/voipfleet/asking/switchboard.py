"""All of an instance's asking: the lines of its sessions, what its sources say of themselves, and who answers.

A session whose client is a sensor has two ends: the sensor's answers (`client`), the other one asks (`server`). What a
host that is connected here says of itself goes on over this instance's own uplinks, so that a central sees hosts that
are behind others, and can ask them.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import msgspec

from voipfleet.asking import messages
from voipfleet.asking.answerer import Answerer, Send
from voipfleet.asking.asker import Asker
from voipfleet.asking.messages import MAX_HOPS, Ask, Behind, Unreached
from voipfleet.asking.routes import Routes
from voipfleet.link import keys, types
from voipfleet.records.messages import Status

TOLD_EVERY = 5.0  # s between two words of one host behind this one
LOOK = 1.0  # s
MAX_BEHIND = 4096  # hosts of which is told
FORGET = 60.0  # s after which a host that says nothing any more is not told of

_decode_behind = messages.decoder(Behind)
Seen = Callable[[Behind, str], None]
Answers = Callable[[str, dict, str, Send], Awaitable[dict]]


class Switchboard:
    """`own`, `name`: of this instance. `answers(command, arguments, who, send)` runs a command here; `seen(behind,
    via)` is told what hosts say of themselves, `via` being the name of the host through which that came, or ""."""

    def __init__(self, own: bytes, name: str, answers: Answers, seen: Seen):
        self._own, self._name, self._answers, self._seen = own, name, answers, seen
        self.routes = Routes(own)
        self._behind: OrderedDict[bytes, tuple[float, Behind]] = OrderedDict()  # when it was heard

    # -- sessions --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def server(self, session, peer) -> Iterator["ServerLine"]:
        """This end of a session that `peer` (link.server.Peer) has made."""
        asker = Asker(session, peer.name)
        self.routes.opened(peer.sensor_uuid, peer.name, asker)
        try:
            yield ServerLine(self, asker, peer)
        finally:
            self.routes.closed(asker)
            asker.ended()

    @contextlib.asynccontextmanager
    async def client(self, session, central: bytes) -> AsyncIterator["ClientLine"]:
        """This end of a session that this instance has made; the instance there is `central` by its welcome."""
        line = ClientLine(self, session, central)
        try:
            yield line
        finally:
            await line.close()

    # -- what is asked ---------------------------------------------------------------------------------

    async def pass_on(self, ask: Ask, send: Send, came_from: bytes) -> dict:
        """A question that has come over a session with `came_from`: answered here, or asked further on."""
        arguments = messages.arguments(ask)
        if ask.target == self._own:
            return await self._answers(ask.command, arguments, ask.who, send)
        if ask.hops + 1 >= MAX_HOPS:
            raise Unreached(f"{self._name}: {ask.command} has passed {MAX_HOPS} hosts and arrived nowhere; the way"
                                 " to that sensor is not known any more, ask again in some seconds")  # fmt: skip
        return await self.ask(ask.target, ask.command, arguments, ask.who, send, besides=came_from, hops=ask.hops + 1)

    async def ask(self, target: bytes, command: str, arguments: dict, who: str, send: Send, *, besides: bytes = b"",
                  hops: int = 0) -> dict:  # fmt: skip
        """Ask another host, wherever it is, but never by way of `besides`; VoipfleetError with a sentence where it is
        not connected."""
        asker = self.routes.find(target, besides=besides)
        if asker is None:
            raise Unreached(f"{self.where(target)}; it serves its packets when it is back")
        return await asker.ask(target, command, arguments, who, send, hops=hops)

    def where(self, uuid: bytes) -> str:
        """`branch1: not connected since 14:03`"""
        known = self.routes.get(uuid)
        if known is None:
            return f"{uuid.hex()[:8]}: not connected to {self._name} since that was started"
        moment = time.localtime(known.since)
        today = moment[:3] == time.localtime()[:3]
        return f"{known.name}: not connected since {time.strftime('%H:%M' if today else '%Y-%m-%d %H:%M', moment)}"

    # -- what hosts say of themselves ------------------------------------------------------------------

    def told(self, behind: Behind, via: str) -> None:
        """Kept until it is too old to be told."""
        self._seen(behind, via)
        self._behind.pop(behind.uuid, None)
        self._behind[behind.uuid] = time.monotonic(), behind
        if len(self._behind) > MAX_BEHIND:
            self._behind.popitem(last=False)
        self._age()

    def heard(self) -> Iterator[tuple[float, Behind]]:
        """Of hosts that have said something lately."""
        self._age()
        return iter(list(self._behind.values()))

    def _age(self) -> None:
        """Also where there are no uplinks."""
        old = time.monotonic() - FORGET
        while self._behind and next(iter(self._behind.values()))[0] <= old:
            self._behind.popitem(last=False)


class ServerLine:
    """Of a session with a sensor: it says things of itself and of others, and is asked."""

    def __init__(self, board: Switchboard, asker: Asker, peer):
        self._board, self._peer, self._since = board, peer, time.time_ns()
        self.asker = asker

    def status(self, status: Status) -> None:
        peer = self._peer
        self._board.told(Behind(peer.sensor_uuid, [self._board._own], messages.host_name(peer.name), peer.address,
                                keys.fingerprint(peer.key), self._since, status), "")  # fmt: skip

    def take(self, kind: int, body: bytes) -> bool:
        """Whether the frame is for this line. MsgspecError or UnicodeDecodeError for a malformed one."""
        if kind != types.BEHIND:
            return self.asker.take(kind, body)
        behind = _decode_behind(body)
        if self._board.routes.behind(self._peer.sensor_uuid, self.asker, behind):
            onward = msgspec.structs.replace(behind, hops=[*behind.hops, self._board._own])
            self._board.told(onward, self._peer.name)
        return True


class ClientLine:
    """Of a session with an instance that may ask."""

    def __init__(self, board: Switchboard, session, central: bytes):
        self._board, self._session = board, session
        self.busy: Callable[[], bool] = lambda: False  # whether something waits that goes before answers
        self._answerer = Answerer(session, self._run, busy=lambda: self.busy())
        self._central = central
        self._told: dict[bytes, float] = {}

    async def take(self, kind: int, body: bytes) -> bool:
        """Whether the frame is for this line. MsgspecError or UnicodeDecodeError for a malformed one."""
        return await self._answerer.take(kind, body)

    async def tell(self) -> None:
        """Of hosts behind this one, for ever."""
        while True:
            now, old = time.monotonic(), self._told
            self._told = {}
            for at, behind in self._board.heard():
                last = old.get(behind.uuid, -TOLD_EVERY)
                if at > last and now - last >= TOLD_EVERY and self._central not in (behind.uuid, *behind.hops):
                    last = now
                    await self._session.send(types.BEHIND, messages.encode(behind))
                self._told[behind.uuid] = last
            await asyncio.sleep(LOOK)

    async def close(self) -> None:
        await self._answerer.close()

    async def _run(self, ask: Ask, send: Send) -> dict:
        return await self._board.pass_on(ask, send, self._central)
