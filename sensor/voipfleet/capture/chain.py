"""Where the records of a capture file start: a chain of lengths, followed from many places of the bytes at once.

Each record says how long it is, so the chain is sequential. Following it in Python costs more than the analysis of some
packets; so places that look like a record are guessed all over the bytes, all chains are followed together, and where
every chain ends exactly where the next one began, the guesses were right. Otherwise the plain loop decides.
"""

import struct
from dataclasses import dataclass

import numpy as np

from voipfleet.capture.block import Block

EVERY, WINDOW = 16 << 10, 384  # bytes from guess to guess; bytes in which a record must start there
MAX_PACKET = 256 << 10  # a longer record means a broken file
HEAD = 16
_NEAR = 3600  # s that a guessed record may be later than the first


@dataclass(frozen=True)
class Layout:
    """A record's length stands `at` bytes after its start, without `head` bytes; it has at least `least` in all."""

    at: int
    head: int
    least: int
    most: int  # the length; more means a broken file


PCAP = Layout(8, HEAD, HEAD, MAX_PACKET)
PCAPNG = Layout(4, 0, 12, MAX_PACKET + (64 << 10))


def starts(data: np.ndarray, order: str, layout: Layout = PCAP) -> tuple[np.ndarray, int]:
    """(where whole records start, where the rest starts) in `data` (uint8), which begins with a record.

    A record that cannot be, by its length, ends the chain before it.
    """
    if len(data) > 4 * EVERY and (found := _together(data, order, layout)) is not None:
        return found
    return _plain(data, 0, order, layout)


def block_of(data: np.ndarray, starts: np.ndarray, linktype: int, order: str = "<", unit: int = 1) -> Block:
    """The records of a pcap that start there; `unit`: ns of what is behind their seconds."""
    heads = np.lib.stride_tricks.sliding_window_view(data, HEAD)[starts].view(order + "u4").astype(np.int64)
    return Block(data=data, ts=heads[:, 0] * 1_000_000_000 + heads[:, 1] * unit, offset=starts + HEAD,
                 caplen=heads[:, 2], wirelen=heads[:, 3], linktype=linktype)  # fmt: skip


def _plain(data: np.ndarray, at: int, order: str, layout: Layout = PCAP) -> tuple[np.ndarray, int]:
    length, view, found = struct.Struct(order + "I").unpack_from, memoryview(data), []
    where, head, least, most, whole = layout.at, layout.head, layout.least, layout.most, len(data)
    while at + least <= whole:
        size = length(view, at + where)[0]
        if size > most or size + head < least or at + head + size > whole or (head == 0 and size & 3):
            break
        found.append(at)
        at += head + size
    return np.array(found, np.int64), at


def _together(data: np.ndarray, order: str, layout: Layout = PCAP) -> tuple[np.ndarray, int] | None:
    """All chains step by step; None where they do not fit together."""
    words = np.ndarray(len(data) - 3, order + "u4", data, strides=(1,))
    guesses = _guesses(data, words, order) if layout is PCAP else _guesses_ng(data, words, order)
    heads, edge = np.append(0, guesses), len(data) - EVERY
    limit = np.append(heads[1:], edge)  # what lies behind the edge is left to the plain loop
    lengths, top, steps = words[layout.at :], len(words) - layout.at - 1, [heads]
    while len(steps) % 16 or (steps[-1] < limit).any():
        # A chain that has reached the next one goes on in it, which costs less than to stop it.
        at = steps[-1]
        size = lengths[np.minimum(at, top)]
        steps.append(at + size + HEAD if layout.head else at + np.maximum(size, layout.least))
    table = np.array(steps)
    on = table < limit
    last = np.count_nonzero(on, axis=0) - 1
    ends = table[last + 1, np.arange(len(heads))]
    found = table.T[on.T]
    sizes = lengths[found]
    if (ends[:-1] != limit[:-1]).any() or int(sizes.max()) > layout.most:
        return None
    if not layout.head and (int(sizes.min()) < layout.least or (sizes & 3).any()):
        return None
    if ends[-1] > len(data):  # its last record is not whole
        return found[:-1], int(found[-1])
    rest, end = _plain(data, int(ends[-1]), order, layout)
    return np.append(found, rest), end


def _guesses(data: np.ndarray, words: np.ndarray, order: str) -> np.ndarray:
    """One place in each stretch that looks like a record with another one behind it; none where nothing does."""
    stretches = len(data) // EVERY - 2
    first = np.ndarray((stretches, WINDOW), order + "u4", data, EVERY, (EVERY, 1))
    which, within = np.nonzero(first - words[0] <= _NEAR)
    at = (which + 1) * EVERY + within
    for _ in range(2):
        near = at + HEAD <= len(data) - HEAD
        good = near & (words[np.where(near, at, 0)] - words[0] <= _NEAR)
        head = np.where(good, at, 0)
        caplen, wire = words[head + 8].astype(np.int64), words[head + 12].astype(np.int64)
        good &= (words[head + 4] < 1_000_000_000) & (caplen <= MAX_PACKET) & (wire >= caplen)
        which, within, at = which[good], within[good], (at + HEAD + caplen)[good]
    which, chosen = np.unique(which, return_index=True)
    return (which + 1) * EVERY + within[chosen]


def _guesses_ng(data: np.ndarray, words: np.ndarray, order: str) -> np.ndarray:
    """The same for the packet blocks of pcapng, which say their length at both ends."""
    stretches = len(data) // EVERY - 2
    first = np.ndarray((stretches, WINDOW // 4), order + "u4", data, EVERY, (EVERY, 4))  # blocks are aligned, mostly
    which, within = np.nonzero(first == 6)
    at = (which + 1) * EVERY + 4 * within
    size = words[at + 4].astype(np.int64)
    end = at + size
    good = (size >= 32) & (size & 3 == 0) & (end <= len(words) - 4)
    good &= words[np.where(good, end - 4, 0)] == size
    which, chosen = np.unique(which[good], return_index=True)
    return at[good][chosen]
