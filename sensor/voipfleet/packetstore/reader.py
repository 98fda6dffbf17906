"""The packets of a plan as a stream: pcap files one after the other, each behind a line that says its size.

One file a link type; its packets are in no order. The same plan gives the same bytes, so that whoever got a part of
them asks for the rest. What vanishes between the plan and its reading is replaced by empty packets, and told.
"""

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator
from hashlib import blake2b

import numpy as np

from voipfleet.capture import chain
from voipfleet.decode import rtp
from voipfleet.decode.frames import Decoder
from voipfleet.packetstore.lookup import Piece, Plan, ahead, plan
from voipfleet.packetstore.segment import MAX_CAPTURED, PCAP_HEAD, RECORD_HEAD, heads, pcap_head

__all__ = ["Piece", "Plan", "Stream", "missing_words", "plan", "read"]
DIGEST = 16  # bytes
UNKNOWN = 14  # bytes that stay of a packet in which nobody finds where the voice begins
_NO_PORTS = np.zeros(1 << 16, bool)


class Stream:
    """The bytes of a plan from `offset` on, as an iterator; afterwards what it was: `bytes` and `digest` (BLAKE2b-16,
    hexadecimal) of all from 0, `packets`, and `missing`, a sentence, empty if nothing is.

    `cut_audio`: of RTP that was kept whole only the headers. Raises OSError where a file cannot be read for another
    reason than that it is gone.
    """

    def __init__(self, plan: Plan, *, offset: int = 0, cut_audio: bool = False):
        self._plan, self._skip, self._cut = plan, offset, cut_audio
        self.bytes = self.packets = 0
        self._gone, self._bad = plan.gone, plan.damaged
        self._hash = blake2b(digest_size=DIGEST)

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts():
            self._hash.update(part)
            skipped = min(len(part), max(0, self._skip - self.bytes))
            self.bytes += len(part)
            if skipped < len(part):
                yield part[skipped:] if skipped else part

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    @property
    def missing(self) -> str:
        return missing_words(self._bad, self._gone)

    def _parts(self) -> Iterator[bytes]:
        for linktype in sorted({piece.linktype for piece in self._plan.pieces}):
            pieces = [piece for piece in self._plan.pieces if piece.linktype == linktype]
            sizes = [piece.length for piece in pieces]
            if self._cut:  # how much is left is known only by looking at all of it
                audio = (piece for piece in pieces if piece.kind == "audio")
                left = iter([len(self._content(piece, data)[0] or b"") for piece, data in read(audio)])
                sizes = [next(left) if piece.kind == "audio" else piece.length for piece in pieces]
            yield f'{{"pcap": {PCAP_HEAD + sum(sizes)}}}\n'.encode()
            yield pcap_head(linktype)
            for (piece, data), size in zip(read(pieces), sizes, strict=True):
                content, packets = self._content(piece, data)
                if content is None or len(content) != size:
                    self._bad += data is not None
                    self._gone += data is None
                    content, packets = _nothing(size), 0
                self.packets += packets
                yield content

    def _content(self, piece: Piece, data: bytes | None) -> tuple[bytes | None, int]:
        """What leaves of a piece, and how many packets that is; None where it is not what it should be."""
        if data is None or len(data) != piece.length:
            return None, 0
        array = np.frombuffer(data, np.uint8)
        starts, end = chain.starts(array, "<")
        if end != len(data):
            return None, 0
        if self._cut and piece.kind == "audio":
            data = without_audio(array, starts, piece.linktype)
        return data, len(starts)


def missing_words(damaged: int, gone: int) -> str:
    """A sentence about segments that could not be read; empty if all could."""
    said = [f"{count} segments {what}" for count, what in
            ((damaged, "are damaged"), (gone, "were removed meanwhile")) if count]  # fmt: skip
    return f"packets are missing: {' and '.join(said)}" if said else ""


def read(pieces: Iterable[Piece]) -> Iterator[tuple[Piece, bytes | None]]:
    """Each piece with its bytes, None where the file is gone; the next ones are asked for beforehand."""
    with contextlib.closing(ahead(pieces, _opened)) as files:
        for piece, file in files:
            yield piece, os.pread(file, piece.length, piece.offset) if file >= 0 else None


def _opened(piece: Piece) -> int:
    try:
        file = os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    os.posix_fadvise(file, piece.offset, piece.length, os.POSIX_FADV_WILLNEED)
    return file


def _nothing(size: int) -> bytes:
    """Packets of zeros that take `size` bytes (none, or those of a record at least): a size that was said is kept."""
    out = []
    while size:
        left = size - RECORD_HEAD
        take = left if left <= MAX_CAPTURED else MAX_CAPTURED - RECORD_HEAD
        out.append(struct.pack("<IIII", 0, 0, take, take) + bytes(take))
        size = left - take
    return b"".join(out)


def without_audio(data: np.ndarray, starts: np.ndarray, linktype: int) -> bytes:
    """The records without the payload of RTP; what is no RTP (a fragment) without nearly everything."""
    block = chain.block_of(data, starts, linktype)
    keep = np.minimum(block.caplen, UNKNOWN)
    packets = Decoder(_NO_PORTS, lambda name, by=1: None).parse(block)
    found = rtp.parse(packets, packets.start < len(data))
    frame = found.index if packets.frame is None else packets.frame[found.index]
    keep[frame] = np.minimum(found.payload - block.offset[frame], block.caplen[frame])
    sizes = keep + RECORD_HEAD
    ends = np.cumsum(sizes)
    out = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    # Byte by byte: of a packet, what is kept follows its head as before.
    place = np.repeat(starts - (ends - sizes), sizes) + np.arange(len(out))
    np.take(data, place, out=out)
    at = ends - sizes
    records = heads(block.ts, keep, block.wirelen).view(np.uint8)
    out[at[:, None] + np.arange(RECORD_HEAD)] = records
    return out.tobytes()
