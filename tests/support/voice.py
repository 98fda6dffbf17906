"""Tones as G.711 in RTP: what an audio test sends, and what it must hear again."""

import struct

import numpy as np

RATE, MS = 8000, 1_000_000


def tone(seconds: float, hertz: float = 440.0, level: int = 8000) -> np.ndarray:
    """int16 samples whose loudness and pitch change all the time, so that no two places sound alike."""
    at = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * (hertz + 40 * at) * at) * (0.4 + 0.6 * np.sin(2.1 * at) ** 2)).astype(np.int16)


def mulaw(samples: np.ndarray) -> bytes:
    """As ITU-T G.711 compresses: the sign, where the highest bit is, and the four behind it."""
    size = np.minimum(np.abs(samples.astype(np.int64)) >> 2, 8158) + 33
    segment = np.floor(np.log2(size)).astype(np.int64) - 5
    code = segment << 4 | size >> segment + 1 & 15
    return (~(code | np.where(samples < 0, 0x80, 0)) & 0xFF).astype(np.uint8).tobytes()


def alaw(samples: np.ndarray) -> bytes:
    size = np.minimum(np.where(samples < 0, -samples.astype(np.int64) - 1, samples.astype(np.int64)) >> 3, 4095)
    segment = np.maximum(np.floor(np.log2(np.maximum(size, 1))).astype(np.int64) - 4, 0)
    code = segment << 4 | size >> np.maximum(segment, 1) & 15
    return ((code | np.where(samples < 0, 0, 0x80)) ^ 0x55).astype(np.uint8).tobytes()


def cut(samples: np.ndarray, law=mulaw, size: int = 160) -> list[bytes]:
    return [law(samples[at : at + size]) for at in range(0, len(samples), size)]


def rtp(pt: int, seq: int, stamp: int, ssrc: int, payload: bytes, marker: bool = False) -> bytes:
    return struct.pack("!BBHII", 0x80, pt | marker << 7, seq & 0xFFFF, stamp & 0xFFFFFFFF, ssrc) + payload


def alike(heard: np.ndarray, sent: np.ndarray) -> float:
    """Correlation of the two where they lie: 1 for the same sound at the same place."""
    return float(np.corrcoef(heard.astype(float), sent.astype(float))[0, 1])


def lag(heard: np.ndarray, sent: np.ndarray, most: int = 800) -> int:
    """By how many samples `heard` is later than `sent`, by their best correlation."""
    size = 1 << (len(heard) + len(sent) + 2 * most).bit_length()
    both = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sent, size)), size)
    near = np.concatenate([both[-most:], both[: most + 1]])
    return int(np.argmax(near)) - most
