"""Under which number packets are kept and found: 64 bits of BLAKE2b over a text. Pure.

The lowest bit says where to look: keys of signalling (class `sip`) are even, those of RTP streams odd.
"""

from functools import lru_cache
from hashlib import blake2b

from voipfleet.calls.record import CallRecord

MAX_KEYS = 512  # keys of one call
STREAM = 1  # the bit of an RTP stream's key
KEEP, WAIT, DROP = 0, 1, 2  # what the analysis says of a stream's key when its segment is to be sealed


def _key(kind: bytes, text: bytes, bit: int) -> int:
    return int.from_bytes(blake2b(text, digest_size=8, person=kind).digest(), "big") & ~1 | bit


def call_key(call_id: bytes) -> int:
    """All SIP messages with this Call-ID, in its raw bytes."""
    return _key(b"call", call_id, 0)


@lru_cache(maxsize=65_536)
def stream_key(sensor: str, src: str, dst: str, ssrc: int) -> int:
    """One RTP stream as `sensor` saw it; `src` and `dst` as records have them: `1.2.3.4:5000`, `[::1]:5000`."""
    return _key(b"stream", f"{sensor}\n{src}\n{dst}\n{ssrc}".encode(errors="surrogateescape"), STREAM)


@lru_cache(maxsize=65_536)
def report_key(sensor: str, a: str, b: str, ssrc: int) -> int:
    """RTCP about the stream `ssrc` between two hosts, whichever of them sent it, on whatever ports."""
    low, high = sorted((a, b))
    return _key(b"report", f"{sensor}\n{low}\n{high}\n{ssrc}".encode(errors="surrogateescape"), 0)


def keys_of(call: CallRecord) -> list[int]:
    """Everything that the call of a record may have in the store, MAX_KEYS at most: signalling, streams, RTCP."""
    found: dict[int, None] = {}
    if call.call_id:
        found[call_key(call.call_id.encode(errors="surrogateescape"))] = None
    seen = [(stream.sensor or call.sensor, stream.src, stream.dst, stream.ssrc) for stream in call.streams]
    for stream in seen:
        found[stream_key(*stream)] = None
    for sensor, src, dst, ssrc in seen:
        found[report_key(sensor, host(src), host(dst), ssrc)] = None
    return list(found)[:MAX_KEYS]


def host(endpoint: str) -> str:
    """Of `1.2.3.4:5000` or `[::1]:5000`; IPv6 stays in brackets."""
    return endpoint.rpartition(":")[0]
