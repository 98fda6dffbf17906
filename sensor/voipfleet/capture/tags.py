"""802.1Q tags that the kernel took off captured frames (packet(7), PACKET_AUXDATA), put back where frames are kept."""

import struct
from collections.abc import Iterator

import numpy as np

from voipfleet.arrays import each
from voipfleet.capture.block import ETHERNET, Block

_MACS, TAG = 12, 4  # bytes before the tag, and of it
_TPID = 0x8100


def taken_off(block: Block, index: np.ndarray) -> np.ndarray | None:
    """Which of the packets at `index` (bool) have lost their tag; None where none has."""
    if block.vlan is None or block.linktype != ETHERNET:
        return None
    found = (block.vlan[index] >= 0) & (block.caplen[index] >= _MACS)
    return found if found.any() else None


def frame(block: Block, index: int) -> tuple[bytes, int]:
    """The packet at `index` as it was on the wire, and by how many bytes it is longer than it was captured."""
    at = int(block.offset[index])
    data = block.data[at : at + int(block.caplen[index])].tobytes()
    if block.vlan is None or block.linktype != ETHERNET or block.vlan[index] < 0 or len(data) < _MACS:
        return data, 0
    return data[:_MACS] + struct.pack("!HH", _TPID, int(block.vlan[index]) & 0xFFFF) + data[_MACS:], TAG


def frames(block: Block, index: np.ndarray, caplen: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The packets at `index`, all of which have lost their tag, `caplen` bytes of each: with the tag, by length. Each
    time which of them (places in `index`) and a row of bytes (uint8) for each."""
    macs = each(block.data, _MACS)
    for size in np.unique(caplen).tolist():
        which = np.nonzero(caplen == size)[0]
        at = block.offset[index[which]]
        rows = np.empty((len(which), size + TAG), np.uint8)
        rows[:, :_MACS] = macs[at].view(np.uint8).reshape(-1, _MACS)
        rows[:, _MACS : _MACS + 2] = np.frombuffer(struct.pack("!H", _TPID), np.uint8)
        rows[:, _MACS + 2 : _MACS + TAG] = block.vlan[index[which]].astype(">u2").view(np.uint8).reshape(-1, 2)
        if size > _MACS:
            rest = each(block.data, size - _MACS)[at + _MACS]
            rows[:, _MACS + TAG :] = rest.view(np.uint8).reshape(len(which), -1)
        yield which, rows
