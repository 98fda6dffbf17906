"""An open link as the parts use it: `send`, iteration over (type, body), `close`.

Sealing and writing a frame is one step without a pause, so frames leave in the order in which they were sealed,
whoever sends. Liveness is decided by who reads: 45 s without a frame while waiting for one, and the link is dead.
"""

import asyncio
import contextlib
import socket
import struct
import time

from voipfleet.link import frames, types
from voipfleet.link.clock import Offset

PING_SECONDS, DEAD_SECONDS = 15.0, 45.0
REKEY_PINGS = 60  # new keys inside the stream at least every 15 minutes
FIRST_PINGS = 4  # a second apart, so that the clocks are known soon
CLOSE_SECONDS = 2.0
_STAMP, _STAMPS = struct.Struct("!Q"), struct.Struct("!QQ")  # µs since the epoch: ours; theirs at the answer


class LinkClosed(EOFError):
    """The link has ended: orderly, with the peer's reason, or by a fault that the text names."""


class Session:
    """One authenticated connection, after the handshake. `clock` is what is known of the peer's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sealer, opener,
                 clock: Offset | None = None):  # fmt: skip
        self._reader, self._writer, self._sealer, self._opener = reader, writer, sealer, opener
        self.clock = clock or Offset()
        self._closing = False
        self._pings = asyncio.create_task(self._keep_alive())

    async def send(self, kind: int, body: bytes = b"") -> None:
        """One frame; waits while the peer takes nothing. LinkClosed when the link has ended."""
        if self._closing:
            raise LinkClosed("the link is closed")
        self._writer.write(self._sealer.seal(kind, body))
        try:
            await self._writer.drain()
        except OSError as error:
            raise LinkClosed(f"the connection broke ({error.strerror or error})") from None

    def __aiter__(self) -> "Session":
        return self

    async def __anext__(self) -> tuple[int, bytes]:
        """The next frame that is for a part. Ends after the peer's orderly close, with its reason; LinkClosed
        otherwise."""
        while True:
            kind, body = await self.receive()
            if self._opener.final:
                raise StopAsyncIteration(body[:200].decode("utf-8", "replace"))
            if kind == types.PING:
                await self.send(types.PONG, body[: _STAMP.size] + _STAMP.pack(_now()))
            elif kind != types.PONG:
                return kind, body
            elif len(body) == _STAMPS.size:
                sent, theirs = _STAMPS.unpack(body)
                self.clock.sample(sent, theirs, _now())

    async def receive(self) -> tuple[int, bytes]:
        """The next frame, whatever it is."""
        try:
            async with asyncio.timeout(DEAD_SECONDS):
                prefix = await self._reader.readexactly(4)
                return self._opener.open(prefix, await self._reader.readexactly(self._opener.size(prefix)))
        except TimeoutError:
            raise LinkClosed(f"nothing heard for {DEAD_SECONDS:g} s") from None
        except asyncio.IncompleteReadError:
            raise LinkClosed("the peer closed the connection without a word") from None
        except OSError as error:
            raise LinkClosed(f"the connection broke ({error.strerror or error})") from None
        except frames.FrameError as error:
            raise LinkClosed(str(error)) from None

    def admit(self) -> None:
        """The peer is welcome: frames may now have their full size."""
        self._opener.limit = frames.MAX_FRAME

    async def close(self, reason: str) -> None:
        """Say `reason` as the last frame and hang up; never fails, never takes long."""
        if self._closing:
            return
        self._closing = True
        self._pings.cancel()
        with contextlib.suppress(OSError, TimeoutError):
            self._writer.write(self._sealer.seal(types.GOAWAY, reason.encode()[:200], final=True))
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._writer.drain()
                self._writer.close()
                await self._writer.wait_closed()
        self._writer.transport.abort()

    def abort(self) -> None:
        """Hang up at once: the peer is gone, or has a newer connection."""
        self._closing = True
        self._pings.cancel()
        self._writer.transport.abort()

    async def _keep_alive(self) -> None:
        count = 0
        with contextlib.suppress(LinkClosed):
            while True:
                await asyncio.sleep(min(1.0, PING_SECONDS) if count < FIRST_PINGS else PING_SECONDS)
                count += 1
                if count % REKEY_PINGS == 0:
                    self._sealer.rekey()
                await self.send(types.PING, _STAMP.pack(_now()))


def _now() -> int:
    return time.time_ns() // 1000


def tune(writer: asyncio.StreamWriter) -> None:
    """Frames leave at once, and a peer that takes nothing for 45 s is a dead one."""
    plain = writer.get_extra_info("socket")
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(DEAD_SECONDS * 1000))
