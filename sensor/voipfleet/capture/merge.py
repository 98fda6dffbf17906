"""Blocks of several captures as one, in the order of time: SIP in one file and RTP in another are one capture."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from voipfleet.capture.block import Block


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
            parts.append(_only(head, early))
            heads[number] = next(running[number], None) if early.all() else replace(_only(head, ~early), drops=0)
        yield from _joined([part for part in parts if len(part)])


def _only(block: Block, mask: np.ndarray) -> Block:
    if mask.all():
        return block
    columns = {name: getattr(block, name)[mask] for name in ("ts", "offset", "caplen", "wirelen")}
    vlan = None if block.vlan is None else block.vlan[mask]
    return Block(data=block.data, linktype=block.linktype, vlan=vlan, drops=block.drops, **columns)


def _joined(parts: list[Block]) -> Iterator[Block]:
    """One block where the link type is the same; otherwise one a link type, since a block has only one."""
    for linktype in sorted({part.linktype for part in parts}):
        same = [part for part in parts if part.linktype == linktype]
        if len(same) == 1:
            yield same[0]
            continue
        base = np.cumsum([0, *(len(part.data) for part in same)])
        columns = {name: np.concatenate([getattr(part, name) for part in same]) for name in ("ts", "caplen", "wirelen")}
        offset = np.concatenate([part.offset + start for part, start in zip(same, base[:-1], strict=True)])
        order = np.argsort(columns["ts"], kind="stable")
        yield Block(data=np.concatenate([part.data for part in same]), offset=offset[order], linktype=linktype,
                    drops=sum(part.drops for part in same),
                    **{name: column[order] for name, column in columns.items()})  # fmt: skip
