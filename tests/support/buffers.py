"""What the tests of the packet buffer have in common."""

import asyncio

from voipfleet.relay.buffer import PacketBuffer
from voipfleet.relay.messages import Origin

ORIGIN = Origin("branch1", [b"s" * 16], b"e" * 16, 7, -3)
BIG = 1 << 30


def body(number: int, size: int) -> bytes:
    return number.to_bytes(4, "big") * (size // 4)


def law(buffer: PacketBuffer) -> None:
    state = buffer.state()
    assert state.put == state.acknowledged + state.memory + state.disk + state.dropped
    assert min(min(part.blocks, part.packets, part.bytes) for part in (state.memory, state.disk, state.dropped)) >= 0
    assert not (state.memory.blocks or state.disk.blocks) or state.oldest


async def take(buffer: PacketBuffer, count: int, after: int = 0) -> list:
    out = []
    while len(out) < count:
        out.append(await asyncio.wait_for(buffer.next(after), 5))
        after = out[-1].number
    return out


async def killed(buffer: PacketBuffer) -> None:
    """As kill -9 leaves it: nothing more is written."""
    buffer._task.cancel()
    await asyncio.gather(buffer._task, return_exceptions=True)
    buffer._disk.close()
