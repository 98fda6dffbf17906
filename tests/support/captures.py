"""What a sensor sends of a call: packets as pcap files behind their lines (docs/retrieval.md), and read back again."""

import json
import struct

import dpkt
import numpy as np
from voipfleet.capture.block import ETHERNET
from voipfleet.capture.pcapfile import read_blocks
from voipfleet.fetching import stream
from voipfleet.fetching.merging import Source

Packet = tuple[int, bytes]  # ns, frame


def pcap(packets: list[Packet], linktype: int = ETHERNET, cut: int = 1 << 18) -> bytes:
    """A nanosecond pcap; of each packet at most `cut` bytes."""
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, linktype)
    return head + b"".join(
        struct.pack("<4I", ts // 10**9, ts % 10**9, len(data[:cut]), len(data)) + data[:cut] for ts, data in packets
    )


def sent(*files: bytes) -> bytes:
    return b"".join(json.dumps({"pcap": len(data)}).encode() + b"\n" + data for data in files)


def source(name: str, packets: list[Packet], offset_ms: float | None = None, linktype: int = ETHERNET,
           cut: int = 1 << 18) -> Source:  # fmt: skip
    data = np.frombuffer(sent(pcap(packets, linktype, cut)), np.uint8)
    return Source(name, stream.parse(data, name), offset_ms)


def packets_of(merged) -> list[Packet]:
    """(ns, bytes) of each packet that is in it."""
    return [(int(block.ts[n]), block.data[at : at + size].tobytes()) for block in merged.blocks()
            for n, (at, size) in enumerate(zip(block.offset.tolist(), block.caplen.tolist(), strict=True))]  # fmt: skip


def read(path) -> list[Packet]:
    """The packets of a file as our own reader has them, in the order of the file."""
    return [(int(block.ts[n]), block.data[at : at + size].tobytes()) for block in read_blocks(str(path))
            for n, (at, size) in enumerate(zip(block.offset.tolist(), block.caplen.tolist(), strict=True))]  # fmt: skip


def read_by_dpkt(path) -> list[Packet]:
    """The same by dpkt: times are decimal or floating there, which has no more than µs."""
    with open(path, "rb") as file:
        kind = dpkt.pcapng.Reader if file.read(4) == b"\n\r\r\n" else dpkt.pcap.Reader
        file.seek(0)
        return [(round(float(ts) * 1e6), data) for ts, data in kind(file)]
