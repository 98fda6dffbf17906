"""Where the records of a classic pcap start: a chain of lengths, followed from many places of the bytes at once.

Each record says how long it is, so the chain is sequential. Following it in Python costs more than the analysis of some
packets; so places that look like a record are guessed all over the bytes, all chains are followed together, and where
every chain ends exactly where the next one began, the guesses were right. Otherwise the plain loop decides.
"""

import struct

import numpy as np

EVERY, WINDOW = 16 << 10, 384  # bytes from guess to guess; bytes in which a record must start there
MAX_PACKET = 256 << 10  # a longer record means a broken file
HEAD = 16
_NEAR = 3600  # s that a guessed record may be later than the first


def starts(data: np.ndarray, order: str) -> tuple[np.ndarray, int]:
    """(where whole records start, where the rest starts) in `data` (uint8), which begins with a record.

    A record longer than MAX_PACKET ends the chain before it.
    """
    if len(data) > 4 * EVERY and (found := _together(data, order)) is not None:
        return found
    return _plain(data, 0, order)


def _plain(data: np.ndarray, at: int, order: str) -> tuple[np.ndarray, int]:
    length, view, found = struct.Struct(order + "I").unpack_from, memoryview(data), []
    while at + HEAD <= len(data):
        caplen = length(view, at + 8)[0]
        if caplen > MAX_PACKET or at + HEAD + caplen > len(data):
            break
        found.append(at)
        at += HEAD + caplen
    return np.array(found, np.int64), at


def _together(data: np.ndarray, order: str) -> tuple[np.ndarray, int] | None:
    """All chains step by step; None where they do not fit together."""
    words = np.ndarray(len(data) - 3, order + "u4", data, strides=(1,))
    heads, edge = np.append(0, _guesses(data, words, order)), len(data) - EVERY
    limit = np.append(heads[1:], edge)  # what lies behind the edge is left to the plain loop
    lengths, top, steps = words[8:], len(words) - 9, [heads]
    while len(steps) % 16 or (steps[-1] < limit).any():
        # A chain that has reached the next one goes on in it, which costs less than to stop it.
        at = steps[-1]
        steps.append(at + lengths[np.minimum(at, top)] + HEAD)
    table = np.array(steps)
    on = table < limit
    last = np.count_nonzero(on, axis=0) - 1
    ends = table[last + 1, np.arange(len(heads))]
    found = table.T[on.T]
    if (ends[:-1] != limit[:-1]).any() or int(lengths[found].max()) > MAX_PACKET:
        return None
    if ends[-1] > len(data):  # its last record is not whole
        return found[:-1], int(found[-1])
    rest, end = _plain(data, int(ends[-1]), order)
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
