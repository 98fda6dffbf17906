"""TCP byte streams put together, one direction each (RFC 9293), within fixed limits. No I/O.

A capture joins connections in the middle, sees segments out of order or twice, and misses some. What came before a hole
and what comes after it is read; the hole is given up when the other side has moved on for a second.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from voipfleet.decode.columns import Piece
from voipfleet.decode.sipstream import MAX_BUFFER, SipStream

MAX_STREAMS, MAX_BYTES = 4096, 32 << 20
MAX_LATER = 256  # segments of one direction that wait for what is before them
IDLE = 60_000_000_000  # ns after which a direction is forgotten; it is joined again when it goes on
PATIENCE = 1_000_000_000  # ns for which a missing segment is waited for
FIN, SYN, RST = 1, 2, 4
_HALF = 1 << 31


@dataclass(slots=True)
class _Stream:
    """`next`: the sequence number that comes next, -1 before any. `later`: sequence number -> (when, bytes, frames).
    `pieces`: frames of what is in the buffer of `sip`."""

    sip: SipStream
    next: int = -1
    last: int = 0
    later: dict[int, tuple[int, bytes, Sequence[Piece]]] = field(default_factory=dict)
    held: int = 0  # bytes of `later`
    pieces: list[Piece] = field(default_factory=list)


class Connections:
    """All directions of TCP connections that carry SIP. `count(name, by)` is told of what is given up. `pieces`: of
    each message that `take` gave last, the frames it came in, where `take` was given such."""

    def __init__(self, count: Callable[..., None]):
        self._count = count
        self.pieces: list[list[Piece]] = []
        self._streams: dict[tuple, _Stream] = {}
        self._bytes = 0

    def take(self, ts: int, key: tuple, seq: int, flags: int, data: bytes, pieces: Sequence[Piece] = ()) -> list[bytes]:
        """One segment at `ts` (ns) of the direction `key`; the SIP messages that are whole with it."""
        self.pieces = []
        stream = self._streams.pop(key, None)
        if stream is None or flags & SYN:
            if stream is not None:
                self._forget(stream, "")
            stream = _Stream(SipStream(self._count))
        self._streams[key] = stream  # at the end: the first is the one that was quiet for longest
        before = len(stream.sip.buffer) + stream.held
        stream.last = ts
        if flags & SYN:
            seq = stream.next = (seq + 1) & 0xFFFFFFFF
        found = self._segment(stream, ts, seq, data, pieces) if data else []
        if stream.later and ts - min(when for when, _, _ in stream.later.values()) > PATIENCE:
            found += self._skip(stream)
        if flags & (FIN | RST) and not stream.later:
            self._bytes -= before
            self._streams.pop(key)
            if stream.sip.buffer:
                self._count("tcp_unread_bytes", len(stream.sip.buffer))
            return found
        self._bytes += len(stream.sip.buffer) + stream.held - before
        self._limit(ts)
        return found

    def _segment(self, stream: _Stream, ts: int, seq: int, data: bytes, pieces: Sequence[Piece]) -> list[bytes]:
        if stream.next < 0:
            stream.next = seq
        ahead = (seq - stream.next + _HALF) % (2 * _HALF) - _HALF
        if ahead < 0:
            if ahead + len(data) <= 0:
                self._count("tcp_repeated")
                return []
            data, seq, ahead = data[-ahead:], stream.next, 0
        if ahead == 0:
            found = self._bytes_in(stream, data, pieces)
            while (entry := stream.later.pop(stream.next, None)) is not None:
                stream.held -= len(entry[1])
                found += self._bytes_in(stream, *entry[1:])
            if stream.later:
                found += self._overtaken(stream)
            return found
        if ahead > MAX_BUFFER * 16:  # a connection that reuses the ports, without its SYN
            self._count("tcp_unread_bytes", stream.held + len(stream.sip.buffer))
            stream.later, stream.held, stream.sip, stream.pieces = {}, 0, SipStream(self._count), []
            stream.next = seq
            return self._bytes_in(stream, data, pieces)
        known = stream.later.get(seq)
        if known is None or len(known[1]) < len(data):
            stream.held += len(data) - (len(known[1]) if known else 0)
            stream.later[seq] = (ts, data, pieces)
        else:
            self._count("tcp_repeated")
        return self._skip(stream) if stream.held > MAX_BUFFER or len(stream.later) > MAX_LATER else []

    def _bytes_in(self, stream: _Stream, data: bytes, pieces: Sequence[Piece]) -> list[bytes]:
        stream.next = (stream.next + len(data)) & 0xFFFFFFFF
        found = stream.sip.take(data)
        stream.pieces += pieces
        if found:  # the first began in frames before these, the others began in these
            self.pieces += [stream.pieces, *(list(pieces) for _ in found[1:])]
            stream.pieces = list(pieces)
        if not stream.sip.buffer:
            stream.pieces = []
        elif len(stream.pieces) > MAX_LATER:  # of a message in the smallest of segments
            del stream.pieces[0]
            self._count("tcp_frames_not_kept")
        return found

    def _overtaken(self, stream: _Stream) -> list[bytes]:
        """Segments in `later` that begin before `next`: what is new of them follows, the rest was there."""
        found = []
        for seq in sorted(stream.later, key=lambda at: (at - stream.next + _HALF) % (2 * _HALF)):
            ahead = (seq - stream.next + _HALF) % (2 * _HALF) - _HALF
            if ahead > 0:
                break
            _, data, pieces = stream.later.pop(seq)
            stream.held -= len(data)
            if len(data) > -ahead:
                found += self._bytes_in(stream, data[-ahead:], pieces)
        return found

    def _skip(self, stream: _Stream) -> list[bytes]:
        """Give up the first hole; go on with what lies behind it."""
        seq = min(stream.later, key=lambda at: (at - stream.next + _HALF) % (2 * _HALF))
        self._count("tcp_gaps")
        stream.sip.lost()
        stream.pieces = []
        stream.next = seq
        found = []
        while (entry := stream.later.pop(stream.next, None)) is not None:
            stream.held -= len(entry[1])
            found += self._bytes_in(stream, *entry[1:])
        return found + (self._overtaken(stream) if stream.later else [])

    def _forget(self, stream: _Stream, reason: str) -> None:
        left = len(stream.sip.buffer) + stream.held
        self._bytes -= left
        if left:
            self._count("tcp_unread_bytes", left)
        if reason:
            self._count(reason)

    def _limit(self, now: int) -> None:
        while self._streams:
            key, stream = next(iter(self._streams.items()))
            if len(self._streams) > MAX_STREAMS or self._bytes > MAX_BYTES:
                self._forget(self._streams.pop(key), "tcp_evicted")
            elif now - stream.last > IDLE:
                self._forget(self._streams.pop(key), "")
            else:
                return
