"""What a segment is: its name, its pcap, its index. Pure.

A segment is two files, `<hour>/<name>.pcap` and `.idx`. The pcap (nanoseconds, little endian) has its packets sorted by
key, then by time; what one key has in it is a *run*. The index is a head and then one entry a run, ascending by key:
keys are hashes, so that a look-up knows about where its entry stands.
"""

import datetime
import re
import struct
import time
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

import numpy as np

from voipfleet.capture import chain

KINDS = ("sip", "rtp", "audio")
PCAP, IDX = ".pcap", ".idx"
HOUR_NS = 3_600_000_000_000
PCAP_HEAD, RECORD_HEAD = 24, chain.HEAD  # bytes
MAX_CAPTURED = 262_144  # bytes of a packet: what readers of pcap take
MAX_NS = (1 << 32) * 1_000_000_000 - 1  # the time stamps of pcap have 32 bits of seconds
ENTRY = np.dtype([("key", "<u8"), ("offset", "<u4"), ("length", "<u4")])
_MAGIC = b"vfpool\x00\x01"
_HEAD = struct.Struct("<8sIIIqq")  # magic, checksum of all that follows, runs, packets, first and last ns
INDEX_HEAD = _HEAD.size
_NAME = re.compile(r"(sip|rtp|audio)-(\d{1,19})-(\d{1,19})-([0-9a-f]{8})(\.pcap|\.idx)?")
_HOUR = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d)", re.ASCII)


class Name(NamedTuple):
    """The class of its packets, the first and the last ns, and 8 hexadecimal digits: link type, then at random."""

    kind: str
    first: int
    last: int
    token: str

    def __str__(self) -> str:
        return f"{self.kind}-{self.first}-{self.last}-{self.token}"

    @property
    def linktype(self) -> int:
        return int(self.token[:4], 16)

    @property
    def hour(self) -> str:
        """The folder that it is in."""
        return hour_of(self.first)


def name_of(kind: str, first: int, last: int, linktype: int, chance: int) -> Name:
    return Name(kind, first, last, f"{linktype & 0xFFFF:04x}{chance & 0xFFFF:04x}")


def parse_name(text: str) -> tuple[Name, str] | None:
    """The name and the suffix of a file; None for any other file."""
    found = _NAME.fullmatch(text)
    if not found:
        return None
    kind, first, last, token, suffix = found.groups()
    return Name(kind, int(first), int(last), token), suffix or ""


def hour_of(ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H", time.gmtime(ns // 1_000_000_000))


@lru_cache(maxsize=16_384)
def hour_ns(name: str) -> int | None:
    """When the hour of that folder begins (ns); None for any other folder."""
    if not (found := _HOUR.fullmatch(name)):
        return None
    try:
        begins = datetime.datetime(*map(int, found.groups()), tzinfo=datetime.UTC)
    except ValueError:
        return None
    return int(begins.timestamp()) * 1_000_000_000


def pcap_head(linktype: int) -> bytes:
    return struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, MAX_CAPTURED, linktype)


def heads(ts: np.ndarray, caplen: np.ndarray, wirelen: np.ndarray) -> np.ndarray:
    """The heads of pcap records, one row of four words a packet."""
    rows = np.empty((len(ts), 4), "<u4")
    rows[:, 0], rows[:, 1] = ts // 1_000_000_000, ts % 1_000_000_000
    rows[:, 2], rows[:, 3] = caplen, wirelen
    return rows


def encode_index(entries: np.ndarray, packets: int, first: int, last: int) -> bytes:
    """`entries` of type ENTRY, ascending by key."""
    body = entries.tobytes()
    rest = struct.pack("<IIqq", len(entries), packets, first, last)
    return _HEAD.pack(_MAGIC, crc32(body, crc32(rest)), len(entries), packets, first, last) + body


class Index(NamedTuple):
    """`packets`: of the pcap, those that were erased too."""

    entries: np.ndarray
    packets: int
    first: int
    last: int


def decode_index(data: bytes) -> Index | None:
    """None for anything else than what `encode_index` made."""
    if len(data) < INDEX_HEAD:
        return None
    magic, checksum, runs, packets, first, last = _HEAD.unpack_from(data)
    if magic != _MAGIC or len(data) != INDEX_HEAD + runs * ENTRY.itemsize or checksum != crc32(data[12:]):
        return None
    return Index(np.frombuffer(data, ENTRY, offset=INDEX_HEAD), packets, first, last)
