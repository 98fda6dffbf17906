"""Block -> columns of UDP packets: Ethernet, 802.1Q/QinQ, RAW, SLL, SLL2, IPv4, IPv6. Vectorised; no I/O."""

import numpy as np

from voipfleet.capture.block import ETHERNET, LINUX_SLL, LINUX_SLL2, RAW, Block
from voipfleet.decode import common
from voipfleet.decode.columns import COLUMNS, MAPPED, Packets, be

MAX_TAGS = 4


class _Walk:
    """Packets still in the race; `drop` takes those out that fail a test and counts why."""

    def __init__(self, block: Block):
        self.index = np.arange(len(block))
        self.at = block.offset.astype(np.int64)
        self.end = self.at + block.caplen
        self.type = np.zeros(len(block), np.int64)
        self.ignored: dict[str, int] = {}

    def keep(self, mask: np.ndarray, reason: str) -> None:
        lost = len(mask) - int(np.count_nonzero(mask))
        if lost:
            self.ignored[reason] = self.ignored.get(reason, 0) + lost
            self.index, self.at, self.end, self.type = (c[mask] for c in (self.index, self.at, self.end, self.type))


def parse(block: Block) -> Packets:
    """The UDP packets of `block`, in its order."""
    found, handled = common.parse(block)
    if found is None:
        return _walk(block)
    if handled.all():
        return found
    left = np.nonzero(~handled)[0]
    rest, where = _walk_some(block, left)
    if len(rest):
        order = np.argsort(np.concatenate([np.nonzero(handled)[0], where]), kind="stable")
        for name in COLUMNS:
            setattr(found, name, np.concatenate([getattr(found, name), getattr(rest, name)])[order])
    found.ignored = rest.ignored
    return found


def _walk_some(block: Block, index: np.ndarray) -> tuple[Packets, np.ndarray]:
    """The packets at `index` the long way, and where in the block those lie that are UDP."""
    part = Block(data=block.data, ts=index, offset=block.offset[index], caplen=block.caplen[index],
                 wirelen=block.wirelen[index], linktype=block.linktype)  # fmt: skip
    rest = _walk(part)  # its column of times carries the places through
    where, rest.ts = rest.ts, block.ts[rest.ts]
    return rest, where


def _walk(block: Block) -> Packets:
    """Every packet by every rule; what is no UDP packet is counted with its reason."""
    data, walk = block.data, _Walk(block)
    shape = {ETHERNET: (14, 12), LINUX_SLL: (16, 14), LINUX_SLL2: (20, 0), RAW: (0, -1)}.get(block.linktype)
    if shape is None:
        walk.keep(np.zeros(len(block), bool), "linktype")
    else:
        head, where = shape
        walk.keep(walk.end - walk.at >= head, "short")
        if where >= 0:
            walk.type = be(data, walk.at + where, 2).astype(np.int64)
        walk.at = walk.at + head
        for _ in range(MAX_TAGS):
            tagged = (walk.type == 0x8100) | (walk.type == 0x88A8) | (walk.type == 0x9100)
            if where < 0 or not tagged.any():
                break
            walk.keep(~tagged | (walk.end - walk.at >= 4), "short")
            tagged = (walk.type == 0x8100) | (walk.type == 0x88A8) | (walk.type == 0x9100)
            walk.type[tagged] = be(data, walk.at[tagged] + 2, 2)
            walk.at[tagged] += 4
        if where >= 0:
            walk.keep((walk.type == 0x0800) | (walk.type == 0x86DD), "not_ip")
    walk.keep(walk.end - walk.at >= 20, "short")
    version = data[walk.at] >> 4
    six = version == 6
    if shape is not None and shape[1] >= 0:
        walk.keep(np.where(walk.type == 0x86DD, six, version == 4), "bad_ip")
    else:
        walk.keep(six | (version == 4), "bad_ip")
    six = (data[walk.at] >> 4) == 6
    walk.keep(~six | (walk.end - walk.at >= 40), "short")
    six = (data[walk.at] >> 4) == 6
    header = np.where(six, 40, (data[walk.at] & 15).astype(np.int64) * 4)
    total = np.where(six, be(data, walk.at + np.where(six, 4, 2), 2).astype(np.int64) + np.where(six, 40, 0), 0)
    total = np.where(six, total, be(data, walk.at + 2, 2).astype(np.int64))
    sound = (header >= 20) & (total >= header) & (walk.end - walk.at >= header)
    # IP says where the packet ends; what follows is padding of the frame
    walk.end = np.minimum(walk.end, walk.at + total)
    walk.keep(sound, "bad_ip")
    six = (data[walk.at] >> 4) == 6
    walk.keep(six | ((be(data, walk.at + 6, 2) & np.uint64(0x3FFF)) == 0), "fragment")
    six = (data[walk.at] >> 4) == 6
    proto = data[walk.at + np.where(six, 6, 9)]
    extension = six & np.isin(proto, (0, 43, 44, 51, 60))
    walk.keep(~extension, "ipv6_extension")
    six = (data[walk.at] >> 4) == 6
    proto = data[walk.at + np.where(six, 6, 9)]
    walk.keep(proto == 17, "not_udp")
    six = (data[walk.at] >> 4) == 6
    udp = walk.at + np.where(six, 40, (data[walk.at] & 15).astype(np.int64) * 4)
    walk.keep(walk.end - udp >= 8, "short")
    six = (data[walk.at] >> 4) == 6
    udp = walk.at + np.where(six, 40, (data[walk.at] & 15).astype(np.int64) * 4)
    size = be(data, udp + 4, 2).astype(np.int64)
    walk.keep(size >= 8, "bad_udp")
    good = size >= 8
    udp, six, size = udp[good], six[good], size[good]
    n = len(udp)
    src_hi, src_lo, dst_hi, dst_lo = (np.zeros(n, np.uint64) for _ in range(4))
    four = ~six
    at = walk.at[four]
    src_lo[four], dst_lo[four] = be(data, at + 12, 4) | MAPPED, be(data, at + 16, 4) | MAPPED
    if six.any():
        at = walk.at[six]
        src_hi[six], src_lo[six] = be(data, at + 8, 8), be(data, at + 16, 8)
        dst_hi[six], dst_lo[six] = be(data, at + 24, 8), be(data, at + 32, 8)
    length = np.minimum(size, walk.end - udp) - 8
    return Packets(data, block.ts[walk.index], udp + 8, length, src_hi, src_lo, dst_hi, dst_lo,
                   be(data, udp, 2).astype(np.int64), be(data, udp + 2, 2).astype(np.int64), walk.ignored)  # fmt: skip
