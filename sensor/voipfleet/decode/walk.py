"""Every packet by every rule, a column at a time: link layers, VLAN tags, IPv4, IPv6 with extensions, tunnels.

Tunnels: IP in IP (RFC 2003, 2473, 4213), GRE (RFC 2784, 2890), ERSPAN I, II and III in GRE, VXLAN (RFC 7348). What
takes state (fragments, TCP) is put aside for frames.py. What is of no use is counted with its reason.
"""

from collections.abc import Sequence

import numpy as np

from voipfleet.capture.block import ETHERNET, LINUX_SLL, LINUX_SLL2, NULL, RAW
from voipfleet.decode.columns import MAPPED, be

MAX_TAGS, MAX_TUNNELS, MAX_EXTENSIONS = 4, 2, 8
VXLAN = 4789
_TAGS = (0x8100, 0x88A8, 0x9100)
_EXTENSIONS = (0, 43, 51, 60, 135, 139, 140)  # IPv6 (RFC 8200; 51 is the Authentication Header, RFC 4302)
_FRAGMENT, _TCP, _UDP, _GRE = 44, 6, 17, 47
_IP_IN_IP = (4, 41)

Columns = Sequence[np.ndarray]


class Walk:
    """One pass over some packets of one array of bytes.

    Results are lists of tuples of arrays, `index` (the packet's place in its block) first. `udp`: index, ip (start of
    the innermost IP header), start, length of the payload, src_hi, src_lo, dst_hi, dst_lo, sport, dport. `tcp`: index,
    src_hi, src_lo, dst_hi, dst_lo, start, end of the segment. `fragments`: index, ip, start of the fragment's payload
    (IPv4) or of its fragment header (IPv6), end.
    """

    def __init__(self, data: np.ndarray, ignored: dict[str, int]):
        self.data, self.ignored = data, ignored
        self.udp: list[Columns] = []
        self.tcp: list[Columns] = []
        self.fragments: list[Columns] = []

    def _keep(self, mask: np.ndarray, reason: str, *columns: np.ndarray) -> Columns:
        lost = len(mask) - int(np.count_nonzero(mask))
        if not lost:
            return columns
        self.ignored[reason] = self.ignored.get(reason, 0) + lost
        return tuple(column[mask] for column in columns)

    def link(self, linktype: int, index: np.ndarray, at: np.ndarray, end: np.ndarray) -> None:
        """Frames of a capture, from `at` to before `end`."""
        if linktype == ETHERNET:
            self._typed(index, at, end, 12, 14, 0)
        elif linktype == LINUX_SLL:
            self._typed(index, at, end, 14, 16, 0)
        elif linktype == LINUX_SLL2:
            self._typed(index, at, end, 0, 20, 0)
        elif linktype in (RAW, NULL):
            self._ip(index, at + (4 if linktype == NULL else 0), end, 0)
        else:
            self._keep(np.zeros(len(index), bool), "linktype")

    def _typed(self, index, at, end, where: int, head: int, depth: int) -> None:
        """Frames whose protocol stands `where` bytes from their start, and their payload `head` bytes from it."""
        index, at, end = self._keep(end - at >= head, "short", index, at, end)
        kind = be(self.data, at + where, 2)
        at = at + head
        for _ in range(MAX_TAGS):
            if not (tagged := np.isin(kind, _TAGS)).any():
                break
            index, at, end, kind, tagged = self._keep(~tagged | (end - at >= 4), "short", index, at, end, kind, tagged)
            kind = kind.copy()
            kind[tagged] = be(self.data, at[tagged] + 2, 2)
            at = at + 4 * tagged
        index, at, end, kind = self._keep((kind == 0x0800) | (kind == 0x86DD), "not_ip", index, at, end, kind)
        index, at, end, kind = self._keep(end - at >= 20, "short", index, at, end, kind)
        version = self.data[at] >> 4
        self._ip(*self._keep(version == np.where(kind == 0x0800, 4, 6), "bad_ip", index, at, end), depth)

    def _ip(self, index, at, end, depth: int) -> None:
        index, at, end = self._keep(end - at >= 20, "short", index, at, end)
        version = self.data[at] >> 4
        for number, family in ((4, self._ipv4), (6, self._ipv6)):
            mine = version == number
            if mine.any():
                family(index[mine], at[mine], end[mine], depth)
        self._keep((version == 4) | (version == 6), "bad_ip")

    def _ipv4(self, index, at, end, depth: int) -> None:
        head = (self.data[at] & 15).astype(np.int64) * 4
        total = be(self.data, at + 2, 2).astype(np.int64)
        sound = (head >= 20) & (total >= head) & (end - at >= head)
        # IP says where the packet ends; what follows is padding of the frame
        index, at, end, head = self._keep(sound, "bad_ip", index, at, np.minimum(end, at + total), head)
        part = (be(self.data, at + 6, 2) & np.uint64(0x3FFF)) != 0
        if part.any():
            self.fragments.append((index[part], at[part], (at + head)[part], end[part]))
            index, at, end, head = (column[~part] for column in (index, at, end, head))
        addresses = [np.zeros(len(at), np.uint64), be(self.data, at + 12, 4) | MAPPED,
                     np.zeros(len(at), np.uint64), be(self.data, at + 16, 4) | MAPPED]  # fmt: skip
        self._payload(index, at, at + head, end, self.data[at + 9], addresses, depth)

    def _ipv6(self, index, at, end, depth: int) -> None:
        index, at, end = self._keep(end - at >= 40, "short", index, at, end)
        end = np.minimum(end, at + 40 + be(self.data, at + 4, 2).astype(np.int64))
        start, protocol = at + 40, self.data[at + 6]
        for _ in range(MAX_EXTENSIONS):
            if not (more := np.isin(protocol, _EXTENSIONS)).any():
                break
            enough = ~more | (end - start >= 8)
            index, at, end, start, protocol, more = self._keep(enough, "short", index, at, end, start, protocol, more)
            words = self.data[np.where(more, start + 1, 0)].astype(np.int64)
            size = np.where(protocol == 51, (words + 2) * 4, (words + 1) * 8)
            protocol = np.where(more, self.data[np.where(more, start, 0)], protocol)
            start = start + size * more
            index, at, end, start, protocol = self._keep(start <= end, "short", index, at, end, start, protocol)
        sound = ~np.isin(protocol, _EXTENSIONS)
        index, at, end, start, protocol = self._keep(sound, "ipv6_extension", index, at, end, start, protocol)
        part = protocol == _FRAGMENT
        if part.any():
            self.fragments.append(
                self._keep(end[part] - start[part] >= 8, "short", *(c[part] for c in (index, at, start, end)))
            )
            index, at, end, start, protocol = (column[~part] for column in (index, at, end, start, protocol))
        addresses = [be(self.data, at + place, 8) for place in (8, 16, 24, 32)]
        self._payload(index, at, start, end, protocol, addresses, depth)

    def _payload(self, index, ip, at, end, protocol, addresses: Columns, depth: int) -> None:
        mine = protocol == _UDP
        if mine.any():
            self._datagrams(index[mine], ip[mine], at[mine], end[mine], [a[mine] for a in addresses], depth)
        segments = protocol == _TCP
        if segments.any():
            columns = (index, *addresses, at, end)
            sound = (end - at >= 20)[segments]
            self.tcp.append(self._keep(sound, "short", *(column[segments] for column in columns)))
        inner = np.isin(protocol, _IP_IN_IP)
        if inner.any():
            self._tunnel(self._ip, index[inner], at[inner], end[inner], depth)
        gre = protocol == _GRE
        if gre.any():
            self._gre(index[gre], at[gre], end[gre], depth)
        self._keep(mine | segments | inner | gre, "not_udp")

    def _tunnel(self, into, index, at, end, depth: int) -> None:
        if depth < MAX_TUNNELS:
            into(index, at, end, depth + 1)
        else:
            self._keep(np.zeros(len(index), bool), "tunnel_depth")

    def _frame(self, index, at, end, depth: int) -> None:
        self._typed(index, at, end, 12, 14, depth)

    def _datagrams(self, index, ip, at, end, addresses: Columns, depth: int) -> None:
        index, ip, at, end, *addresses = self._keep(end - at >= 8, "short", index, ip, at, end, *addresses)
        size = be(self.data, at + 4, 2).astype(np.int64)
        index, ip, at, end, size, *addresses = self._keep(size >= 8, "bad_udp", index, ip, at, end, size, *addresses)
        ports = [be(self.data, at + place, 2).astype(np.int64) for place in (0, 2)]
        inner = (ports[1] == VXLAN) & (end - at >= 16)
        if inner.any():
            inner[inner] = self.data[at[inner] + 8] == 8  # the one flag that VXLAN has; RTP starts with another byte
            self._tunnel(self._frame, index[inner], at[inner] + 16, end[inner], depth)
        columns = (index, ip, at + 8, np.minimum(size, end - at) - 8, *addresses, *ports)
        self.udp.append([column[~inner] for column in columns])

    def _gre(self, index, at, end, depth: int) -> None:
        index, at, end = self._keep(end - at >= 4, "short", index, at, end)
        flags, kind = be(self.data, at, 2).astype(np.int64), be(self.data, at + 2, 2)
        head = 4 + sum(4 * ((flags & bit) != 0) for bit in (0x8000, 0x2000, 0x1000))  # checksum, key, sequence
        numbered = (flags & 0x1000) != 0
        head = head + 8 * ((kind == 0x88BE) & numbered)  # ERSPAN II; without a number it is I and has no header
        third = kind == 0x22EB
        if third.any():  # ERSPAN III says in its last byte whether a sub-header follows
            place = np.minimum(at + head + 11, len(self.data) - 1)
            head = head + third * (12 + 8 * (self.data[place] & 1).astype(np.int64))
        frames = third | (kind == 0x88BE) | (kind == 0x6558)
        known = frames | (kind == 0x0800) | (kind == 0x86DD)
        known &= (flags & 0x4007) == 0  # neither source routes nor PPTP
        index, at, end, frames = self._keep(known, "gre", index, at + head, end, frames)
        for mask, into in ((frames, self._frame), (~frames, self._ip)):
            if mask.any():
                self._tunnel(into, index[mask], at[mask], end[mask], depth)
