"""The bytes of a capture file or of standard input, inflated where they are gzip (RFC 1952), in bounded memory."""

import contextlib
import fcntl
import os
import sys
import zlib
from typing import BinaryIO

import numpy as np

GZIP = b"\x1f\x8b"
_READ = 256 << 10  # compressed bytes in memory at a time
_PIPE = 1 << 20  # bytes that a pipe may hold: what comes at once is analysed at once
UNFINISHED = "the file is truncated; read what it holds"


class Source:
    """`name` is for sentences. `size` is that of the file, 0 where it has none; `position` what was read of it."""

    def __init__(self, path: str):
        """Raises OSError where `path` ("-": standard input) cannot be opened."""
        self.name = "standard input" if path == "-" else path
        standard = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)  # what is buffered waits for more
        # Open as long as this object is; close() ends it.
        self._file: BinaryIO = standard if path == "-" else open(path, "rb", buffering=0)  # noqa: SIM115
        self._read = self._file.readinto
        self.position = self.size = 0
        with contextlib.suppress(OSError, ValueError):  # no file descriptor, or not of a pipe
            self.size = os.fstat(self._file.fileno()).st_size
            fcntl.fcntl(self._file.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)
        self.fault = ""  # why the bytes end before they should
        self._inflate = None
        self._over = False
        self._packed = b""  # read ahead, and not yet given
        self._packed = self._bytes(2, whole=True)
        if self._packed == GZIP:
            self._inflate = zlib.decompressobj(wbits=31)

    def close(self) -> None:
        self._file.close()

    def exactly(self, size: int) -> bytes:
        """`size` bytes, less only at the end."""
        data, done = bytearray(size), 0
        while done < size and (got := self.into(memoryview(data)[done:])):
            done += got
        return bytes(data[:done])

    def after(self, rest: np.ndarray, size: int) -> tuple[np.ndarray, int]:
        """(`rest` and at most `size` bytes more, how many these are): 0 at the end."""
        data = np.empty(len(rest) + size, np.uint8)
        data[: len(rest)] = rest
        got = self.into(memoryview(data)[len(rest) :])
        return data[: len(rest) + got], got

    def into(self, view: memoryview) -> int:
        """Bytes to the front of `view`: as many as are there now; 0 at the end."""
        if self._inflate is not None:
            return self._inflated(view)
        if self._packed:
            part, self._packed = self._packed[: len(view)], self._packed[len(view) :]
            view[: len(part)] = part
            return len(part)
        got = self._read(view) or 0
        self.position += got
        return got

    def _bytes(self, size: int, whole: bool = False) -> bytes:
        """At most `size` bytes as they are in the file; with `whole` less only at its end."""
        data, done = bytearray(size), 0
        while done < size and (got := self._read(memoryview(data)[done:])):
            done += got
            if not whole:
                break
        self.position += done
        return bytes(data[:done])

    def _inflated(self, view: memoryview) -> int:
        """Never more than `view` takes: a bomb is only a long capture."""
        done = 0
        while done < len(view) and not (self.fault or self._over):
            if not self._packed:
                if done and not self.size:  # a pipe: what follows may be long in coming
                    break
                self._packed = self._bytes(_READ)
            if not self._packed:
                self._over, self.fault = True, "" if self._inflate.eof else UNFINISHED
                break
            if self._inflate.eof:  # several members are one file; what follows and is none is no part of it
                self._over = not self._packed.startswith(GZIP[:1])
                self._inflate = zlib.decompressobj(wbits=31)
                continue
            try:
                part = self._inflate.decompress(self._packed, len(view) - done)
            except zlib.error:
                self.fault = "its compression is damaged; read what it holds"
                break
            self._packed = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            view[done : done + len(part)] = part
            done += len(part)
        return done
