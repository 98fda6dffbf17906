"""RTCP: what senders and receivers say of a stream (RFC 3550 section 6.4, RFC 3611). Only ParseError leaves it."""

import struct
from dataclasses import dataclass

from voipfleet.decode.sip import ParseError

SENDER, RECEIVER, EXTENDED = 200, 201, 207
VOIP_METRICS = 7
MAX_REPORTS = 64  # in one compound packet
_BLOCK = struct.Struct("!IIIIII")


@dataclass(frozen=True, slots=True)
class Sent:
    """A sender report: its time stamp `ntp` (the middle 32 bits) comes back in the receiver's report."""

    ssrc: int
    ntp: int


@dataclass(frozen=True, slots=True)
class Received:
    """What the receiver `by` says of the stream `ssrc`: `lost` packets in all, `jitter` in RTP ticks, and of the last
    sender report that it had: its `ntp` and how long ago that was, in 1/65536 s."""

    ssrc: int
    by: int
    lost: int
    jitter: int
    ntp: int
    delay: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """VoIP metrics (RFC 3611 section 4.7) of the stream `ssrc`: MOS-LQ and round trip, None where not measured."""

    ssrc: int
    mos: float | None
    delay_ms: int | None


def parse(data: bytes) -> list[Sent | Received | Metrics]:
    """Everything of use in a compound packet; packets of other types are passed over."""
    found: list[Sent | Received | Metrics] = []
    at = 0
    while at + 4 <= len(data):
        first, kind, words = struct.unpack_from("!BBH", data, at)
        end = at + 4 + 4 * words
        if first >> 6 != 2:
            raise ParseError("rtcp_version")
        if end > len(data):
            raise ParseError("rtcp_short")
        if kind == SENDER:
            found += _sender(data[at + 4 : end], first & 31)
        elif kind == RECEIVER:
            found += _blocks(data[at + 8 : end], first & 31, _ssrc(data[at + 4 : end]))
        elif kind == EXTENDED:
            found += _extended(data[at + 8 : end])
        if len(found) > MAX_REPORTS:
            raise ParseError("rtcp_reports")
        at = end
    return found


def _ssrc(body: bytes) -> int:
    if len(body) < 4:
        raise ParseError("rtcp_short")
    return int.from_bytes(body[:4], "big")


def _sender(body: bytes, count: int) -> list[Sent | Received]:
    if len(body) < 24:
        raise ParseError("rtcp_short")
    ssrc = _ssrc(body)
    return [Sent(ssrc, int.from_bytes(body[6:10], "big")), *_blocks(body[24:], count, ssrc)]


def _blocks(body: bytes, count: int, by: int) -> list[Received]:
    if len(body) < 24 * count:
        raise ParseError("rtcp_short")
    found = []
    for number in range(count):
        ssrc, loss, _, jitter, ntp, delay = _BLOCK.unpack_from(body, 24 * number)
        lost = loss & 0xFFFFFF
        found.append(Received(ssrc, by, lost - (1 << 24) if lost >> 23 else lost, jitter, ntp, delay))
    return found


def _extended(body: bytes) -> list[Metrics]:
    found, at = [], 0
    while at + 4 <= len(body):
        kind, words = body[at], int.from_bytes(body[at + 2 : at + 4], "big")
        block = body[at + 4 : at + 4 + 4 * words]
        if len(block) < 4 * words:
            raise ParseError("rtcp_short")
        if kind == VOIP_METRICS and len(block) >= 32:
            mos, delay = block[22], int.from_bytes(block[12:14], "big")
            found.append(Metrics(_ssrc(block), mos / 10 if 10 <= mos <= 50 else None, delay or None))
        at += 4 + 4 * words
    return found
