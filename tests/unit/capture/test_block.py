"""Several blocks as one: every packet is still what it was, where it was."""

import numpy as np
from support.packets import block_of
from voipfleet.capture import block as module
from voipfleet.capture.block import RAW, join


def packets(block):
    ends = zip(block.offset.tolist(), block.caplen.tolist(), strict=True)
    return [block.data[at : at + size].tobytes() for at, size in ends]


def test_joined_in_their_order_up_to_a_size(monkeypatch):
    monkeypatch.setattr(module, "MAX_BLOCK", 10)
    parts = [block_of([b"abc", b"de"]), block_of([b"fgh"], start=100), block_of([b"ijklm"], start=200),
             block_of([b"raw"], RAW), block_of([b"n" * 50])]  # fmt: skip
    parts[0].drops, parts[1].drops = 2, 3
    found = join(parts)
    assert [packets(block) for block in found] == [[b"abc", b"de", b"fgh"], [b"ijklm"], [b"raw"], [b"n" * 50]]
    assert [block.drops for block in found] == [5, 0, 0, 0] and [block.linktype for block in found] == [1, 1, RAW, 1]
    assert found[0].ts.tolist() == [0, 10, 100] and found[0].wirelen.tolist() == [3, 2, 3] and found[0].vlan is None


def test_tags_are_kept():
    parts = [block_of([b"a"]), block_of([b"b"])]
    for number, part in enumerate(parts):
        part.vlan = np.array([number])
    (found,) = join(parts)
    assert found.vlan.tolist() == [0, 1]
    assert join([]) == []
