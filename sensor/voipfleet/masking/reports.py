"""Telephone numbers in RTCP, where senders and receivers may say who they are (RFC 3550 section 6.5). No I/O."""

from voipfleet.masking import numbers
from voipfleet.masking.filling import Span, merged

DESCRIPTION, BYE, APPLICATION = 202, 203, 204
_HEAD = 4  # bytes of a packet before what it says


def spans(data: bytes, keep: int) -> list[Span]:
    """Where in a compound packet digits are to be masked: of texts all but the last `keep`. Names are mostly drawn at
    random today, but may be `user@host`, and a telephone number has an item of its own. What is not known (APP, or what
    is no RTCP) is taken for text."""
    found: list[Span] = []
    at = 0
    while at + _HEAD <= len(data):
        end = at + _HEAD + 4 * int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at] >> 6 != 2 or end > len(data):
            break
        if data[at + 1] == DESCRIPTION:
            _items(data, at + _HEAD, end, keep, found)
        elif data[at + 1] == BYE:
            found += numbers.digits(data, min(at + _HEAD + 4 * (data[at] & 31), end), end, keep)
        elif data[at + 1] == APPLICATION:
            found += numbers.digits(data, at + _HEAD, end, keep)
        at = end
    return merged(found, numbers.digits(data, at, len(data), keep))


def _items(data: bytes, at: int, end: int, keep: int, found: list[Span]) -> None:
    """Chunks: a source, then items of type, length, text up to a null and a multiple of four bytes."""
    while at + 4 < end:
        at += 4
        while at < end and data[at]:
            stop = min(at + 2 + (data[at + 1] if at + 1 < end else 0), end)
            found += numbers.digits(data, at + 2, stop, keep)
            at = stop
        at += 4 - at % 4 if at < end else 0
