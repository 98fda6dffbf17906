"""Spans of a message filled with `x`: in a copy of it, or in the frames that carried it. No I/O.

A span is (first byte, byte after the last). Nothing changes its length, so that lengths in headers stay true; checksums
of UDP and TCP do not stay true.
"""

import re
from collections.abc import Iterable, Sequence

Span = tuple[int, int]
FILL = b"x" * (64 << 10)
_SOLID = re.compile(rb"[^\r\n]++")


def merged(*lists: Iterable[Span]) -> list[Span]:
    """All spans, in order, without overlaps."""
    found: list[Span] = []
    done = -1
    for start, end in sorted(span for spans in lists for span in spans):
        if end <= start or end <= done:
            continue
        if start <= done:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
        done = end
    return found


def filled(message: bytes, spans: Sequence[Span]) -> bytes:
    """A copy with the spans filled."""
    if not spans:
        return message
    copy = bytearray(message)
    apply(copy, 0, spans)
    return bytes(copy)


def apply(frame: bytearray | memoryview, start: int, spans: Iterable[Span], end: int | None = None) -> None:
    """Fill in place, where the message begins at `start` of `frame`. Nothing is written before `start`, or from `end`
    on (None: the frame's end): a frame may be cut short."""
    view = memoryview(frame)
    end = len(view) if end is None else min(end, len(view))
    for first, last in spans:
        first, last = max(first + start, start), min(last + start, end)
        while first < last:
            size = min(last - first, len(FILL))
            view[first : first + size] = FILL[:size]
            first += size


def mask_parts(message: bytes, spans: Iterable[Span], parts: Sequence[tuple[bytearray | memoryview, int, int]],
               others: bool = False) -> bool:  # fmt: skip
    """Fill in place in the frames of one stream or datagram: `parts` are (frame, where its payload begins, its length),
    and the payloads one after the other hold `message`, perhaps several times. With `others` what else they hold is of
    other messages (TCP), of which `spans` say nothing: that is filled whole, but for line ends. False: the message is
    not there, and nothing was done."""
    slices = [bytes(memoryview(frame)[start : start + length]) for frame, start, length in parts]
    whole = b"".join(slices)
    at = whole.find(message) if message else -1
    if at < 0:
        return False
    spans, found, done = list(spans), [], 0
    while at >= 0:
        found += solid(whole, done, at) if others else []
        found += [(first + at, last + at) for first, last in spans]
        done = at + len(message)
        at = whole.find(message, done)
    found += solid(whole, done, len(whole)) if others else []
    offset = 0
    for (frame, start, _), piece in zip(parts, slices, strict=True):
        apply(frame, start, [(first - offset, last - offset) for first, last in found], start + len(piece))
        offset += len(piece)
    return True


def solid(data: bytes, start: int, end: int) -> list[Span]:
    """All between, but for line ends."""
    return [match.span() for match in _SOLID.finditer(data, start, end)]
