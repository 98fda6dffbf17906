"""What a file of fetched packets has, beside what tcpdump wrote of the same call; no I/O but reading files.

Compared is each packet from its IP header on: what stands before it, and what pads a short frame, is not the call's.
"""

import itertools
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dpkt

CLOSE = 1_000_000  # ns: two captures of one interface each take a time of their own
NANOSECONDS, PCAPNG = b"\x4d\x3c\xb2\xa1", b"\n\r\r\n"


@dataclass(frozen=True, slots=True)
class Packet:
    """`ts` in ns; `ip` from the IP header on; `sensor`: the file's name for its interface; `cut`: bytes left out."""

    ts: int
    ip: bytes
    sensor: str
    cut: int

    @property
    def udp(self) -> dpkt.udp.UDP:
        return dpkt.ip.IP(self.ip).data


def read(path: Path) -> list[Packet]:
    """The UDP over IPv4 of an Ethernet capture (pcap with nanoseconds, pcapng), in the file's order."""
    data = path.read_bytes()
    rows = {NANOSECONDS: _pcap, PCAPNG: _pcapng}[data[:4]](data) if data else ()  # tcpdump has not written yet
    return [packet for row in rows if (packet := _packet(*row))]


def of_call(packets: Iterable[Packet], call_id: str, ports: Iterable[int]) -> list[Packet]:
    """The SIP of one Call-ID, and what travels between the media ports: RTP, and RTCP where its ports are named."""
    wanted, line = set(ports), f"Call-ID: {call_id}\r\n".encode()
    return [packet for packet in packets if line in packet.ip or {packet.udp.sport, packet.udp.dport} <= wanted]


def ssrc(packets: Iterable[Packet], sender: str, port: int) -> int:
    """Of the RTP that `sender` sends from that port; 0 where it has not begun."""
    source = bytes(map(int, sender.split(".")))
    mine = (packet.udp.data for packet in packets if packet.ip[12:16] == source and packet.udp.sport == port)
    return next((int.from_bytes(rtp[8:12], "big") for rtp in mine if len(rtp) > 12), 0)


def differences(fetched: list[Packet], wire: list[Packet]) -> list[str]:
    """Where the two are not packet by packet the same: number, content, order, times."""
    faults = [] if wire else ["nothing of it was on the wire: this compares nothing"]
    have, want = Counter(packet.ip for packet in fetched), Counter(packet.ip for packet in wire)
    if have != want:
        faults.append(f"{len(fetched)} packets, and {len(wire)} on the wire: {(want - have).total()} of the wire's are"
                      f" missing, {(have - want).total()} others are there")  # fmt: skip
    if any(after.ts < before.ts for before, after in itertools.pairwise(fetched)):
        faults.append("not in the order of time")
    times: dict[bytes, list[int]] = {}
    for packet in wire:
        times.setdefault(packet.ip, []).append(packet.ts)
    late = sum(min(abs(packet.ts - ts) for ts in times[packet.ip]) > CLOSE for packet in fetched if packet.ip in times)
    return faults + [f"{late} packets have another time than on the wire"] * bool(late)


def _packet(ts: int, frame: bytes, sensor: str) -> Packet | None:
    if frame[12:14] != b"\x08\0" or frame[23] != dpkt.ip.IP_PROTO_UDP:
        return None
    whole = struct.unpack_from("!H", frame, 16)[0]
    ip = frame[14 : 14 + whole]
    return Packet(ts, ip, sensor, whole - len(ip))


def _pcap(data: bytes) -> Iterator[tuple[int, bytes, str]]:
    at = 24
    while at + 16 <= len(data):
        seconds, rest, size, _ = struct.unpack_from("<4I", data, at)
        if at + 16 + size > len(data):
            return  # it is being written
        yield seconds * 1_000_000_000 + rest, data[at + 16 : at + 16 + size], ""
        at += 16 + size


def _pcapng(data: bytes) -> Iterator[tuple[int, bytes, str]]:
    names, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        body = data[at + 8 : at + size - 4]
        if kind == 1:
            names.append(_name(body[8:]))
        elif kind == 6:
            interface, high, low, caplen, _ = struct.unpack_from("<5I", body)
            yield high << 32 | low, body[20 : 20 + caplen], names[interface]
        at += size


def _name(options: bytes) -> str:
    at = 0
    while at < len(options):
        code, size = struct.unpack_from("<HH", options, at)
        if code == 2:
            return options[at + 4 : at + 4 + size].decode()
        at += 4 + size + -size % 4
    return ""
