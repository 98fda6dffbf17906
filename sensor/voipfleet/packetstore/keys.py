"""Under which key packets are kept: 64 bits of BLAKE2b over what names a call, a stream, or two ends. Pure."""

import hashlib
from collections.abc import Iterator

from voipfleet.calls.record import CallRecord

MAX_KEYS = 512  # of one call


def call_key(call_id: bytes) -> int:
    """All SIP messages of a Call-ID."""
    return _key(b"sip", call_id)


def stream_key(sensor: str, src: str, dst: str, ssrc: int) -> int:
    """One RTP stream that `sensor` saw; the ends as records show them, `address:port`."""
    return _key(b"rtp", sensor.encode(), src.encode(), dst.encode(), b"%d" % ssrc)


def report_key(sensor: str, a: str, b: str) -> int:
    """RTCP between two ends, whichever of them sent it."""
    return _key(b"rtcp", sensor.encode(), *sorted((a.encode(), b.encode())))


def keys_of(call: CallRecord) -> list[int]:
    """Everything that may be kept of a record's call; RTCP on the port above RTP's (RFC 3550) or on RTP's own (RFC
    5761)."""
    return list(dict.fromkeys(_keys(call)))[:MAX_KEYS]


def _keys(call: CallRecord) -> Iterator[int]:
    if call.call_id:
        yield call_key(call.call_id.encode())
    for stream in call.streams:
        sensor = stream.sensor or call.sensor
        yield stream_key(sensor, stream.src, stream.dst, stream.ssrc)
        for above in (1, 0):
            yield report_key(sensor, _port(stream.src, above), _port(stream.dst, above))


def _port(endpoint: str, above: int) -> str:
    host, _, port = endpoint.rpartition(":")
    return f"{host}:{int(port) + above}"


def _key(*words: bytes) -> int:
    made = hashlib.blake2b(digest_size=8)
    for word in words:
        made.update(b"%d:" % len(word) + word)
    return int.from_bytes(made.digest(), "big")
