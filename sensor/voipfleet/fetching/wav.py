"""A WAV file of stereo samples of 16 bit (RIFF, WAVE_FORMAT_PCM). No I/O."""

import struct
from collections.abc import Iterable, Iterator

import numpy as np

from voipfleet.fetching.g711 import RATE

_FRAME = 4  # bytes: two samples


def head(count: int) -> bytes:
    """What stands before `count` pairs of samples."""
    size = count * _FRAME
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, RATE, RATE * _FRAME, _FRAME, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size)


def wav(count: int, pieces: Iterable[np.ndarray]) -> Iterator[bytes]:
    """`count` pairs in all."""
    yield head(count)
    for piece in pieces:
        yield piece.astype("<i2").tobytes()
