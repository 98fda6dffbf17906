"""SIP messages out of a stream of bytes (RFC 3261 section 18.3), joined at any place. No I/O."""

import re
from collections.abc import Callable

from voipfleet.decode.sip import MAX_HEAD

MAX_BUFFER = 64 << 10  # bytes of one message
_START = re.compile(rb"(?:^|(?<=\n))(?:SIP/2\.0 [1-6][0-9]{2}[ \r\n]|[A-Za-z0-9.!%*_+`'~-]{1,64} [^\s]+ SIP/2\.0\r?\n)")
_END = re.compile(rb"\r?\n\r?\n")
_EMPTY = re.compile(rb"(?:\r?\n)+")  # keep-alives (RFC 5626 4.4.1), and empty lines before a start line
_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,10})[ \t]*\r?$", re.I | re.M)
_LONGEST_LINE = 8 << 10


class SipStream:
    """One direction of a connection: `take` bytes in their order, get messages."""

    def __init__(self, count: Callable[..., None]):
        self._count = count
        self.buffer = bytearray()
        self._joined = False  # whether `buffer` begins where a message begins
        self._plain = 0  # bytes at its start that are known to hold no empty line

    def lost(self) -> None:
        """Bytes are missing here: what is left of the message before them is of no use."""
        self._discard(len(self.buffer))
        self._joined = False

    def _discard(self, size: int) -> None:
        if size:
            self._count("tcp_skipped_bytes", size)
            self._drop(size)

    def _drop(self, size: int) -> None:
        del self.buffer[:size]
        self._plain = max(0, self._plain - size)

    def take(self, data: bytes) -> list[bytes]:
        """The messages that are whole with `data`. Raises nothing."""
        self.buffer += data
        found = []
        while self.buffer:
            if empty := _EMPTY.match(self.buffer):
                self._drop(empty.end())
            if not self._find_start():
                break
            size = self._size()
            if size is None:
                continue
            if not size or len(self.buffer) < size:
                break
            found.append(bytes(self.buffer[:size]))
            self._drop(size)
        return found

    def _find_start(self) -> bool:
        """Whether `buffer` begins with a start line, or may yet."""
        if self._joined and b"\n" not in self.buffer[:_LONGEST_LINE] and len(self.buffer) < _LONGEST_LINE:
            return False  # the line is not whole
        match = _START.search(self.buffer)
        if match:
            self._discard(match.start())
            self._joined = True
            return True
        self._joined = False
        last = self.buffer.rfind(b"\n") + 1  # a start line may have begun there
        self._discard(last if len(self.buffer) - last < _LONGEST_LINE else len(self.buffer))
        return False

    def _size(self) -> int | None:
        """Bytes of the message at the start; 0 while its head is not whole; None where it is given up."""
        end = _END.search(self.buffer, max(0, self._plain - 3), MAX_HEAD + 4)
        if end is None:
            self._plain = min(len(self.buffer), MAX_HEAD + 4)
            if len(self.buffer) <= MAX_HEAD:
                return 0
        else:
            length = _LENGTH.search(self.buffer, 0, end.start() + 1)
            size = int(length[1]) if length else 0  # without one there is no body (RFC 3261 20.14 demands it here)
            if size <= MAX_BUFFER:
                return end.end() + size
        self._count("tcp_oversize")
        line = self.buffer.find(b"\n") + 1
        self._discard(line)
        self._joined = False
        return None
