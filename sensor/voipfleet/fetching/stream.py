"""What a sensor sends of a call's packets: pcap files one after the other, each behind a line that says its size.

    {"pcap": 1234}\n<1234 bytes of a nanosecond pcap>{"pcap": 56}\n<56 bytes>

One file a link type, its packets in no order; those of time 0 stand for what had vanished when it was to be sent. A
sensor is not trusted: what it says is checked before it is used. No I/O.
"""

import json
import struct
from collections.abc import Iterator

import numpy as np

from voipfleet.capture import chain
from voipfleet.capture.block import MAX_BLOCK, Block, only
from voipfleet.capture.chain import HEAD, MAX_PACKET
from voipfleet.capture.pcapng import RAW_TYPES
from voipfleet.errors import VoipfleetError
from voipfleet.packetstore.segment import PCAP_HEAD

MAGIC = b"\x4d\x3c\xb2\xa1"  # nanoseconds, little-endian
MAX_LINE, MAX_FILES = 64, 64  # bytes of a line; files in a stream
AGAIN = "its packets cannot be used; look at that sensor's log, and report it"


def parse(data: np.ndarray, who: str) -> list[Block]:
    """The captures in `data` (uint8), which `who` has sent, one a file. VoipfleetError where it is no such stream."""
    found, at = [], 0
    while at < len(data):
        if len(found) == MAX_FILES:
            raise VoipfleetError(f"{who}: more than {MAX_FILES} files at once; {AGAIN}")
        at, size = _line(data, at, who)
        found.append(_pcap(data[at : at + size], who))
        at += size
    return found


def _line(data: np.ndarray, at: int, who: str) -> tuple[int, int]:
    """(where the file begins, its bytes)."""
    line, end, _ = data[at : at + MAX_LINE].tobytes().partition(b"\n")
    try:
        said = json.loads(line) if end else None
    except (ValueError, RecursionError):
        said = None
    size = said.get("pcap") if isinstance(said, dict) else None
    at += len(line) + 1
    if type(size) is not int or not PCAP_HEAD <= size <= len(data) - at:
        raise VoipfleetError(f"{who}: a file does not begin or end where it should; {AGAIN}")
    return at, size


def _pcap(data: np.ndarray, who: str) -> Block:
    if data[:4].tobytes() != MAGIC:
        raise VoipfleetError(f"{who}: what it sent is no pcap with nanoseconds; {AGAIN}")
    link = struct.unpack_from("<I", data, 20)[0] & 0xFFFF
    starts = np.concatenate([np.zeros(0, np.int64), *_starts(data, who)])
    block = chain.block_of(data, starts, RAW_TYPES.get(link, link))
    block = only(block, block.ts != 0)
    block.wirelen = np.maximum(block.wirelen, block.caplen)
    return block


def _starts(data: np.ndarray, who: str) -> Iterator[np.ndarray]:
    """Where records start, a stretch at a time: the bounds of what following them costs are those of a block."""
    at = PCAP_HEAD
    while at < len(data):
        found, used = chain.starts(data[at : at + MAX_BLOCK], "<")
        if not used:
            break
        yield found + at
        at += used
    if at == len(data):
        return
    size = struct.unpack_from("<I", data, at + 8)[0] if len(data) - at >= HEAD else 0
    if size > MAX_PACKET:
        raise VoipfleetError(f"{who}: a packet of {size} bytes; {AGAIN}")
    raise VoipfleetError(f"{who}: its last packet is not whole; {AGAIN}")
