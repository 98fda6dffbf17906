"""ITU-T G.711: the 256 values of each law as 16-bit samples, by the Recommendation's formulas. No I/O.

A code has a sign, a segment of 3 bits and a step of 4. mu-law (PCMU) goes over the wire with all bits inverted, and its
largest value is 8031 of 14 bits; of A-law (PCMA) every other bit is, and its largest is 4032 of 13. Both fill 16 bits
here as decoders have them: 32124 and 32256.
"""

import numpy as np

_CODES = np.arange(256)


def _mu() -> np.ndarray:
    code = ~_CODES & 0xFF
    segment, step = code >> 4 & 7, code & 15
    size = ((2 * step + 33) << segment) - 33
    return np.where(code & 0x80, -size, size) << 2


def _a() -> np.ndarray:
    code = _CODES ^ 0x55
    segment, step = code >> 4 & 7, code & 15
    size = np.where(segment, (2 * step + 33) << np.maximum(segment, 1) - 1, 2 * step + 1)
    return np.where(code & 0x80, size, -size) << 3


LAWS = {0: _mu().astype(np.int16), 8: _a().astype(np.int16)}  # by RTP payload type (RFC 3551)
RATE = 8000  # samples/s
