"""RTP headers as columns (RFC 3550 section 5.1); RTCP is told apart by its packet type (RFC 5761)."""

from dataclasses import dataclass

import numpy as np

from voipfleet.decode.frames import Packets, be


@dataclass(slots=True)
class Rtp:
    """Columns of the RTP packets among `Packets`: `index` is the packet there; `size` payload bytes."""

    index: np.ndarray
    pt: np.ndarray
    seq: np.ndarray
    stamp: np.ndarray
    ssrc: np.ndarray
    payload: np.ndarray
    size: np.ndarray
    rtcp: int


def parse(packets: Packets, among: np.ndarray) -> Rtp:
    """The valid RTP packets among those that `among` (bool, one a packet) selects."""
    index = np.nonzero(among & (packets.length >= 12))[0]
    data = packets.data
    at = packets.start[index]
    index = index[(data[at] >> 6) == 2]
    second = data[packets.start[index] + 1]
    control = (second >= 192) & (second <= 223)
    rtcp = int(np.count_nonzero(control))
    index = index[~control]
    at = packets.start[index]
    first = data[at]
    head = 12 + 4 * (first & 15).astype(np.int64)
    room = packets.length[index]
    extended = np.nonzero(((first & 16) != 0) & (room >= head + 4))[0]
    head[(first & 16) != 0] += 4
    head[extended] += 4 * be(data, at[extended] + head[extended] - 2, 2).astype(np.int64)
    good = head <= room
    index, at, head, room = index[good], at[good], head[good], room[good]
    return Rtp(index, (data[at + 1] & 127).astype(np.int64), be(data, at + 2, 2).astype(np.int64),
               be(data, at + 4, 4).astype(np.int64), be(data, at + 8, 4).astype(np.int64), at + head, room - head,
               rtcp)  # fmt: skip
