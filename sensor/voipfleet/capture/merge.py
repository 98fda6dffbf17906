"""Blocks of several captures as one, in the order of time: SIP in one file and RTP in another are one capture."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from voipfleet.capture.block import Block, as_one, only


def merge(sources: list[Iterable[Block]]) -> Iterator[Block]:
    """The packets of all `sources` by capture time. A single source is passed through as it is."""
    if len(sources) == 1:
        yield from sources[0]
        return
    running = list(map(iter, sources))
    heads: list[Block | None] = [next(iterator, None) for iterator in running]
    while any(head is not None for head in heads):
        # Up to here every source is known: the earliest of the times at which the blocks in hand end.
        upto = min(int(head.ts.max()) for head in heads if head is not None)
        parts = []
        for number, head in enumerate(heads):
            if head is None:
                continue
            early = head.ts <= upto
            whole = early.all()
            parts.append(head if whole else only(head, early))
            heads[number] = next(running[number], None) if whole else replace(only(head, ~early), drops=0)
        yield from _by_link([part for part in parts if len(part)])


def _by_link(parts: list[Block]) -> Iterator[Block]:
    """One block where the link type is the same; otherwise one a link type, since a block has only one."""
    for linktype in sorted({part.linktype for part in parts}):
        same = [part for part in parts if part.linktype == linktype]
        block = as_one(same)
        yield block if len(same) == 1 else only(block, np.argsort(block.ts, kind="stable"))
