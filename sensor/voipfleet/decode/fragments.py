"""IPv4 and IPv6 fragments put together (RFC 791, RFC 8200 section 4.5), within fixed limits. No I/O."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from voipfleet.decode.columns import Piece

MAX_DATAGRAMS, MAX_PARTS, MAX_BYTES = 1024, 64, 4 << 20
MAX_SIZE = 65535
KEEP = 30_000_000_000  # ns that the rest of a datagram is waited for


@dataclass(slots=True)
class _Datagram:
    since: int  # ns: its first fragment
    parts: dict[int, bytes] = field(default_factory=dict)
    size: int = 0  # bytes of `parts`
    whole: int = -1  # bytes of the datagram, once its last fragment is there
    refused: bool = False  # its fragments contradict each other; the rest of them is not taken for a new one
    pieces: list[tuple[int, Piece]] = field(default_factory=list)  # the frames that they came in, where these are kept


class Fragments:
    """`count(name)` is told of what is given up. `pieces`: the frames of the datagram that was whole last, in its
    order."""

    def __init__(self, count: Callable[..., None]):
        self._count = count
        self.pieces: list[Piece] = []
        self._open: dict[tuple, _Datagram] = {}
        self._bytes = 0

    def take(self, ts: int, header: bytes, rest: bytes, sensor: str = "", pieces: Sequence[Piece] = ()) -> bytes | None:
        """One fragment, seen at `ts` (ns) by `sensor`: its IP `header` and what follows, with IPv6 from the fragment
        header on. Two sites may use the same private addresses, so what different sensors saw is never put together.
        `pieces`: the frames that it came in, where they are to be known once the datagram is whole.

        The whole packet when this was the last that was missing: a plain IP header and the payload.
        """
        if header[0] >> 4 == 4:
            word = struct.unpack_from("!H", header, 6)[0]
            more, offset, protocol = bool(word & 0x2000), (word & 0x1FFF) * 8, header[9]
            key = (sensor, header[12:20], protocol, header[4:6])
        else:
            protocol, word = rest[0], struct.unpack_from("!H", rest, 2)[0]
            more, offset = bool(word & 1), word & 0xFFF8
            key = (sensor, header[8:40], rest[4:8])
            rest = rest[8:]
        self._expire(ts)
        datagram = self._open.get(key)
        if datagram is None:
            datagram = self._open[key] = _Datagram(ts)
        if datagram.refused or not self._fits(datagram, offset, rest, more):
            return None
        datagram.pieces += [(offset, piece) for piece in pieces]
        if datagram.whole < 0 or datagram.size < datagram.whole:
            self._limit()
            return None
        del self._open[key]
        self._bytes -= datagram.size
        self.pieces = [piece for _, piece in sorted(datagram.pieces, key=lambda found: found[0])]
        payload = b"".join(part for _, part in sorted(datagram.parts.items()))
        return _packet(header, protocol, payload)

    def _fits(self, datagram: _Datagram, offset: int, part: bytes, more: bool) -> bool:
        """Take the part where it agrees with what is there; whether it did."""
        if datagram.parts.get(offset) == part:
            self._count("fragment_duplicates")
            return False
        end = offset + len(part)
        others = [(at, at + len(other)) for at, other in datagram.parts.items()]
        fault = ""
        if not part or (more and len(part) % 8) or end > MAX_SIZE - 20:
            fault = "size"
        elif len(others) >= MAX_PARTS:
            fault = "parts"
        elif any(start < end and offset < stop for start, stop in others):
            fault = "overlap"
        elif (datagram.whole >= 0 and (end > datagram.whole or not more)) or (
            not more and any(stop > end for _, stop in others)
        ):
            fault = "end"  # two ends, or something behind the end
        if fault:  # RFC 5722: one that overlaps spoils the datagram
            self._count("fragment_errors")
            self._count(f"fragment_error_{fault}")
            self._bytes -= datagram.size
            datagram.parts, datagram.size, datagram.refused, datagram.pieces = {}, 0, True, []
            return False
        datagram.parts[offset] = part
        datagram.size += len(part)
        self._bytes += len(part)
        if not more:
            datagram.whole = end
        return True

    def _limit(self) -> None:
        while len(self._open) > MAX_DATAGRAMS or self._bytes > MAX_BYTES:
            self._drop(next(iter(self._open)), "fragments_evicted")

    def _expire(self, now: int) -> None:
        """The oldest first, as they stand in the table."""
        while self._open:
            key = next(iter(self._open))
            if now - self._open[key].since <= KEEP:
                return
            self._drop(key, "fragments_expired")

    def _drop(self, key: tuple, reason: str) -> None:
        datagram = self._open.pop(key)
        self._bytes -= datagram.size
        if not datagram.refused:
            self._count(reason)


def _packet(header: bytes, protocol: int, payload: bytes) -> bytes:
    """An IP packet without options or extensions; the checksum is not made, for nobody reads it."""
    if header[0] >> 4 == 4:
        return b"\x45" + header[1:2] + struct.pack("!H", 20 + len(payload)) + header[4:6] + b"\0\0" + \
            bytes([header[8], protocol]) + b"\0\0" + header[12:20] + payload  # fmt: skip
    return header[:4] + struct.pack("!H", len(payload)) + bytes([protocol]) + header[7:40] + payload
