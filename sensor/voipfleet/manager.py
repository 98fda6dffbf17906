"""Asking the daemon of this host over its control socket (manage/local.py is the other end)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

from voipfleet.errors import VoipfleetError
from voipfleet.harmless import harmless

MAX_ANSWER = 4 << 20  # bytes of a result


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
        if said is None:
            raise VoipfleetError(f"{self._path}: the daemon ended in the middle of its answer; look at its log")
        if "error" in said:
            raise VoipfleetError("\n".join(map(harmless, str(said["error"]).split("\n"))))  # it may quote a host's name
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


async def ask(path: Path, command: str, **arguments) -> dict:
    """The result of a command that gives no data; VoipfleetError as `asking` has it."""
    async with asking(path, command, **arguments) as answer:
        return await answer.whole()
