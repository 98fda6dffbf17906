"""What is captured on its way to the courier: packed, in order, and what had no room told with the next block."""

import socket

from support.packets import block_of
from voipfleet import pipe
from voipfleet.packer import HEARD_EVERY, Packer
from voipfleet.relay import codec


def test_blocks_and_what_is_said_of_the_clock_in_their_order(monkeypatch):
    ours, theirs = socket.socketpair()
    sender, reader = pipe.PipeSender(theirs), pipe.PipeReader(ours)
    packer = Packer(sender, "lz4", 100)
    packer.take(block_of([b"a" * 500, b"b" * 300]))
    packer.heard(5 * HEARD_EVERY)
    packer.heard(5 * HEARD_EVERY + 1)  # too soon to say it again
    sender.packets_dropped = 7  # as if there had been no room
    block = block_of([b"c"])
    block.drops = 2
    packer.take(block)
    found = reader.read()
    assert [kind for kind, _ in found] == [pipe.PACKETS, pipe.HEARD, pipe.PACKETS]
    first, last = (codec.unpack(found[at][1], max_bytes=1 << 20) for at in (0, 2))
    assert (len(first), first.drops, len(last), last.drops, block.drops) == (2, 0, 1, 9, 2)
    assert int.from_bytes(found[1][1], "big") == 5 * HEARD_EVERY
    counters = packer.counters
    assert counters["forward_packets_total"] == 3
    assert counters["forward_packed_bytes_total"] < counters["forward_raw_bytes_total"]
