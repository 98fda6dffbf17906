"""The control socket: a local Unix socket, one JSON object a line, a closed table of commands."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from voipfleet.errors import VoipfleetError

MAX_LINE = 64 << 10
MAX_ANSWER = 4 << 20  # bytes of a result
Command = Callable[[dict], Awaitable[dict]]


class Manager:
    """Answers `{"command": NAME, ...}` with the object that the command returns, or with `{"error": ...}`."""

    def __init__(self, path: Path, commands: dict[str, Command]):
        self._path, self._commands = path, commands
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if await _answers(self._path):
                raise VoipfleetError(f"{self._path}: another voipfleet answers here; stop it or set control_socket")
            self._path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_LINE)
            self._path.chmod(0o660)
        except OSError as error:
            raise VoipfleetError(f"{self._path}: cannot open the control socket ({error.strerror});"
                                 " make its folder writable for this user or set control_socket") from None  # fmt: skip

    async def close(self) -> None:
        if self._server:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for line in reader:
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ValueError, ConnectionError):
            pass  # a line too long, or the asker has left
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict:
        try:
            request = json.loads(line)
            command = self._commands[request["command"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"error": f"not a command; known are {', '.join(sorted(self._commands))}"}
        return await command(request)


async def _answers(path: Path) -> bool:
    """Whether somebody listens on the socket (a file left by a crash has no listener)."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True


async def ask(path: Path, command: str, **arguments) -> dict:
    """Ask the daemon behind the control socket; OSError where nobody listens."""
    reader, writer = await asyncio.open_unix_connection(path, limit=MAX_ANSWER)
    try:
        writer.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
        line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise ConnectionError("the daemon closed the connection")
    return json.loads(line)


class Answer:
    """What the daemon answers: iterate over its data (bytes); then `result` is there."""

    def __init__(self, reader: asyncio.StreamReader, path: Path):
        self._reader, self._path = reader, path
        self.result: dict | None = None

    def __aiter__(self) -> "Answer":
        return self

    async def __anext__(self) -> bytes:
        """The next piece. VoipfleetError with the daemon's sentence where it refuses, or with one when it is gone."""
        if self.result is not None:
            raise StopAsyncIteration
        try:
            line = await self._reader.readline()
            said = json.loads(line) if line else None
            if said and set(said) == {"data"}:
                return await self._reader.readexactly(said["data"])
        except (ValueError, OSError, asyncio.IncompleteReadError):
            said = None
        if not said:
            raise VoipfleetError(f"{self._path}: the daemon ended in the middle of its answer; look at its log")
        if "error" in said:
            raise VoipfleetError(said["error"])
        self.result = said
        raise StopAsyncIteration

    async def whole(self) -> dict:
        """The result, of a command that gives no data (any is passed over)."""
        async for _ in self:
            pass
        return self.result


@contextlib.asynccontextmanager
async def asking(path: Path, command: str, **arguments) -> AsyncIterator[Answer]:
    """One command to the daemon, which ends its work when this is left. VoipfleetError where nobody may or does answer.

        async with asking(path, "fetch", uuid=...) as answer:
            async for data in answer: ...
            answer.result
    """
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=MAX_ANSWER)
    except PermissionError:
        raise VoipfleetError(f"{path}: not permitted; run as root or as a member of group voipfleet") from None
    except OSError:
        raise VoipfleetError(f"{path}: no daemon answers; look at `systemctl status voipfleet`") from None
    try:
        writer.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
        yield Answer(reader, path)
    finally:
        writer.transport.abort()
