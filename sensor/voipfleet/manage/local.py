"""The control socket: a local Unix socket that anybody may open and that answers by who asks.

A request is a line of JSON, `{"command": NAME, ...}`. The answer is any number of `{"data": N}` lines, each before N
bytes, then a line with the result, or with `{"error": SENTENCE}`.
"""

import asyncio
import collections
import json
import logging
import select
from collections.abc import Awaitable, Callable
from pathlib import Path

from voipfleet.errors import VoipfleetError
from voipfleet.manage import peer
from voipfleet.manage.request import Request
from voipfleet.tasks import end_all

log = logging.getLogger("voipfleet.manager")
MAX_LINE = 64 << 10  # bytes of a request
CONNECTIONS, OF_ONE = 64, 8  # at once: of all users, of one; root and the daemon's own user have 64 of their own
IDLE = 60.0  # s without a request before the connection is closed
LOOK = 0.5  # s between looks whether the asker is still there

Run = Callable[[str, Request], Awaitable[dict]]


class Manager:
    """`run(command, request)` gives the result, or raises VoipfleetError with the sentence of a refusal."""

    def __init__(self, path: Path, run: Run):
        self._path, self._run = path, run
        self._server: asyncio.Server | None = None
        self._users: collections.Counter[int] = collections.Counter()  # connections of each uid

    async def start(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if await _answers(self._path):
                raise VoipfleetError(f"{self._path}: another voipfleet answers here; stop it or set control_socket")
            self._path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_LINE)
            self._path.chmod(0o666)
        except OSError as error:
            raise VoipfleetError(f"{self._path}: cannot open the control socket ({error.strerror});"
                                 " make its folder writable for this user or set control_socket") from None  # fmt: skip

    async def close(self) -> None:
        if self._server:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid, gids = peer.credentials(writer.get_extra_info("socket"))
        if fault := self._full(uid):
            writer.write(_line({"error": fault}))
            writer.close()
            return
        self._users[uid] += 1
        try:
            await self.converse(reader, writer, *await peer.asker(uid, gids))
        except VoipfleetError as error:
            writer.write(_line({"error": str(error)}))
        except Exception as error:
            log.exception("the control socket failed unexpectedly, report this")
            writer.write(_line({"error": f"internal error ({type(error).__name__}); the log has more, report it"}))
        finally:
            writer.close()  # whoever asked must not wait for ever
            self._users[uid] -= 1
            if not self._users[uid]:
                del self._users[uid]

    def _full(self, uid: int) -> str:
        """Why there is no room for one more connection of that user; "" where there is."""
        if peer.is_privileged(uid):
            busy = self._users[uid] >= CONNECTIONS
        else:
            if self._users[uid] >= OF_ONE:
                return f"{OF_ONE} commands of yours run already; wait for one of them to end"
            busy = sum(n for user, n in self._users.items() if not peer.is_privileged(user)) >= CONNECTIONS
        return f"{CONNECTIONS} commands run already; try again later" if busy else ""

    async def converse(self, reader, writer, who: str, groups: frozenset[str]) -> None:
        """Requests of one connection, one after the other, until it ends."""

        async def send(data: bytes) -> None:
            writer.write(_line({"data": len(data)}) + data)
            await writer.drain()

        try:
            while line := await asyncio.wait_for(reader.readline(), IDLE):
                writer.write(_line(await _while_there(self._answer(line, who, groups, send), writer)))
                await writer.drain()
        except (ValueError, TimeoutError, ConnectionError):
            pass  # a line too long, silence, or the asker has left
        finally:
            writer.close()

    async def _answer(self, line: bytes, who: str, groups: frozenset[str], send) -> dict:
        try:
            arguments = json.loads(line)
            command = arguments.pop("command")
            if not isinstance(command, str):
                command = ""
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            command, arguments = "", {}
        try:
            return await self._run(command, Request(arguments, who, groups, send))
        except VoipfleetError as error:
            return {"error": str(error)}
        except ConnectionError:
            raise
        except Exception as error:
            log.exception("command %s failed unexpectedly", command[:32])
            return {"error": f"{command[:32]}: internal error ({type(error).__name__}); the log has more, report it"}


def _line(message: dict) -> bytes:
    return json.dumps(message).encode() + b"\n"


async def _while_there(work: Awaitable[dict], writer) -> dict:
    """The result of `work`, which ends when the asker hangs up; ConnectionError then."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK))[0]:
            if _hung_up(writer):
                raise ConnectionError("the asker has left")
        return task.result()
    finally:
        await end_all(task)


def _hung_up(writer) -> bool:
    """Whether the other end has closed the socket; only half of it is no hanging up (`nc -N`)."""
    plain = writer.get_extra_info("socket")
    poll = select.poll()
    poll.register(plain.fileno(), 0)
    return any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))


async def _answers(path: Path) -> bool:
    """Whether somebody listens on the socket (a file left by a crash has no listener)."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True
