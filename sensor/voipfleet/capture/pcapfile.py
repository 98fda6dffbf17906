"""Capture files (pcap in both byte orders, us and ns; pcapng) and standard input as Blocks."""

import contextlib
import struct
import sys
from collections.abc import Callable, Iterator

import numpy as np

from voipfleet.capture import chain, pcapng
from voipfleet.capture.block import MAX_BLOCK, Block
from voipfleet.capture.chain import HEAD, MAX_PACKET
from voipfleet.capture.pcapng import RAW_TYPES
from voipfleet.capture.source import GZIP, UNFINISHED, Source
from voipfleet.errors import VoipfleetError

_MAGIC = {b"\xd4\xc3\xb2\xa1": ("<", 1000), b"\xa1\xb2\xc3\xd4": (">", 1000),
          b"\x4d\x3c\xb2\xa1": ("<", 1), b"\xa1\xb2\x3c\x4d": (">", 1)}  # fmt: skip


def _pcap(source: Source, order: str, unit: int, max_bytes: int) -> Iterator[Block]:
    """Blocks as they lie in the file: only the chain of lengths is walked record by record."""
    head = source.exactly(20)
    if len(head) < 20:
        source.fault = source.fault or UNFINISHED
        return
    link = struct.unpack(order + "I", head[16:])[0] & 0xFFFF
    rest = np.zeros(0, np.uint8)
    while True:
        data, got = source.after(rest, max(max_bytes, HEAD))
        starts, end = chain.starts(data, order)
        if len(starts):
            yield chain.block_of(data, starts, RAW_TYPES.get(link, link), order, unit)
        rest = data[end:]
        if len(rest) >= HEAD and (caplen := struct.unpack_from(order + "I", rest, 8)[0]) > MAX_PACKET:
            raise VoipfleetError(f"{source.name}: a packet of {caplen} bytes; the file is damaged, write it again")
        if not got:
            break
    if len(rest):
        source.fault = source.fault or UNFINISHED


def read_blocks(
    path: str, max_bytes: int = MAX_BLOCK, opened: Callable[[Source], None] | None = None
) -> Iterator[Block]:
    """The packets of capture file `path` ("-": standard input), gzip or not, in blocks of about `max_bytes`.

    A truncated file gives what it holds and a warning on stderr. `opened` gets the Source, which says how far it is.
    Raises VoipfleetError where the file cannot be read or is not a capture, and, after what came before, where it is
    damaged.
    """
    name = "standard input" if path == "-" else path
    try:
        with contextlib.closing(Source(path)) as source:
            if opened:
                opened(source)
            magic = source.exactly(4)
            if magic in _MAGIC:
                yield from _pcap(source, *_MAGIC[magic], max_bytes)
            elif magic == pcapng.MAGIC:
                yield from pcapng.read(source, max_bytes)
            else:
                raise VoipfleetError(f"{name}: {_what(magic)}; give a pcap or pcapng file, gzip or not")
            if source.fault:
                print(f"{name}: {source.fault}", file=sys.stderr)
    except OSError as error:
        raise VoipfleetError(f"{name}: cannot be read ({error.strerror}); check path and permission") from error


def _what(magic: bytes) -> str:
    packed = {
        b"\x28\xb5\x2f\xfd": "zstd",
        b"\xfd7zX": "xz",
        b"BZh": "bzip2",
        b"PK\x03\x04": "zip",
        GZIP: "gzip once more",
    }
    kind = next((kind for start, kind in packed.items() if magic.startswith(start)), "")
    return f"packed by {kind}" if kind else "not a capture file" if magic else "empty"
