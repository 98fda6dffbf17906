"""Capture files (pcap in both byte orders, us and ns; pcapng) and standard input as Blocks."""

import struct
import sys
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from voipfleet.capture import chain
from voipfleet.capture.block import MAX_BLOCK, Block
from voipfleet.capture.chain import HEAD, MAX_PACKET
from voipfleet.errors import VoipfleetError

_MAGIC = {b"\xd4\xc3\xb2\xa1": ("<", 1000), b"\xa1\xb2\xc3\xd4": (">", 1000),
          b"\x4d\x3c\xb2\xa1": ("<", 1), b"\xa1\xb2\x3c\x4d": (">", 1)}  # fmt: skip
_RAW_TYPES = {12: 101, 14: 101, 228: 101, 229: 101}  # LINKTYPE_RAW under its other numbers


class _Gather:
    """Collects packets of one link type until a block is full."""

    def __init__(self, source: str, max_bytes: int):
        self.source, self.max_bytes = source, max_bytes
        self.link = 1
        self.clear()

    def clear(self) -> None:
        self.parts: list[bytes] = []
        self.ts: list[int] = []
        self.cap: list[int] = []
        self.wire: list[int] = []
        self.size = 0

    def add(self, link: int, ts: int, data: bytes, wire: int) -> Block | None:
        full = None
        if self.parts and (link != self.link or self.size + len(data) > self.max_bytes):
            full = self.take()
        self.link = link
        self.parts.append(data)
        self.ts.append(ts)
        self.cap.append(len(data))
        self.wire.append(wire)
        self.size += len(data)
        return full

    def take(self) -> Block:
        cap = np.array(self.cap, np.int64)
        block = Block(
            data=np.frombuffer(b"".join(self.parts), np.uint8), ts=np.array(self.ts, np.int64),
            offset=np.cumsum(cap) - cap, caplen=cap, wirelen=np.array(self.wire, np.int64),
            linktype=_RAW_TYPES.get(self.link, self.link), source=self.source,
        )  # fmt: skip
        self.clear()
        return block


class _Truncated(Exception):
    pass


def _exactly(file: BinaryIO, size: int, eof_ok: bool = False) -> bytes:
    data = file.read(size)
    if len(data) < size and not (eof_ok and not data):
        raise _Truncated
    return data


def _pcap(file: BinaryIO, order: str, unit: int, name: str, max_bytes: int) -> Iterator[Block]:
    """Blocks as they lie in the file: only the chain of lengths is walked record by record."""
    link = struct.unpack(order + "I", _exactly(file, 20)[16:])[0] & 0xFFFF
    readinto = file.readinto1 if file is sys.stdin.buffer else file.readinto
    rest = np.zeros(0, np.uint8)
    while True:
        data = np.empty(len(rest) + max(max_bytes, HEAD), np.uint8)
        data[: len(rest)] = rest
        size = readinto(memoryview(data)[len(rest) :])
        data = data[: len(rest) + size]
        starts, end = chain.starts(data, order)
        if len(starts):
            yield _block(data, starts, order, unit, link, name)
        rest = data[end:]
        if len(rest) >= HEAD and (caplen := struct.unpack_from(order + "I", rest, 8)[0]) > MAX_PACKET:
            raise VoipfleetError(f"{name}: a packet of {caplen} bytes; the file is damaged, write it again")
        if not size:
            break
    if len(rest):
        raise _Truncated


def _block(octets: np.ndarray, starts: np.ndarray, order: str, unit: int, link: int, name: str) -> Block:
    heads = np.lib.stride_tricks.sliding_window_view(octets, 16)[starts].view(order + "u4").astype(np.int64)
    return Block(
        data=octets, ts=heads[:, 0] * 1_000_000_000 + heads[:, 1] * unit, offset=starts + 16, caplen=heads[:, 2],
        wirelen=heads[:, 3], linktype=_RAW_TYPES.get(link, link), source="-" if name == "standard input" else name,
    )  # fmt: skip


def _options(body: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(body):
        code, size = struct.unpack_from(order + "HH", body, at)
        yield code, body[at + 4 : at + 4 + size]
        at += 4 + (size + 3) // 4 * 4


def _pcapng(file: BinaryIO, name: str) -> Iterator[tuple[int, int, bytes, int]]:
    broken = VoipfleetError(f"{name}: a damaged pcapng block; write the file again")
    order, interfaces = "<", []
    kind, head = b"\n\r\r\n", _exactly(file, 4)
    while True:
        if kind == b"\n\r\r\n":
            magic = _exactly(file, 4)
            order = "<" if magic == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces, used = [], 12
        else:
            used = 8
        size = struct.unpack(order + "I", head)[0]
        if size < used + 4 or size % 4 or size > MAX_PACKET + 65536:
            raise broken
        body = _exactly(file, size - used)[:-4]
        number = struct.unpack(order + "I", kind)[0]
        if number == 1 and len(body) >= 8:
            ticks, shift = 1_000_000, 0
            for code, value in _options(body[8:], order):
                if code == 9 and value:
                    ticks = 2 ** (value[0] & 127) if value[0] & 128 else 10 ** value[0]
                elif code == 14 and len(value) == 8:
                    shift = struct.unpack(order + "q", value)[0] * 1_000_000_000
            interfaces.append((struct.unpack_from(order + "H", body)[0], ticks, shift))
        elif number == 6 and len(body) >= 20:
            which, high, low, caplen, wire = struct.unpack_from(order + "5I", body)
            if which >= len(interfaces) or caplen > len(body) - 20:
                raise broken
            link, ticks, shift = interfaces[which]
            ts = ((high << 32) | low) * 1_000_000_000 // ticks + shift
            yield link, min(max(ts, 0), (1 << 63) - 1), body[20 : 20 + caplen], wire
        head = _exactly(file, 8, eof_ok=True)
        if not head:
            return
        kind, head = head[:4], head[4:]


def _gathered(packets: Iterator[tuple[int, int, bytes, int]], source: str, max_bytes: int) -> Iterator[Block]:
    """Blocks of the packets; what came before a truncated end is not lost."""
    gather = _Gather(source, max_bytes)
    try:
        for packet in packets:
            if (block := gather.add(*packet)) is not None:
                yield block
    except _Truncated:
        if gather.parts:
            yield gather.take()
        raise
    if gather.parts:
        yield gather.take()


def read_blocks(path: str, max_bytes: int = MAX_BLOCK) -> Iterator[Block]:
    """The packets of capture file `path` ("-": standard input) in blocks of at most `max_bytes`.

    A truncated file gives what it holds and a warning on stderr. Raises VoipfleetError where the file
    cannot be read or is not a capture.
    """
    name = "standard input" if path == "-" else path
    try:
        with sys.stdin.buffer if path == "-" else open(path, "rb") as file:
            magic = file.read(4)
            try:
                if magic in _MAGIC:
                    yield from _pcap(file, *_MAGIC[magic], name, max_bytes)
                elif magic == b"\n\r\r\n":
                    yield from _gathered(_pcapng(file, name), path, max_bytes)
                else:
                    raise VoipfleetError(f"{name}: not a capture file; give a pcap or pcapng file")
            except _Truncated:
                print(f"{name}: the file is truncated; read what it holds", file=sys.stderr)
    except OSError as error:
        raise VoipfleetError(f"{name}: cannot be read ({error.strerror}); check path and permission") from error
