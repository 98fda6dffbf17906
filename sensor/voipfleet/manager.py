"""The control socket: a local Unix socket, one JSON object a line, a closed table of commands."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from voipfleet.errors import VoipfleetError

MAX_LINE = 64 << 10
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
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 20)
    try:
        writer.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
        line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise ConnectionError("the daemon closed the connection")
    return json.loads(line)
