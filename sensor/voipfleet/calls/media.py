"""RTP streams by addresses, ports and SSRC, kept without waiting for SIP; calls claim them by their endpoints."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from voipfleet.calls.dialog import Endpoint
from voipfleet.calls.index import Index
from voipfleet.calls.streams import StreamTable
from voipfleet.decode import rtp, sdp
from voipfleet.decode.columns import Packets

MAX_STREAMS, MAX_DIGITS = 65_536, 64
_MIX = [np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xFF51AFD7ED558CCD)]


@dataclass(slots=True)
class Stream:
    """One stream: `row` in the table of figures, `types` the payload types it had."""

    row: int
    key: int
    src: Endpoint
    dst: Endpoint
    ssrc: int
    types: set[int]
    digits: str = ""
    event: int = -1


class Media:
    """The streams of one sensor. `count(name, by)` is told of what is refused."""

    def __init__(self, buffer_ms: int, count: Callable[..., None]):
        self._count = count
        self._salt = np.uint64(int.from_bytes(os.urandom(8)) | 1)
        self.table = StreamTable(MAX_STREAMS, buffer_ms)
        self._index = Index(MAX_STREAMS)
        self._by_row: list[Stream | None] = []
        self._last = np.zeros(1024, np.int64)  # ns: a stream's newest packet
        self._type = np.zeros(1024, np.int64)  # its payload type
        self._at: dict[Endpoint, set[int]] = {}
        self._named: dict[Endpoint, sdp.Media] = {}

    def name(self, endpoint: Endpoint, media: sdp.Media) -> None:
        """A call's SDP says what is sent to `endpoint`."""
        self._named[endpoint] = media

    def feed(self, packets: Packets, r: rtp.Rtp) -> None:
        """The RTP packets of a block."""
        if not len(r.index):
            return
        keys = self._keys(packets, r)
        rows = self._index.lookup(keys)
        unknown = np.nonzero(rows < 0)[0]
        if len(unknown):
            self._open_all(packets, r, keys, unknown)
            rows[unknown] = self._index.lookup(keys[unknown])
            good = rows >= 0
            if not good.all():  # the table is full
                r = rtp.Rtp(*(c[good] for c in (r.index, r.pt, r.seq, r.stamp, r.ssrc, r.payload, r.size)), r.control)
                rows = rows[good]
        ts = packets.ts[r.index]
        self._last[rows] = np.maximum(ts, self._last[rows])
        for at in np.nonzero(self._type[rows] != r.pt)[0].tolist():
            self._by_row[rows[at]].types.add(int(r.pt[at]))
        self._type[rows] = r.pt
        for at in np.nonzero((r.pt >= 96) & (r.size == 4))[0].tolist():
            self._digit(self._by_row[rows[at]], packets.data, int(r.payload[at]), int(r.stamp[at]))
        self.table.feed(rows, ts, r.seq, r.stamp, r.pt)

    def claim(self, endpoints, since: int, most: int) -> list[Stream]:
        """The streams to or from any of `endpoints` that had a packet since then, at most `most`, oldest first."""
        rows = {row for endpoint in endpoints for row in self._at.get(endpoint, ())}
        found = [self._by_row[row] for row in rows if self._last[row] >= since]
        return sorted(found, key=lambda s: (int(self._last[s.row]), s.ssrc))[:most]

    def last(self, stream: Stream) -> int:
        """Time of its newest packet, ns."""
        return int(self._last[stream.row])

    def forget(self, before: int, named: set[Endpoint]) -> None:
        """Drop streams without a packet since `before` that belong to no endpoint of a call, and stale names."""
        self._named = {endpoint: media for endpoint, media in self._named.items() if endpoint in named}
        for row in np.nonzero(self._last[: len(self._by_row)] < before)[0].tolist():
            stream = self._by_row[row]
            if stream and stream.src not in named and stream.dst not in named:
                self.drop(stream)

    def drop(self, stream: Stream) -> None:
        self._index.remove(stream.key)
        self._by_row[stream.row] = None
        self.table.free(stream.row)
        for endpoint in {stream.src, stream.dst}:
            self._at[endpoint].discard(stream.row)
            if not self._at[endpoint]:
                del self._at[endpoint]

    def _keys(self, packets: Packets, r: rtp.Rtp) -> np.ndarray:
        """A salted hash of addresses, ports and SSRC: nobody can choose packets that collide."""
        i = r.index
        key = np.full(len(i), self._salt)
        ports = (packets.sport[i] << 16 | packets.dport[i]).astype(np.uint64) << np.uint64(32)
        words = (packets.src_hi[i], packets.src_lo[i], packets.dst_hi[i], packets.dst_lo[i],
                 ports | r.ssrc.astype(np.uint64))  # fmt: skip
        for n, word in enumerate(words):
            key = (key ^ word) * _MIX[n % 4]
            key ^= key >> np.uint64(29)
        return key | np.uint64(2)  # 0 and 1 mean something in the index

    def _open_all(self, packets: Packets, r: rtp.Rtp, keys: np.ndarray, unknown: np.ndarray) -> None:
        fresh, first = np.unique(keys[unknown], return_index=True)
        for key, at in zip(fresh.tolist(), unknown[first].tolist(), strict=True):
            self._open(key, packets, r, at)

    def _open(self, key: int, packets: Packets, r: rtp.Rtp, at: int) -> None:
        i = int(r.index[at])
        src = (int(packets.src_hi[i]), int(packets.src_lo[i]), int(packets.sport[i]))
        dst = (int(packets.dst_hi[i]), int(packets.dst_lo[i]), int(packets.dport[i]))
        pt = int(r.pt[at])
        media = self._named.get(dst) or self._named.get(src)
        rate = (media.codecs.get(pt) if media else None) or sdp.STATIC.get(pt, ("", 8000))
        row = self.table.allot(rate[1])
        if row is None:
            self._count("streams_refused")
            return
        stream = Stream(row, key, src, dst, int(r.ssrc[at]), set())
        self._index.insert(key, row)
        while row >= len(self._by_row):
            self._by_row.append(None)
        if row >= len(self._last):
            self._last, self._type = (np.concatenate([c, np.zeros_like(c)]) for c in (self._last, self._type))
        self._by_row[row], self._last[row], self._type[row] = stream, 0, -1
        for endpoint in (src, dst):
            self._at.setdefault(endpoint, set()).add(row)

    def _digit(self, stream: Stream, data: np.ndarray, at: int, stamp: int) -> None:
        if stream.event != stamp and data[at] < 16 and len(stream.digits) < MAX_DIGITS:
            stream.event = stamp
            stream.digits += "0123456789*#ABCD"[int(data[at])]
