"""Ways on which a generated call's packets lie in a capture: VLANs, tunnels, fragments, TCP, a port mirrored twice."""

import random
import struct

from support import packets
from support.packets import frame, ip, udp

US, MS = 1000, 1_000_000  # ns
COPY = 5 * US  # after which a mirrored port delivers the same packet once more
PATHS = ("plain", "vlan", "qinq", "vxlan", "plain", "gre", "ipip", "erspan", "twice")
CARRIERS = ("udp", "udp", "fragments", "udp", "tcp")


class Wire:
    """Puts what one call sends into `out` as (ns, frame). `path` of all packets, `carrier` of the messages."""

    def __init__(self, number: int, rng: random.Random, out: list[tuple[int, bytes]], *, datagrams: bool = False):
        self.path, self.carrier = PATHS[number % len(PATHS)], CARRIERS[number // len(PATHS) % len(CARRIERS)]
        if datagrams and self.carrier == "tcp":
            self.carrier = "udp"
        self.rng, self.out = rng, out
        self.port = 10_000 + number % 10_000  # of the caller, where messages go by TCP
        self.next = {}  # direction -> sequence number
        self.ident = number * 64

    def _put(self, at: int, packet: bytes) -> None:
        """One IP packet, in whatever lies around it here."""
        outer = {"src": "192.0.2.1", "dst": "192.0.2.2"}
        if self.path == "vxlan":
            packet = ip(udp(b"\x08\0\0\0\0\0\1\0" + frame(packet), 49_152, 4789), **outer)
        elif self.path == "gre":
            packet = ip(struct.pack("!H2s", 0, packets.TYPES[packet[0] >> 4]) + packet, 47, **outer)
        elif self.path == "erspan":
            packet = ip(struct.pack("!HHI", 0x1000, 0x88BE, 1) + bytes(8) + frame(packet), 47, **outer)
        elif self.path == "ipip":
            packet = ip(packet, 4 if packet[0] >> 4 == 4 else 41, **outer)
        tags = {"vlan": (100,), "qinq": (7, 100)}.get(self.path, ())
        self.out.append((at, frame(packet, *tags)))
        if self.path == "twice":
            hops = 8 if packet[0] >> 4 == 4 else 7  # TTL or hop limit: a router lies between
            packet = packet[:hops] + bytes([packet[hops] - 1]) + packet[hops + 1 :]
            self.out.append((at + COPY, frame(packet, 200)))

    def datagram(self, at: int, src: str, dst: str, sport: int, dport: int, payload: bytes) -> None:
        self.ident += 1
        self._put(at, ip(udp(payload, sport, dport), 17, src, dst, self.ident & 0xFFFF))

    def message(self, at: int, src: str, dst: str, outwards: bool, text: bytes) -> None:
        """A SIP message that is whole at `at`; `outwards` from the caller."""
        if self.carrier == "tcp":
            self._segments(at, src, dst, outwards, text)
        elif self.carrier == "fragments" and len(text) > 400:
            self.ident += 1
            whole = ip(udp(text, 5060, 5060), 17, src, dst)
            parts = packets.fragments(whole, 8 * self.rng.randrange(20, 40), self.ident & 0xFFFF)
            self.rng.shuffle(parts)
            for back, part in enumerate(reversed(parts)):
                self._put(at - back * 50 * US, part)
        else:
            self.datagram(at, src, dst, 5060, 5060, text)

    def _segments(self, at: int, src: str, dst: str, outwards: bool, text: bytes) -> None:
        ports = {"sport": self.port, "dport": 5060} if outwards else {"sport": 5060, "dport": self.port}
        if outwards not in self.next:
            self.next[outwards] = self.rng.randrange(1 << 32)
            self._put(at - MS, ip(packets.tcp(b"", self.next[outwards] - 1, 2, **ports), 6, src, dst))
        begin = self.next[outwards]
        size = self.rng.choice([60, 200, 1400])
        parts = [packets.tcp(text[n : n + size], begin + n, **ports) for n in range(0, len(text), size)]
        if self.rng.random() < 0.3:
            self.rng.shuffle(parts)
        if len(parts) > 1 and self.rng.random() < 0.3:
            parts.insert(0, parts[0])
        self.next[outwards] = begin + len(text)
        for back, part in enumerate(reversed(parts)):
            self.ident += 1
            self._put(at - back * 50 * US, ip(part, 6, src, dst, self.ident & 0xFFFF))
