"""The receiving end of packets: parts into blocks, in their order, each taken once. No I/O but the session's."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from voipfleet.link import types
from voipfleet.relay.messages import Lost, Origin, Part, Taken

log = logging.getLogger("voipfleet.packets")
ACKNOWLEDGE_EVERY = 0.1  # s
MAX_BLOCK = 2 << 20  # bytes of a block in parts

_decode_part = msgspec.msgpack.Decoder(Part).decode
_decode_lost = msgspec.msgpack.Decoder(Lost).decode


class PacketsError(ValueError):
    """What a source sent is not the next part of a block."""


@dataclass(slots=True)
class Stream:
    """What is known of one source while this instance runs: it goes on where it was when the source comes again."""

    epoch: bytes = bytes(16)
    through: int = 0  # the last block that was taken
    blocks: int = 0
    packets: int = 0
    size: int = 0
    lost_blocks: int = 0
    lost_packets: int = 0
    looped: int = 0  # blocks that came back to an instance that they had passed
    parts: list[bytes] = field(default_factory=list)  # of the block that is coming
    coming: tuple = ()


class Receiver:
    """The packets of all sources of one instance, `own` being its uuid.

    `take(origin, body, packets)` gets each block and returns when it is in safe hands: nothing more is read until then.
    """

    def __init__(self, own: bytes, take: Callable[[Origin, bytes, int], Awaitable[None]]):
        self._own, self._take = own, take
        self.streams: dict[bytes, Stream] = {}

    def stream(self, source: bytes) -> Stream:
        return self.streams.setdefault(source, Stream())

    async def serve(self, session, source: bytes, name: str) -> None:
        """One source's session until it ends."""
        stream = self.stream(source)
        stream.parts, stream.coming = [], ()
        telling = asyncio.create_task(self._tell(session, stream))
        try:
            async for kind, body in session:
                if kind == types.PACKETS:
                    await self._part(stream, _decode_part(body), name)
                elif kind == types.PACKETS_GAP:
                    self._lost(stream, _decode_lost(body), name)
                elif kind != types.STATUS:
                    log.warning("%s sent a frame of type %d among packets; ignored", name, kind)
            await self._told(session, stream)
        except (msgspec.MsgspecError, UnicodeDecodeError, PacketsError) as error:
            log.warning("%s sent malformed packets (%s); the connection is closed", name, error)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _part(self, stream: Stream, part: Part, name: str) -> None:
        if part.epoch != stream.epoch:  # the source's buffer began anew
            stream.epoch, stream.through, stream.parts, stream.coming = part.epoch, 0, [], ()
        key = part.number, part.parts, part.packets, part.origin
        if part.part == 0:
            stream.parts, stream.coming = [], key
        if stream.coming != key or part.part != len(stream.parts) or part.part >= part.parts:
            raise PacketsError(f"part {part.part} of block {part.number} is not the next one")
        stream.parts.append(part.body)
        if sum(map(len, stream.parts)) > MAX_BLOCK:
            raise PacketsError(f"block {part.number} is larger than {MAX_BLOCK} bytes")
        if len(stream.parts) < part.parts:
            return
        body, stream.parts, stream.coming = b"".join(stream.parts), [], ()
        if part.number <= stream.through:
            return  # sent once more, since our word had not come through
        if part.number != stream.through + 1 and stream.through:
            raise PacketsError(f"block {part.number} came after {stream.through}")
        if self._own in part.origin.hops:
            if not stream.looped:
                log.error("%s sends packets that came from here; remove one of these destinations", name)
            stream.looped += 1
        else:
            await self._take(part.origin, body, part.packets)
        stream.through = part.number
        stream.blocks += 1
        stream.packets += part.packets
        stream.size += len(body)

    def _lost(self, stream: Stream, lost: Lost, name: str) -> None:
        if lost.epoch != stream.epoch:
            stream.epoch, stream.through = lost.epoch, 0
        if lost.last <= stream.through:
            return  # told once more
        log.warning("%s lost %d packets before they could be sent (%s)", name, lost.packets, lost.reason)
        stream.lost_blocks += lost.last - lost.first + 1
        stream.lost_packets += lost.packets
        stream.through = lost.last

    async def _tell(self, session, stream: Stream) -> None:
        said = (b"", 0)
        while True:
            await asyncio.sleep(ACKNOWLEDGE_EVERY)
            if (stream.epoch, stream.through) != said:
                said = stream.epoch, stream.through
                await self._told(session, stream)

    @staticmethod
    async def _told(session, stream: Stream) -> None:
        if stream.through:
            await session.send(types.PACKETS_TAKEN, msgspec.msgpack.encode(Taken(stream.epoch, stream.through)))
