"""The Block: the unit of work from capture to statistics (DESIGN: never a packet)."""

from dataclasses import dataclass, replace

import numpy as np

# Link types (the LINKTYPE_ numbers of the pcap formats)
NULL, ETHERNET, RAW, LINUX_SLL, LINUX_SLL2 = 0, 1, 101, 113, 276
MAX_BLOCK = 4 << 20  # bytes of packet data in one block, at most


@dataclass(slots=True)
class Block:
    """Up to a few MiB of captured packets in the order in which they were captured.

    `data` is one-dimensional uint8; the columns have one element a packet: `ts` int64 nanoseconds since
    the epoch, `offset` int64 where the packet starts in `data`, `caplen` int64 bytes present there,
    `wirelen` int64 bytes on the wire. `vlan` int64 is the 802.1Q tag that the kernel took off the frame
    (-1 for none). `drops`: packets the kernel dropped before this block, since the one before. `sensor`: who captured
    it, empty for this instance.
    """

    data: np.ndarray
    ts: np.ndarray
    offset: np.ndarray
    caplen: np.ndarray
    wirelen: np.ndarray
    linktype: int = ETHERNET
    vlan: np.ndarray | None = None
    drops: int = 0
    sensor: str = ""

    def __len__(self) -> int:
        return len(self.ts)


def join(blocks: list[Block]) -> list[Block]:
    """Blocks of one source one after the other as fewer of up to MAX_BLOCK bytes: a pass over a block has its price."""
    out: list[list[Block]] = []
    size = MAX_BLOCK
    for block in blocks:
        size += len(block.data)
        if size > MAX_BLOCK or (block.linktype, block.sensor) != (out[-1][0].linktype, out[-1][0].sensor):
            out.append([])
            size = len(block.data)
        out[-1].append(block)
    return [as_one(group) for group in out]


def only(block: Block, which: np.ndarray) -> Block:
    """The packets at `which` (a mask, or places), of the same data."""
    columns = {name: getattr(block, name)[which] for name in ("ts", "offset", "caplen", "wirelen")}
    return replace(block, vlan=None if block.vlan is None else block.vlan[which], **columns)


def as_one(group: list[Block]) -> Block:
    """Blocks of one link type and sensor one after the other, however many bytes that are."""
    if len(group) == 1:
        return group[0]
    shifts = np.cumsum([0, *(len(block.data) for block in group)])
    offset = np.concatenate([block.offset + shift for block, shift in zip(group, shifts[:-1], strict=True)])
    columns = {name: np.concatenate([getattr(block, name) for block in group]) for name in ("ts", "caplen", "wirelen")}
    tagged = all(block.vlan is not None for block in group)
    return Block(data=np.concatenate([block.data for block in group]), offset=offset, linktype=group[0].linktype,
                 vlan=np.concatenate([block.vlan for block in group]) if tagged else None,
                 drops=sum(block.drops for block in group), sensor=group[0].sensor, **columns)  # fmt: skip
