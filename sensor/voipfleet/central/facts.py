"""What searches and figures need of a call, as columns of table `calls` and rows of `addresses`. Pure.

`verdict` packs what is filtered together, so that one index finds any of it in the order of time:

    response << 8 | answered << 7 | one_way << 6 | class of the MOS

`response` is the final response (0: none; STREAMS: none since it is streams without a call; ODD: no SIP response). The
class of the MOS is 0 where no stream has one, else 1 + how many of BOUNDS its worst stream has reached: "below 3.6" is
a set of classes, to the last bit.
"""

import bisect
import functools
import math
import socket

from voipfleet.calls.record import CallRecord, StreamRecord

INVITES, REGISTRATIONS, OTHERS = 0, 1, 2  # kinds; streams without a call are among the calls
_KINDS = {"INVITE": INVITES, "RTP": INVITES, "REGISTER": REGISTRATIONS}
KEY = 48  # bytes of a number that are looked for
STREAMS, ODD = 1022, 1023
ANSWERED, ONE_WAY, CLASSES = 1 << 7, 1 << 6, 63
BOUNDS = [n / 10 for n in range(11, 51)]  # of the MOS
_FAR = 1e9


def columns(call: CallRecord, sides: list[StreamRecord]) -> dict:
    """The columns that voipfleet.central.rows does not know; `sides`: what each side sent, once."""
    worst = min((stream.mos for stream in call.streams if stream.mos is not None and not math.isnan(stream.mos)),
                default=None)  # fmt: skip
    return {
        "kind": _KINDS.get(call.method, OTHERS), "verdict": verdict(call, worst),
        "caller_key": key(call.caller), "callee_key": key(call.callee),
        "caller_tail": tail(call.caller), "callee_tail": tail(call.callee),
        "src_ip": packed(call.src), "dst_ip": packed(call.dst),
        "pdd": call.pdd if call.pdd is not None and math.isfinite(call.pdd) else None,
        "mos": None if worst is None else max(-_FAR, min(worst, _FAR)),
        "lost": sum(stream.lost for stream in sides) if sides else None,
        "expected": sum(stream.expected for stream in sides) if sides else None,
    }  # fmt: skip


def verdict(call: CallRecord, worst: float | None) -> int:
    response = call.final_response if 0 <= call.final_response < STREAMS else ODD
    if call.method == "RTP" and not response:
        response = STREAMS
    return response << 8 | bool(call.answer_time) * ANSWERED | bool(call.one_way) * ONE_WAY | mos_class(worst)


def mos_class(worst: float | None) -> int:
    return 0 if worst is None else 1 + bisect.bisect_right(BOUNDS, worst)


def response_of(packed: int) -> int:
    """The final response of a verdict, as a filter takes it."""
    response = packed >> 8
    return 0 if response == STREAMS else response


def below(packed: int, mos: float) -> bool:
    """Whether its worst stream can be below `mos`."""
    return 1 <= packed & CLASSES <= 1 + bisect.bisect_left(BOUNDS, mos)


def key(text: str) -> bytes:
    """How a number begins, without its case."""
    return text[:KEY].casefold().encode("utf-8", "replace")[:KEY]


def tail(text: str) -> bytes:
    """How it ends, backwards."""
    return text[-KEY:].casefold().encode("utf-8", "replace")[::-1][:KEY]


def addresses(call: CallRecord) -> set[bytes]:
    """Of its media, packed, but for those of its signalling."""
    hosts = {end.rpartition(":")[0] for stream in call.streams for end in (stream.src, stream.dst)}
    return {_packed(host) for host in hosts} - {packed(call.src), packed(call.dst), b""}


def packed(endpoint: str) -> bytes:
    """The address in `address:port`; empty where there is none."""
    return _packed(endpoint.rpartition(":")[0])


@functools.lru_cache(4096)
def _packed(host: str) -> bytes:
    host = host.strip("[]").partition("%")[0]
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except (OSError, ValueError):
        return b""
