"""Where SIP is, if it is not where it was looked for: a capture without a call wants a word about its ports. No I/O."""

import collections
import re

import numpy as np

from voipfleet.capture.block import Block
from voipfleet.decode import frames

MAX_BLOCKS, MAX_PORTS = 4, 8
_START = re.compile(rb"[A-Z]{3,16} sips?:\S+ SIP/2\.0\r?\n|SIP/2\.0 [1-6][0-9]{2} ", re.IGNORECASE)


class Elsewhere:
    """`look` at the blocks as they come; `ports` at the end."""

    def __init__(self) -> None:
        self._kept: list[Block] = []

    def look(self, block: Block) -> None:
        """Keeps the first blocks in which something of SIP stands."""
        if len(self._kept) < MAX_BLOCKS and b"SIP/2.0" in block.data.tobytes():
            self._kept.append(block)

    def ports(self) -> list[int]:
        """The fewest ports of which each message found has one, the busiest first."""
        found: collections.Counter[tuple[int, int]] = collections.Counter()
        decoder = frames.Decoder(np.ones(65536, bool), lambda *_: None)
        for block in self._kept:
            packets = decoder.parse(block)
            ends = zip(packets.start.tolist(), packets.length.tolist(), packets.sport.tolist(), packets.dport.tolist(),
                       strict=True)  # fmt: skip
            for start, length, source, target in ends:
                if _START.match(packets.data[start : start + min(length, 600)].tobytes()):
                    found[source, target] += 1
        needed: list[int] = []
        while found and len(needed) < MAX_PORTS:
            count = collections.Counter()
            for pair, number in found.items():
                count.update(dict.fromkeys(pair, number))
            needed.append(max(count, key=lambda port: (count[port], -port)))
            found = collections.Counter({pair: number for pair, number in found.items() if needed[-1] not in pair})
        return needed
