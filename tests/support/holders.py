"""A daemon that knows one call and who has its packets, at a control socket of its own, in a thread of its own.

What a holder does is set by its fields: it may be offline, refuse, break off, change what it has, or lie.
"""

import asyncio
import contextlib
import json
import threading
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord
from voipfleet.errors import VoipfleetError
from voipfleet.manage.local import Manager

PIECE = 4096


@dataclass
class Holding:
    name: str
    data: bytes = b""
    state: str = "connected"
    offset_ms: float | None = None
    missing: str = ""
    note: str = ""
    error: str = ""
    breaks: list[int] = field(default_factory=list)  # after so many bytes of each of the first fetches it breaks off
    lie: int = 0  # of so many fetches the digest is of something else
    since: float | None = None
    gate: threading.Event | None = None  # the rest of it comes when this is set
    asked: list[dict] = field(default_factory=list)

    @property
    def uuid(self) -> str:
        return blake2b(self.name.encode(), digest_size=16).hexdigest()


class Fleet:
    """`with Fleet(folder, call, holdings) as fleet:` then `fleet.config` is a file that names its socket."""

    def __init__(self, folder: Path, call: CallRecord, holdings: list[Holding], answers: dict | None = None):
        self.call, self.holdings, self.answers = call, holdings, answers or {}
        self.socket = folder / "control"
        self.config = folder / "voipfleet.conf"
        self.config.write_text(f"[general]\ninterface = lo\ncontrol_socket = {self.socket}\n")
        self.said: list[tuple[str, dict]] = []
        self.serving = self.most = 0  # fetches at present, and at most at a time
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self) -> "Fleet":
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        manager = Manager(self.socket, self._run)
        await manager.start()
        self._up.set()
        await self._stop.wait()
        await manager.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)

    async def _run(self, command: str, request) -> dict:
        self.said.append((command, request.arguments))
        if command in self.answers:
            answer = self.answers[command]
            if isinstance(answer, str):
                raise VoipfleetError(answer)
            return answer(request.arguments) if callable(answer) else answer
        if command == "find":
            return self._find(request.arguments["call"])
        holding = next(one for one in self.holdings if one.uuid == request.arguments["sensor"])
        return await self._fetch(holding, request)

    def _find(self, name: str) -> dict:
        if name not in (self.call.call_id, self.call.uuid.hex()):
            raise VoipfleetError("hq: no call of that name is in the database")
        holders = [{"sensor": one.uuid, "name": one.name, "uuid": self.call.uuid.hex(), "state": one.state,
                    "clock_offset_ms": one.offset_ms, "since": one.since} for one in self.holdings]  # fmt: skip
        return {"call": json.loads(record.to_json(self.call)), "holders": holders}

    async def _fetch(self, holding: Holding, request) -> dict:
        holding.asked.append(request.arguments)
        self.serving += 1
        self.most = max(self.most, self.serving)
        await asyncio.sleep(0.01)
        self.serving -= 1
        if holding.error:
            raise VoipfleetError(holding.error)
        offset, stop = request.arguments["offset"], holding.breaks.pop(0) if holding.breaks else None
        sent = 0
        for at in range(offset, len(holding.data), PIECE):
            if stop is not None and sent >= stop:
                if holding.gate is None:
                    raise VoipfleetError(f"{holding.name}: the connection ended before the answer did")
                await asyncio.to_thread(holding.gate.wait, 10)
                stop = None
            piece = holding.data[at : at + PIECE]
            await request.send(piece)
            sent += len(piece)
        digest = blake2b(holding.data + b"!" * (holding.lie > 0), digest_size=16).hexdigest()
        holding.lie -= 1
        return {"bytes": len(holding.data), "digest": digest, "packets": 1, "name": holding.name,
                "clock_offset_ms": None, "missing": holding.missing, "note": holding.note}  # fmt: skip
