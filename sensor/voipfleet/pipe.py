"""Messages between the engine and the courier over a Unix stream socket: `u32 length | u8 kind | body`.

`length` (network order) counts the kind and the body.
"""

import asyncio
import select
import socket
import struct
import time
from collections import deque
from collections.abc import AsyncIterator

READY, FAILED, RECORD, STATUS, FINISHED, PACKETS, HEARD, DONE, CHECKPOINT, ORDER, ANSWER = range(1, 12)
MAX_MESSAGE = 4 << 20  # bytes; a call record is a few KiB, a block of packets 1 MiB
MAX_WAITING = 64 << 20  # bytes of packets that wait for the socket
MAX_CHECKPOINTS = 2_000  # that wait for it; the next one of the same call comes in some seconds
_HEAD = struct.Struct("!IB")


class PipeError(ValueError):
    """What arrives is not a message of this pipe."""


def frame(kind: int, body: bytes = b"") -> bytes:
    """One message as it is sent."""
    return _HEAD.pack(len(body) + 1, kind) + body


async def read_messages(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, bytes]]:
    """Each (kind, body) until the other side closes; a message cut off by its death is not given out."""
    while True:
        try:
            length, kind = _HEAD.unpack(await reader.readexactly(_HEAD.size))
            if not 1 <= length <= MAX_MESSAGE:
                raise PipeError(f"message of {length} bytes from the capture process; at most {MAX_MESSAGE}")
            body = await reader.readexactly(length - 1)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        yield kind, body


class PipeSender:
    """A bounded queue before a socket; nothing here ever waits but `flush`.

    At most `limit_messages` records wait; a further one is dropped and counted in `records_dropped`. Of STATUS at most
    one waits. Of PACKETS, MAX_WAITING bytes: the oldest go, and `packets_dropped` counts the packets in them; they wait
    behind everything else but checkpoints, of which the newest of each call waits. `closed` is True once the other side
    has gone.
    """

    def __init__(self, sock: socket.socket, limit_messages: int = 10_000):
        sock.setblocking(False)
        self._sock, self._limit = sock, limit_messages
        self._queue: deque[bytes] = deque()
        self._partial = memoryview(b"")
        self._status: bytes | None = None
        self._blocks: deque[tuple[bytes, int]] = deque()
        self._blocks_size = 0
        self._checkpoints: dict[bytes, bytes] = {}
        self.records_dropped = self.packets_dropped = self.checkpoints_dropped = 0
        self.closed = False

    @property
    def waiting(self) -> int:
        """Messages that the socket has not taken yet."""
        parts = self._queue, self._blocks, self._checkpoints
        return sum(map(len, parts)) + bool(self._partial) + (self._status is not None)

    def send(self, kind: int, body: bytes = b"") -> bool:
        """Queue a message and send what the socket takes now; False where a record was dropped."""
        kept = True
        if kind == STATUS:
            self._status = frame(kind, body)
        elif kind == RECORD and (len(self._queue) >= self._limit or len(body) >= MAX_MESSAGE):
            self.records_dropped += 1
            kept = False
        else:
            self._queue.append(frame(kind, body))
        self.pump()
        return kept

    def checkpoint(self, call: bytes, body: bytes, *, in_order: bool = False) -> None:
        """The state of the open call `call` (uuid), in place of one that still waits. `in_order`: among the records, of
        whose room it takes half at most."""
        if len(body) >= MAX_MESSAGE or (in_order and len(self._queue) >= self._limit // 2):
            self.checkpoints_dropped += 1
        elif in_order:
            self._queue.append(frame(CHECKPOINT, body))
        elif call in self._checkpoints or len(self._checkpoints) < MAX_CHECKPOINTS:
            self._checkpoints[call] = frame(CHECKPOINT, body)
        else:
            self.checkpoints_dropped += 1
        self.pump()

    def forget(self, call: bytes) -> None:
        """The record of a call was sent: no older state of it may come behind that."""
        self._checkpoints.pop(call, None)

    def send_packets(self, body: bytes, packets: int, kind: int = PACKETS) -> None:
        """Queue a block with so many packets, or what is said in its order among them; the oldest make room for it."""
        self._blocks.append((frame(kind, body), packets))
        self._blocks_size += len(body)
        while self._blocks_size > MAX_WAITING:
            dropped, number = self._blocks.popleft()
            self._blocks_size -= len(dropped) - _HEAD.size
            self.packets_dropped += number
        self.pump()

    def pump(self) -> None:
        """Send what the socket takes without waiting."""
        while not self.closed:
            if not self._partial:
                if self._status is not None:
                    self._partial, self._status = memoryview(self._status), None
                elif self._queue:
                    self._partial = memoryview(self._queue.popleft())
                elif self._blocks:
                    block, _ = self._blocks.popleft()
                    self._blocks_size -= len(block) - _HEAD.size
                    self._partial = memoryview(block)
                elif self._checkpoints:
                    self._partial = memoryview(self._checkpoints.pop(next(iter(self._checkpoints))))
                else:
                    return
            try:
                self._partial = self._partial[self._sock.send(self._partial, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                return
            except OSError:
                self.closed = True

    def flush(self, deadline: float, *, whole: bool = False) -> bool:
        """Wait until everything is sent, or `deadline` (time.monotonic) has come, or with `whole` in any case until
        then; whether all is sent."""
        poll = select.poll()
        poll.register(self._sock, select.POLLOUT)
        self.pump()
        while self.waiting and not self.closed and (left := deadline - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self.pump()
        if whole and not self.closed and (left := deadline - time.monotonic()) > 0:
            time.sleep(left)
        return not self.waiting


class PipeReader:
    """The other direction, for who may not wait: `read` gives the messages that are whole."""

    def __init__(self, sock: socket.socket):
        sock.setblocking(False)
        self._sock, self._data = sock, bytearray()
        self.closed = False

    def read(self, most: int = 4 << 20) -> list[tuple[int, bytes]]:
        """(kind, body) of at most about `most` bytes. Raises PipeError for what is no message."""
        taken = 0
        while taken < most and not self.closed:
            try:
                part = self._sock.recv(1 << 20)
            except BlockingIOError:
                break
            except OSError:
                part = b""
            self.closed = not part
            self._data += part
            taken += len(part)
        found, at = [], 0
        while len(self._data) - at >= _HEAD.size:
            length, kind = _HEAD.unpack_from(self._data, at)
            if not 1 <= length <= MAX_MESSAGE:
                raise PipeError(f"message of {length} bytes; at most {MAX_MESSAGE}")
            if len(self._data) - at < _HEAD.size + length - 1:
                break
            found.append((kind, bytes(self._data[at + _HEAD.size : at + _HEAD.size + length - 1])))
            at += _HEAD.size + length - 1
        del self._data[:at]
        return found
