"""Which packets of a block are kept, and under which key of the packet store: what the analysis knows of them.

SIP of calls and registrations by its Call-ID, RTP by its stream, RTCP by its two ends. RTP is kept a block at a time;
messages, reports and what was put together of fragments go one by one. No I/O: the store takes it from here.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from voipfleet.calls.dialog import Endpoint, show
from voipfleet.capture import tags
from voipfleet.capture.block import Block
from voipfleet.decode import rtp, sip
from voipfleet.decode.columns import Packets, Piece
from voipfleet.masking.filling import mask_parts
from voipfleet.packetstore import keys
from voipfleet.packetstore.keys import DROP, KEEP, WAIT

PATIENCE = 10.0  # s for which RTP waits for the SDP that names it
MAX_STRANGERS = 200_000  # streams that nobody has named and whose packets may be in the store's hands
_UDP = 8  # bytes of its header
_EVENT = 16  # bytes of payload of which up to four events may be (RFC 4733)

Spans = Sequence[tuple[int, int]]


class Store(Protocol):
    """What of the packet store is used here (packetstore/staging.py)."""

    def add(self, kind: str, linktype: int, keys: np.ndarray, ts: np.ndarray, offset: np.ndarray, caplen: np.ndarray,
            wirelen: np.ndarray, data: np.ndarray) -> None: ...  # fmt: skip

    def add_frames(self, kind: str, linktype: int, key: int, frames: list[tuple[int, int, bytes]]) -> None: ...


class Keeper:
    """What the instance `own` keeps. `savertp`: yes, header or no. `secrets(message)`: the spans of a SIP message that
    are masked, `names(report)` those of RTCP; `hide_digits`: of RTP that may be digits only the headers are kept.
    `all_rtp`: also what no SDP names here, since it may be named elsewhere."""

    def __init__(self, store: Store, own: str, *, savesip: bool, savertp: str, savertcp: bool,
                 secrets: Callable[[bytes], Spans] | None, hide_digits: bool, all_rtp: bool,
                 names: Callable[[bytes], Spans] | None = None,
                 clock: Callable[[], float] = time.monotonic):  # fmt: skip
        self._store, self._own, self._secrets, self._names, self._clock = store, own, secrets, names, clock
        self._savesip, self._savertcp, self._all = savesip, savertcp, all_rtp
        self.rtp = savertp != "no"
        self._kind = "audio" if savertp == "yes" else "rtp"
        self._whole, self._digits = savertp == "yes", not hide_digits
        self._keys = np.zeros(1024, np.uint64)  # of a stream's row
        self._strangers: dict[int, float] = {}  # key -> since when nobody has named it
        self._gone: set[int] = set()  # of these, what has left the table of streams
        self._media: list[tuple[np.ndarray, ...]] = []
        self._block: Block | None = None
        self._packets: Packets | None = None

    # -- streams, as the table of them says ------------------------------------------------------------

    def opened(self, row: int, src: Endpoint, dst: Endpoint, ssrc: int, sensor: str, stranger: bool) -> None:
        """A stream has a row."""
        if row >= len(self._keys):
            self._keys = np.concatenate([self._keys, np.zeros(max(len(self._keys), row), np.uint64)])
        key = keys.stream_key(sensor or self._own, show(src), show(dst), ssrc)
        self._keys[row] = key
        if not stranger:
            self._known(key)
        elif not self._all:
            self._strangers[key] = self._clock()
            self._gone.discard(key)
            if len(self._strangers) > MAX_STRANGERS:
                self._known(next(iter(self._strangers)))

    def named(self, row: int) -> None:
        """An SDP has named the stream of a row."""
        self._known(int(self._keys[row]))

    def _known(self, key: int) -> None:
        self._strangers.pop(key, None)
        self._gone.discard(key)

    def left(self, row: int) -> None:
        """A stream that nobody has named leaves its row."""
        if (key := int(self._keys[row])) in self._strangers:
            self._gone.add(key)

    def verdict(self, wanted: np.ndarray) -> np.ndarray:
        """Of each key (uint64): KEEP, WAIT or DROP (int8), as the store asks when it closes a segment."""
        if not self._strangers:
            return np.zeros(len(wanted), np.int8)
        old = self._clock() - PATIENCE
        said = [KEEP if since is None else WAIT if since > old else DROP
                for since in map(self._strangers.get, wanted.tolist())]  # fmt: skip
        for key in [key for key in self._gone if self._strangers.get(key, 0) < old - 60]:
            self._known(key)
        return np.array(said, np.int8)

    # -- packets of the block that is being analysed ---------------------------------------------------

    def begin(self, block: Block, packets: Packets) -> None:
        """Rows are those of `packets` from here on."""
        self._block, self._packets, self._media = block, packets, []

    def media(self, index: np.ndarray, rows: np.ndarray, r: rtp.Rtp, order: np.ndarray) -> None:
        """RTP packets (rows of `Packets`, their streams' rows); `order` says where each is in `r`."""
        starts = r.payload[order]
        digits = (r.pt[order] >= 96) & (r.size[order] <= _EVENT) & (r.size[order] % 4 == 0)
        self._media.append((index, self._keys[rows], starts, digits))

    def end(self) -> None:
        """Everything of the block has been told."""
        block, packets = self._block, self._packets
        if not self._media:
            return
        index, keys_, starts, digits = (np.concatenate(parts) for parts in zip(*self._media, strict=True))
        self._media = []
        if packets.pieces:
            made = np.isin(index, np.fromiter(packets.pieces, np.int64))
            for at in np.nonzero(made)[0].tolist():
                self._rtp_pieces(int(index[at]), int(keys_[at]), bool(digits[at]), int(starts[at]))
            index, keys_, starts, digits = (column[~made] for column in (index, keys_, starts, digits))
            if not len(index):
                return
        frame = index if packets.frame is None else packets.frame[index]
        offset, caplen = block.offset[frame], block.caplen[frame]
        if not self._whole:
            caplen = np.minimum(caplen, starts - offset)
        elif not self._digits:
            caplen = np.where(digits, np.minimum(caplen, starts - offset), caplen)
        tagged = tags.taken_off(block, frame)
        if tagged is not None:
            self._tagged(block, keys_[tagged], frame[tagged], caplen[tagged])
            keys_, frame, offset, caplen = (column[~tagged] for column in (keys_, frame, offset, caplen))
        if len(frame):
            self._store.add(self._kind, block.linktype, keys_, block.ts[frame], offset, caplen, block.wirelen[frame],
                            block.data)  # fmt: skip

    def _tagged(self, block: Block, keys_: np.ndarray, frame: np.ndarray, caplen: np.ndarray) -> None:
        """Packets whose VLAN tag the kernel took off."""
        for which, rows in tags.frames(block, frame, caplen):
            count, size = rows.shape
            mine = frame[which]
            self._store.add(self._kind, block.linktype, keys_[which], block.ts[mine], np.arange(count) * size,
                            np.full(count, size), block.wirelen[mine] + tags.TAG, rows.reshape(-1))  # fmt: skip

    def _rtp_pieces(self, row: int, key: int, digits: bool, start: int) -> None:
        """RTP that came in fragments. Where only headers are kept, of the first fragment what is before the payload."""
        pieces = self._packets.pieces[row]
        if not self._whole or (digits and not self._digits):
            first = pieces[0]
            head = first.start + _UDP + (start - int(self._packets.start[row]))
            pieces = [first._replace(frame=first.frame[:head])]
        self._frames(self._kind, key, pieces)

    def message(self, row: int, data: bytes, call_id: bytes) -> None:
        """A SIP message of a call or a registration."""
        if not self._savesip:
            return
        pieces = self._pieces(row)
        if self._secrets:
            spans = self._secrets(data)
            others = self._packets.transport[row] and sum(piece.length for piece in pieces) > len(data)
            if spans or others:  # segments of TCP may hold other messages, also of other calls
                pieces = _masked(data, spans, pieces, bool(others))
        self._frames("sip", _call_key(call_id), pieces)

    def report(self, row: int, ssrc: int) -> None:
        """An RTCP packet about the stream `ssrc`. Not by its ports: the next call may have the same."""
        if self._savertcp:
            hosts = (keys.host(show(end)) for end in self._packets.ends(row))
            key, pieces = keys.report_key(self._block.sensor or self._own, *hosts, ssrc), self._pieces(row)
            if self._names:
                start = int(self._packets.start[row])
                data = self._packets.data[start : start + int(self._packets.length[row])].tobytes()
                pieces = _masked(data, self._names(data), pieces)
            self._frames("sip", key, pieces)

    def _frames(self, kind: str, key: int, pieces: list[Piece]) -> None:
        frames = [(piece.ts, piece.wirelen, piece.frame) for piece in pieces]
        self._store.add_frames(kind, self._block.linktype, key, frames)

    def _pieces(self, row: int) -> list[Piece]:
        """The frames of a row; of a plain packet the one, and where its payload is."""
        block, packets = self._block, self._packets
        if (found := packets.pieces.get(row)) is not None:
            return found
        index = row if packets.frame is None else int(packets.frame[row])
        frame, more = tags.frame(block, index)
        start = int(packets.start[row]) - int(block.offset[index]) + more
        return [Piece(int(block.ts[index]), int(block.wirelen[index]) + more, frame, start, int(packets.length[row]))]


def _masked(message: bytes, spans: Spans, pieces: list[Piece], others: bool = False) -> list[Piece]:
    """The frames of a message with the spans filled; where it is not in them as it was read (it was cut short, or its
    segments overlap), nothing of their payload is kept."""
    frames = [bytearray(piece.frame) for piece in pieces]
    if mask_parts(message, spans, [(frame, piece.start, piece.length)
                                   for frame, piece in zip(frames, pieces, strict=True)], others):  # fmt: skip
        return [piece._replace(frame=bytes(frame)) for piece, frame in zip(pieces, frames, strict=True)]
    return [piece._replace(frame=piece.frame[: piece.start]) for piece in pieces]


@functools.lru_cache(4096)
def _call_key(call_id: bytes) -> int:
    """By the Call-ID as records show it: who looks a call up has nothing else."""
    return keys.call_key(sip.show(call_id).encode())
