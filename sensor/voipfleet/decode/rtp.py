"""RTP headers as columns (RFC 3550 section 5.1); RTCP is told apart by its packet type (RFC 5761)."""

from dataclasses import dataclass

import numpy as np

from voipfleet.decode.columns import Packets, be, fields, rows

_HEADER = fields(12, first=("u1", 0), second=("u1", 1), seq=(">u2", 2), stamp=(">u4", 4), ssrc=(">u4", 8))


@dataclass(slots=True)
class Rtp:
    """Columns of the RTP packets among `Packets`: `index` is the packet there; `size` payload bytes, `marker` its
    bit. `control`: the packets there that are RTCP."""

    index: np.ndarray
    pt: np.ndarray
    seq: np.ndarray
    stamp: np.ndarray
    ssrc: np.ndarray
    payload: np.ndarray
    size: np.ndarray
    marker: np.ndarray
    control: np.ndarray

    def only(self, which: slice | np.ndarray) -> "Rtp":
        """The packets that `which` selects; no RTCP."""
        columns = (self.index, self.pt, self.seq, self.stamp, self.ssrc, self.payload, self.size, self.marker)
        return Rtp(*(column[which] for column in columns), self.control[:0])


def parse(packets: Packets, among: np.ndarray) -> Rtp:
    """The valid RTP packets among those that `among` (bool, one a packet) selects."""
    index = np.nonzero(among & (packets.length >= 12))[0]
    at = packets.start[index]
    header = rows(packets.data, at, _HEADER)
    kind = header["second"]
    version = header["first"] >> 6 == 2
    control = version & (kind >= 192) & (kind <= 223)
    reports = index[control]
    media = version & ~control
    if not media.all():
        index, at, header = index[media], at[media], header[media]
    first = header["first"]
    head = 12 + 4 * (first & 15).astype(np.int64)
    room = packets.length[index]
    extended = np.nonzero((first & 16) != 0)[0]
    if len(extended):
        whole = extended[room[extended] >= head[extended] + 4]
        words = be(packets.data, at[whole] + head[whole] + 2, 2).astype(np.int64)
        head[extended] += 4
        head[whole] += 4 * words
    good = head <= room
    if not good.all():
        index, at, header, head, room = (column[good] for column in (index, at, header, head, room))
    return Rtp(index, (header["second"] & 127).astype(np.int64), header["seq"].astype(np.int64),
               header["stamp"].astype(np.int64), header["ssrc"].astype(np.int64), at + head, room - head,
               header["second"] >= 128, reports)  # fmt: skip
