"""Packets from plain values, and blocks of them, for tests of the decoding."""

import ipaddress
import struct

import numpy as np
from voipfleet.capture.block import ETHERNET, Block

MACS = bytes(12)
TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}


def block_of(packets: list[bytes], linktype: int = ETHERNET, step: int = 10, start: int = 0) -> Block:
    """The packets one after the other, `step` ns apart."""
    sizes = np.array([len(packet) for packet in packets], np.int64)
    return Block(data=np.frombuffer(b"".join(packets), np.uint8), linktype=linktype,
                 ts=start + np.arange(len(packets), dtype=np.int64) * step,
                 offset=np.cumsum(sizes) - sizes, caplen=sizes, wirelen=sizes)  # fmt: skip


def udp(payload: bytes, sport: int = 4000, dport: int = 5060) -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def tcp(payload: bytes, seq: int, flags: int = 0x18, sport: int = 4000, dport: int = 5060) -> bytes:
    return struct.pack("!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, 0, 0x50, flags, 1000, 0, 0) + payload


def ip(payload: bytes, protocol: int = 17, src: str = "10.0.0.1", dst: str = "10.0.0.2", ident: int = 0, word: int = 0,
       ttl: int = 64) -> bytes:  # fmt: skip
    """An IPv4 or IPv6 packet; `word` is IPv4's flags and fragment offset."""
    ends = ipaddress.ip_address(src).packed, ipaddress.ip_address(dst).packed
    if len(ends[0]) == 4:
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, word, ttl, protocol, 0, *ends) + payload
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), protocol, ttl, *ends) + payload


def frame(packet: bytes, *tags: int) -> bytes:
    """An Ethernet frame around an IP packet, within the given VLANs."""
    return MACS + b"".join(struct.pack("!HH", 0x8100, tag) for tag in tags) + TYPES[packet[0] >> 4] + packet


def fragments(packet: bytes, size: int, ident: int = 7) -> list[bytes]:
    """An IP packet without options cut into fragments with `size` (a multiple of 8) bytes of payload each."""
    four = packet[0] >> 4 == 4
    head, rest = (packet[:20], packet[20:]) if four else (packet[:40], packet[40:])
    out = []
    for at in range(0, len(rest), size):
        part, more = rest[at : at + size], at + size < len(rest)
        if four:
            word = at // 8 | (0x2000 if more else 0)
            out.append(head[:2] + struct.pack("!HHH", 20 + len(part), ident, word) + head[8:] + part)
        else:
            extension = struct.pack("!BBHI", head[6], 0, at | more, ident)
            out.append(head[:4] + struct.pack("!HB", 8 + len(part), 44) + head[7:] + extension + part)
    return out
