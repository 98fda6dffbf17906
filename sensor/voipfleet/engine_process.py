"""The courier's side of the engine: start the process, read what it says, stop it without losing a call."""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

import msgspec

from voipfleet import pipe
from voipfleet.errors import VoipfleetError
from voipfleet.relay.messages import Handed

log = logging.getLogger("voipfleet.engine")
ORDER_SECONDS = 5.0
STOP_SECONDS = 6.5  # the engine drains its ring for two seconds at most and then writes its last records


class EngineFailed(VoipfleetError):
    """The engine could not start; its own sentence and exit code."""

    def __init__(self, sentence: str, exit_code: int):
        super().__init__(sentence)
        self.exit_code = exit_code


class EngineProcess:
    """`start` it, then `listen`: what it has to say until then waits in it, within its bounds."""

    def __init__(self, config_path: str):
        self._config_path = config_path
        self._on: dict[int, Callable[[bytes], None]] = {}
        self._listening = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self.status: dict[str, int] = {}
        self.heard = time.monotonic()
        self.ended = asyncio.Event()
        self._ready: asyncio.Future[None] | None = None
        self._reading: asyncio.Task | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._handing = asyncio.Lock()
        self._orders: dict[int, asyncio.Future] = {}
        self._ordered = 0

    async def start(self) -> None:
        """Returns when every interface is being captured; raises EngineFailed with the engine's sentence."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "voipfleet.engine", str(theirs.fileno()), self._config_path,
                    pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL,
                    env={name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
                )  # fmt: skip
            except OSError as error:
                ours.close()
                raise EngineFailed(f"the capture process cannot be started: {sys.executable}: {error.strerror};"
                                   " check that this user may run it", 1) from None  # fmt: skip
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=pipe.MAX_MESSAGE)
        self._ready = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(reader))
        await self._ready

    def listen(self, on_record: Callable[[bytes], None], on_checkpoint: Callable[[int, bytes], None],
               on_packets: Callable[[bytes], None], on_heard: Callable[[int], None],
               on_done: Callable[[int], None]) -> None:  # fmt: skip
        """In the event loop, `on_record` gets the msgpack CallRecord of each finished call, `on_checkpoint` that of an
        open one and through which block that was handed over it goes, `on_packets` each packed block that goes on to
        others, `on_heard` the time (ns) before which there are no more, `on_done` through which block that was handed
        over all is analysed."""
        self._on = {
            pipe.RECORD: on_record, pipe.PACKETS: on_packets,
            pipe.HEARD: lambda body: on_heard(int.from_bytes(body, "big")),
            pipe.CHECKPOINT: lambda body: on_checkpoint(int.from_bytes(body[:8], "big"), body[8:]),
            pipe.DONE: lambda body: on_done(int.from_bytes(body, "big")),
        }  # fmt: skip
        self.heard = time.monotonic()
        self._listening.set()

    async def hand(self, handed: Handed) -> None:
        """A block of another host, or without one what its clock says; waits while the engine has enough."""
        kind = pipe.PACKETS if handed.seq else pipe.HEARD
        async with self._handing:
            self._writer.write(pipe.frame(kind, msgspec.msgpack.encode(handed)))
            await self._writer.drain()

    async def order(self, what: str, *, seconds: float = ORDER_SECONDS, **fields) -> dict:
        """Ask the engine to do something (orders.Orders); what it answers. Raises VoipfleetError with its sentence, or
        where there is no answer in time."""
        self._ordered += 1
        number, answer = self._ordered, asyncio.get_running_loop().create_future()
        self._orders[number] = answer
        try:
            async with asyncio.timeout(seconds), self._handing:
                body = msgspec.msgpack.encode({"n": number, "what": what, **fields})
                self._writer.write(pipe.frame(pipe.ORDER, body))
                await self._writer.drain()
            async with asyncio.timeout(seconds):
                said = await answer
        except (TimeoutError, OSError):
            raise VoipfleetError(f"capture process: no answer to `{what}` in {seconds:g} s; it is busy, try again"
                                 ) from None  # fmt: skip
        finally:
            del self._orders[number]
        if error := said.get("error"):
            raise VoipfleetError(error)
        return said

    async def look(self, uuid: bytes) -> bytes:
        """An open call's record as it is now (msgpack); VoipfleetError where it is not up any more."""
        return (await self.order("look", uuid=uuid))["record"]

    async def filter(self, programs: dict[int, bytes]) -> None:
        """The capture filter until the next start, compiled for each link type. VoipfleetError where the kernel does
        not take it; the one before stays then."""
        await self.order("filter", programs=programs)

    async def seal(self) -> None:
        """All packets that were analysed until now are in the packet store; not so where its disk is slow."""
        await self.order("seal")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            async for kind, body in pipe.read_messages(reader):
                self.heard = time.monotonic()
                if kind in self._on:
                    self._on[kind](body)
                elif kind == pipe.STATUS:
                    self.status = msgspec.msgpack.decode(body)
                elif kind == pipe.ANSWER:
                    said = msgspec.msgpack.decode(body)
                    if (waiting := self._orders.get(said["n"])) and not waiting.done():
                        waiting.set_result(said)
                elif kind == pipe.READY and not self._ready.done():
                    self._ready.set_result(None)
                    await self._listening.wait()
                elif kind == pipe.FAILED and not self._ready.done():
                    fault = msgspec.msgpack.decode(body)
                    self._ready.set_exception(EngineFailed(fault["sentence"], fault["exit_code"]))
        finally:
            if not self._ready.done():
                self._ready.set_exception(EngineFailed(f"the capture process {await self._how()}; report this", 1))
            self.ended.set()

    async def _how(self) -> str:
        """How it ended without a word of its own."""
        code = await self._process.wait()
        return f"was killed by signal {-code} before it was ready" if code < 0 else f"ended with {code} at its start"

    async def stop(self) -> None:
        """Let the engine hand over everything, open calls too; then it has ended."""
        if not self._process:
            return
        self._listening.set()
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._reading, STOP_SECONDS)
            await asyncio.wait_for(self._process.wait(), 1.0)
        except TimeoutError:
            log.error("the capture process did not end within %d s; its open calls are recorded at the next start, as"
                      " they were some seconds ago", STOP_SECONDS)  # fmt: skip
            self._process.kill()
            await self._process.wait()
