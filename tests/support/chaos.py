"""A TCP proxy that does what networks do: delays, slow lines, cuts, wrong bits, peers that fall silent.

It runs in a thread of its own, in a network namespace if one is named, and obeys at once when a test changes it:

    with Chaos(60024, port=60025) as chaos:
        chaos.up.rate = 5000         # bytes/s from the client to the server
        chaos.down.cut_after = 4096  # the next connection ends once the server has said so much
        chaos.silent = True          # half-open: it holds its connections and neither reads nor writes
        chaos.hang_up()              # all connections end, without a word of the protocol that they carry
        chaos.links[0].up            # what the client of the first connection has sent
"""

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field

from support import netns

CHUNK, BUFFER, KEPT = 16 << 10, 32 << 10, 4 << 20  # bytes; of what a direction carries, the first KEPT are kept
TICK = 0.02  # s between looks at what a test has changed
_RESET = struct.pack("ii", 1, 0)


@dataclass
class Way:
    """What happens to one direction; 0 and None: nothing. Counts are of the bytes of one connection."""

    delay: float = 0.0  # s that a piece is held
    rate: float = 0.0  # bytes/s
    cut_after: int | None = None  # bytes; then the connection ends both ways
    flip_every: int = 0  # bytes; of the last one of them a bit is wrong


@dataclass
class Link:
    """One connection: what came from the client and from the server; `carried` counts what was passed on."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)
    carried: list[int] = field(default_factory=lambda: [0, 0])
    ended: bool = False


class Chaos:
    """Between `port` (0: any, then it is in `port`) and `to`, both on `host`. See the module."""

    def __init__(self, to: int, *, port: int = 0, host: str = "127.0.0.1", namespace: str = ""):
        self.to, self.port, self._host, self._namespace = to, port, host, namespace
        self.up, self.down, self.silent, self.closed = Way(), Way(), False, False  # closed: nobody new comes in
        self.links: list[Link] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready, self._fault = threading.Event(), None
        self._thread = threading.Thread(target=self._main, name="chaos", daemon=True)

    def __enter__(self) -> "Chaos":
        self._thread.start()
        self._ready.wait()
        if self._fault:
            raise self._fault
        return self

    def __exit__(self, *_) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def open(self) -> int:
        """Connections that have not ended."""
        return sum(not link.ended for link in self.links)

    def hang_up(self, reset: bool = False) -> None:
        """End all connections, as a host does that goes down (FIN) or one that has forgotten them (RST)."""
        self._loop.call_soon_threadsafe(self._hang_up, reset)

    # -- inside the thread ---------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            if self._namespace:
                netns.enter(self._namespace)
            asyncio.run(self._serve())
        except OSError as error:
            self._fault = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        listening = socket.create_server((self._host, self.port), backlog=512)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)  # what a slow line holds back is felt soon
        self.port = listening.getsockname()[1]
        server = await asyncio.start_server(self._accept, sock=listening, limit=CHUNK)
        self._ready.set()
        await self._stop.wait()
        server.close()
        self._hang_up(False)
        current = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not current]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = None
        try:
            if self.closed:
                return
            far_reader, far = await asyncio.open_connection(self._host, self.to, limit=CHUNK)
            link = Link()
            self.links.append(link)
            self._writers |= {writer, far}
            ways = [asyncio.create_task(self._carry(reader, far, link, 0)),
                    asyncio.create_task(self._carry(far_reader, writer, link, 1))]  # fmt: skip
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                link.ended = True
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # nobody listens there, which the client sees as a connection that ends
        except asyncio.CancelledError:
            pass  # the proxy itself ends; passed on, asyncio's server of Python 3.11 would print a traceback
        finally:
            for end in filter(None, (writer, far)):
                self._writers.discard(end)
                end.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link, at: int) -> None:
        """One direction until it ends; `at`: 0 up, 1 down."""
        way, kept = (self.up, self.down)[at], (link.up, link.down)[at]
        with contextlib.suppress(OSError):
            while True:
                await self._spoken()
                size = min(CHUNK, max(1, int(way.rate / 10))) if way.rate else CHUNK
                if not (data := await reader.read(size)):
                    return
                await self._spoken()
                kept += data[: max(0, KEPT - len(kept))]
                await asyncio.sleep(way.delay + (len(data) / way.rate if way.rate else 0))
                before = link.carried[at]
                cut = way.cut_after is not None and before + len(data) >= way.cut_after
                data = data[: max(0, way.cut_after - before)] if cut else data
                link.carried[at] += len(data)
                writer.write(flipped(data, before, way.flip_every))
                await writer.drain()
                if cut:
                    return

    async def _spoken(self) -> None:
        while self.silent:
            await asyncio.sleep(TICK)

    def _hang_up(self, reset: bool) -> None:
        for writer in self._writers:
            if reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()
            else:
                writer.close()


def flipped(data: bytes, before: int, every: int) -> bytes:
    """`data`, which follows `before` bytes, with one bit wrong in each byte whose place is a multiple of `every`."""
    if not every:
        return data
    changed = bytearray(data)
    for at in range(every - 1 - before % every, len(data), every):
        changed[at] ^= 0x10
    return bytes(changed)
