"""A call is erased: its packets are overwritten with zeros where they are, then their keys leave the index.

The file keeps its size and its time, the other runs their places. A kill in between leaves a key whose packets are
zeros, or some that are not yet: erasing again completes it. A segment that retention removes meanwhile needs no more.
"""

import contextlib
import fcntl
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voipfleet.capture import chain
from voipfleet.packetstore import lookup
from voipfleet.packetstore.segment import IDX, decode_index, encode_index
from voipfleet.whole import put, sync_folder


@dataclass
class Erased:
    """How much that was. `damaged`: segments in which nothing can be found, so that nobody knows what they have.
    `broken`: runs in which packets could not be told apart, so that all of them from there on was overwritten."""

    packets: int = 0
    segments: int = 0
    damaged: int = 0
    broken: int = 0


def erase(folder: Path, keys: Collection[int], since: int, until: int) -> Erased:
    """The packets of these keys from `since` to `until` (ns); others of the same keys stay.

    What the engine has not written yet is not reached: have it seal first. Raises OSError where a disk fails.
    """
    wanted = np.array(sorted(set(keys)), np.uint64)
    with _alone(folder):
        found = lookup.plan(folder, keys, since, until)
        done = Erased(damaged=found.damaged)
        for path in dict.fromkeys(piece.path for piece in found.pieces):
            with contextlib.suppress(FileNotFoundError):
                _of_segment(Path(path), wanted, since, until, done)
    return done


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One at a time: an index is read, changed and written."""
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _of_segment(pcap: Path, keys: np.ndarray, since: int, until: int, done: Erased) -> None:
    idx = pcap.with_suffix(IDX)
    index = decode_index(idx.read_bytes())
    if index is None:
        done.damaged += 1
        return
    ours = np.nonzero(np.isin(index.entries["key"], keys))[0]
    gone, packets = [], 0
    file = os.open(pcap, os.O_RDWR | os.O_CLOEXEC)
    try:
        before = os.fstat(file)
        for entry in ours.tolist():
            run = index.entries[entry].tolist()[1:]
            overwritten, left, broken = _overwrite(file, *run, (since, until), (index.first, index.last))
            packets += overwritten
            done.broken += broken
            if not left:
                gone.append(entry)
        os.fsync(file)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # it is as old as it was
    finally:
        os.close(file)
    put(idx, encode_index(np.delete(index.entries, gone), index.packets, index.first, index.last))
    sync_folder(idx.parent)
    if not pcap.exists():  # removed meanwhile, and the index must not come back
        idx.unlink(missing_ok=True)
    done.packets += packets
    done.segments += 1


def _overwrite(
    file: int, offset: int, length: int, span: tuple[int, int], within: tuple[int, int]
) -> tuple[int, int, bool]:
    """How many packets of a run are zeros now, how many are left, and whether a head was broken: of what is behind it
    nobody knows when it was, and it is zeros. `within`: the times of the segment's packets (ns)."""
    data = np.frombuffer(bytearray(os.pread(file, length, offset)), np.uint8)
    starts, end = chain.starts(data, "<")
    ours = np.zeros(0, bool)
    if len(starts):
        block = chain.block_of(data, starts, 0)
        odd = (block.ts < within[0]) | (block.ts > within[1]) | (block.wirelen < block.caplen)
        odd[1:] |= np.diff(block.ts) < 0  # a length that is wrong leads to a place that looks like a head, mostly not
        good = int(np.argmax(odd)) if odd.any() else len(starts)
        end = int(starts[good]) if good < len(starts) else end
        ours = (block.ts[:good] >= span[0]) & (block.ts[:good] <= span[1])
        for start, size in zip(block.offset[:good][ours].tolist(), block.caplen[:good][ours].tolist(), strict=True):
            data[start : start + size] = 0
    broken = bool(data[end:].any())
    data[end:] = 0
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written
    return int(np.count_nonzero(ours)), int(np.count_nonzero(~ours)), broken
