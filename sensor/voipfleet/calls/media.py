"""RTP streams by addresses, ports and SSRC, kept without waiting for SIP; calls claim them by their endpoints."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from voipfleet.arrays import run_starts
from voipfleet.calls import stream_scalar as scalar
from voipfleet.calls.copies import Copies
from voipfleet.calls.dialog import Endpoint
from voipfleet.calls.endpoints import Endpoints
from voipfleet.calls.index import Index
from voipfleet.calls.keeping import Keeper
from voipfleet.calls.streams import StreamTable
from voipfleet.decode import rtp, sdp
from voipfleet.decode.columns import Packets

MAX_STREAMS, MAX_DIGITS = 65_536, 64
MAX_STRANGERS_OF_ONE = MAX_STREAMS // 4  # streams of one host that no SDP has named
_MIX = [np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xFF51AFD7ED558CCD)]


@dataclass(slots=True)
class Stream:
    """One stream: `row` in the table of figures, `types` the payload types it had and their clocks (0: not known)."""

    row: int
    key: int
    src: Endpoint
    dst: Endpoint
    ssrc: int
    sensor: str = ""  # whose packets these are; empty for this instance
    types: dict[int, int] = field(default_factory=dict)
    digits: str = ""
    event: int = -1


class Media:
    """The streams of one sensor. `count(name, by)` is told of what is refused; `window_ns`: how long after a packet the
    same one is the copy of a mirror port (negative: never); `answered(call)`: whether a call has been answered; `keep`:
    who is told which packets are of which stream.
    """

    def __init__(self, buffer_ms: int, window_ns: int, count: Callable[..., None], answered: Callable[[bytes], bool],
                 keep: Keeper | None = None):  # fmt: skip
        self._count, self._keep = count, keep
        self.endpoints = Endpoints(answered)
        self._copies = Copies(window_ns)
        self._salt = np.uint64(int.from_bytes(os.urandom(8)) | 1)
        self.table = StreamTable(MAX_STREAMS, buffer_ms)
        self._index = Index(MAX_STREAMS)
        self._by_row: list[Stream | None] = []
        # Of a row: ns of its newest packet; the payload type that its clock belongs to; how many had the marker bit
        self._last, self._main, self._markers = (np.zeros(1024, np.int64) for _ in range(3))
        self._at: dict[Endpoint, set[int]] = {}
        self._strangers: dict[int, None] = {}  # rows that nobody has named, the oldest first
        self._strangers_of: dict[tuple[int, int], int] = {}  # how many by sending host
        self.leaving: Callable[[Stream, bool], None] | None = None  # told of each that leaves: is it a stranger?

    def name(self, endpoint: Endpoint, media: sdp.Media, call: bytes, ts: int) -> None:
        """A call's SDP, seen at `ts`, says what is sent to `endpoint`."""
        self.endpoints.name(endpoint, media, call, ts)
        for row in self._at.get(endpoint, ()):
            self._known(row)
            if self._keep:
                self._keep.named(row)
            stream = self._by_row[row]
            types = {pt: self.endpoints.clock(stream.src, stream.dst, pt) for pt in stream.types}
            if types != stream.types:
                stream.types = types
                if not self.table.rate(row):
                    self.table.set_rate(row, types.get(int(self._main[row]), 0))
                elif types.get(int(self._main[row])) != self.table.rate(row):
                    self._main[row] = -1

    def release(self, call: bytes, endpoints: Iterable[Endpoint], streams: list[Stream]) -> None:
        """The call is over. Its streams go with it unless another one has the same endpoints."""
        self.endpoints.release(call, endpoints)
        for stream in streams:
            if not self.endpoints.said(stream.src, stream.dst):
                self.drop(stream)

    def feed(self, packets: Packets, r: rtp.Rtp, sensor: str = "") -> None:
        """The RTP packets of a block that `sensor` captured. What two sensors see of a stream are two streams."""
        if not len(r.index):
            return
        keys = self._keys(packets, r, sensor)
        rows = self._index.lookup(keys)
        unknown = np.nonzero(rows < 0)[0]
        if len(unknown):
            self._open_all(packets, r, keys, unknown, sensor)
            rows = self._index.lookup(keys)  # of all: a stream may have had to go for a new one
            good = rows >= 0
            if not good.all():
                r, rows = r.only(good), rows[good]
        order = self.table.order(rows)
        rows, seq, ts = rows[order], r.seq[order], packets.ts[r.index][order]
        if not len(rows):
            return
        starts = run_starts(rows)
        copies = self._copies.find(packets, r.index[order], rows, seq, ts, starts)
        if copies is not None:
            self._count("span_duplicates", int(np.count_nonzero(copies)))
            rows, seq, ts, order = (column[~copies] for column in (rows, seq, ts, order))
            if not len(rows):
                return
            starts = run_starts(rows)
        each = rows[starts]
        self._last[each] = np.maximum(np.maximum.reduceat(ts, starts), self._last[each])
        pt = r.pt[order]
        rate = self._rates(rows, pt)
        self.table.feed_sorted(rows, ts, seq, r.stamp[order], pt, rate, starts)
        self._events(packets, r, rows, order)
        if self._keep:
            self._keep.media(r.index[order], rows, r, order)

    def _rates(self, rows: np.ndarray, pt: np.ndarray) -> np.ndarray | None:
        """The clocks of packets where a stream has payload types besides its main one; None where no stream has."""
        other = np.nonzero(self._main[rows] != pt)[0]
        if not len(other):
            return None
        rate, mixed = np.full(len(rows), scalar.SAME), set()
        for at, row, kind in zip(other.tolist(), rows[other].tolist(), pt[other].tolist(), strict=True):
            clock = self._type(row, kind)
            if clock <= 0:
                rate[at] = scalar.OTHER
            elif clock == self.table.rate(row):
                self._main[row] = kind
            else:
                mixed.add(row)
        for row in mixed:  # it changes its clock: every packet says which it has
            for at in np.nonzero(rows == row)[0].tolist():
                kind = int(pt[at])
                rate[at] = self._type(row, kind) or scalar.OTHER
                self._main[row] = kind if rate[at] > 0 else self._main[row]
        return rate

    def _type(self, row: int, pt: int) -> int:
        """The clock of a payload type of a stream, remembered."""
        stream = self._by_row[row]
        if pt not in stream.types:
            stream.types[pt] = self.endpoints.clock(stream.src, stream.dst, pt)
        return stream.types[pt]

    def _events(self, packets: Packets, r: rtp.Rtp, rows: np.ndarray, order: np.ndarray) -> None:
        np.add.at(self._markers, rows[r.marker[order]], 1)
        for at in np.nonzero((r.pt[order] >= 96) & (r.size[order] == 4))[0].tolist():
            i = int(order[at])
            self._digit(self._by_row[rows[at]], packets.data, int(r.payload[i]), int(r.stamp[i]))

    def claim(self, call: bytes, endpoints: Iterable[Endpoint], since: int) -> list[Stream]:
        """The streams to or from any of a call's endpoints that had a packet since then and began before other calls
        took over each of these, oldest first."""
        rows = {row for endpoint in endpoints for row in self._at.get(endpoint, ())}
        streams = (self._by_row[row] for row in rows if self._last[row] >= since)
        found = [s for s in streams if self.endpoints.until(call, s.src, s.dst) >= self.first(s)]
        return sorted(found, key=lambda stream: (self.last(stream), stream.ssrc))

    def markers(self, stream: Stream) -> int:
        """How many of its packets had the marker bit: spurts of talk, mostly."""
        return int(self._markers[stream.row])

    def first(self, stream: Stream) -> int:
        """Time of its first packet, ns."""
        return int(self.table.columns["first"][stream.row])

    def last(self, stream: Stream) -> int:
        """Time of its newest packet, ns."""
        return int(self._last[stream.row])

    def forget(self, before: Mapping[str, int]) -> None:
        """Drop streams without a packet since `before`, by sensor, that belong to no endpoint of a call."""
        others = min(before.values())  # of sensors that have been forgotten
        for row in np.nonzero(self._last[: len(self._by_row)] < max(before.values()))[0].tolist():
            stream = self._by_row[row]
            if stream is None or self._last[row] >= before.get(stream.sensor, others):
                continue
            if not self.endpoints.said(stream.src, stream.dst):
                self.drop(stream)

    def strangers(self, before: int) -> list[Stream]:
        """The streams that no SDP has named, without a packet since `before` (ns)."""
        rows = np.fromiter(self._strangers, np.int64, len(self._strangers))
        return [self._by_row[row] for row in rows[self._last[rows] < before].tolist()]

    def between(self, src: Endpoint, dst: Endpoint) -> list[Stream]:
        """Those of them from one endpoint to another."""
        rows = min((self._at.get(end, ()) for end in (src, dst)), key=len)
        found = (self._by_row[row] for row in rows if row in self._strangers)
        return [stream for stream in found if (stream.src, stream.dst) == (src, dst)]

    def drop(self, stream: Stream) -> None:
        if self.leaving:
            self.leaving(stream, stream.row in self._strangers)
        if self._keep:
            self._keep.left(stream.row)
        self._known(stream.row)
        self._index.remove(stream.key)
        self._by_row[stream.row] = None
        self.table.free(stream.row)
        for endpoint in {stream.src, stream.dst}:
            self._at[endpoint].discard(stream.row)
            if not self._at[endpoint]:
                del self._at[endpoint]

    def _known(self, row: int) -> None:
        """A stranger is none any more."""
        if row in self._strangers:
            del self._strangers[row]
            host = self._by_row[row].src[:2]
            self._strangers_of[host] -= 1
            if not self._strangers_of[host]:
                del self._strangers_of[host]

    def _keys(self, packets: Packets, r: rtp.Rtp, sensor: str) -> np.ndarray:
        """A salted hash of addresses, ports and SSRC: nobody can choose packets that collide."""
        i = r.index
        key = np.full(len(i), self._salt ^ np.uint64(hash(sensor) & (1 << 64) - 1))
        ports = (packets.sport[i] << 16 | packets.dport[i]).astype(np.uint64) << np.uint64(32)
        words = (packets.src_hi[i], packets.src_lo[i], packets.dst_hi[i], packets.dst_lo[i],
                 ports | r.ssrc.astype(np.uint64))  # fmt: skip
        for n, word in enumerate(words):
            key = (key ^ word) * _MIX[n % 4]
            key ^= key >> np.uint64(29)
        return key | np.uint64(2)  # 0 and 1 mean something in the index

    def _open_all(self, packets: Packets, r: rtp.Rtp, keys: np.ndarray, unknown: np.ndarray, sensor: str) -> None:
        fresh, first = np.unique(keys[unknown], return_index=True)
        order = np.argsort(first)  # as they came: what is refused must not depend on the salt
        for key, at in zip(fresh[order].tolist(), unknown[first[order]].tolist(), strict=True):
            self._open(key, packets, r, at, sensor)

    def _open(self, key: int, packets: Packets, r: rtp.Rtp, at: int, sensor: str) -> None:
        i = int(r.index[at])
        src, dst = packets.ends(i)
        media = self.endpoints.said(src, dst)
        if media and media.kind == "image":  # T.38: its sequence numbers look like RTP at times
            self._count("udptl_like_rtp")
            return
        stranger = media is None
        if stranger and self._strangers_of.get(src[:2], 0) >= MAX_STRANGERS_OF_ONE:
            self._count("streams_refused")
            return
        stream = Stream(-1, key, src, dst, int(r.ssrc[at]), sensor)
        pt = int(r.pt[at])
        stream.types[pt] = clock = self.endpoints.clock(src, dst, pt)
        row = self.table.allot(max(clock, 0))
        if row is None and self._strangers:
            self.drop(self._by_row[next(iter(self._strangers))])
            self._count("streams_evicted")
            row = self.table.allot(max(clock, 0))
        if row is None:
            self._count("streams_refused")
            return
        stream.row = row
        self._index.insert(key, row)
        while row >= len(self._by_row):
            self._by_row.append(None)
        if row >= len(self._last):
            more = np.zeros(len(self._last), np.int64)
            for name in ("_last", "_main", "_markers"):
                setattr(self, name, np.concatenate([getattr(self, name), more]))
        self._by_row[row], self._last[row], self._markers[row] = stream, 0, 0
        self._copies.open(row)
        self._main[row] = pt if clock >= 0 else -1
        for endpoint in {src, dst}:
            self._at.setdefault(endpoint, set()).add(row)
        if self._keep:
            self._keep.opened(row, src, dst, stream.ssrc, sensor, stranger)
        if stranger:
            self._strangers[row] = None
            self._strangers_of[src[:2]] = self._strangers_of.get(src[:2], 0) + 1

    def _digit(self, stream: Stream, data: np.ndarray, at: int, stamp: int) -> None:
        media = self.endpoints.said(stream.src, stream.dst)
        if media and media.secure:
            return  # encrypted
        if stream.event != stamp and data[at] < 16 and len(stream.digits) < MAX_DIGITS:
            stream.event = stamp
            stream.digits += "0123456789*#ABCD"[int(data[at])]
