"""The receiving end of packets: parts into blocks, in their order, each taken once. No I/O but the session's."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field

import msgspec

from voipfleet.asking.switchboard import ServerLine
from voipfleet.link import types
from voipfleet.link.strange import Strange
from voipfleet.records.messages import Status
from voipfleet.relay.hub import Hub
from voipfleet.relay.messages import MAX_HOPS, Heard, Lost, Origin, Part, Taken
from voipfleet.tasks import end_all

log = logging.getLogger("voipfleet.packets")
ACKNOWLEDGE_EVERY = 0.05  # s
MAX_BLOCK = 2 << 20  # bytes of a block in parts

_decode_part = msgspec.msgpack.Decoder(Part).decode
_decode_lost = msgspec.msgpack.Decoder(Lost).decode
_decode_heard = msgspec.msgpack.Decoder(Heard).decode
_decode_status = msgspec.msgpack.Decoder(Status).decode


class PacketsError(ValueError):
    """What a source sent is not the next part of a block."""


@dataclass(slots=True)
class Stream:
    """What is known of one source while this instance runs: it goes on where it was when the source comes again."""

    epoch: bytes = bytes(16)
    through: int = 0  # the last block that came
    safe: int = 0  # the last one that is in safe hands
    blocks: int = 0
    packets: int = 0
    size: int = 0
    lost_packets: int = 0
    looped: int = 0  # blocks that came back to an instance that they had passed, or passed too many
    waiting: deque[tuple[int, asyncio.Future]] = field(default_factory=deque)  # came, and not safe yet
    parts: list[bytes] = field(default_factory=list)  # of the block that is coming
    coming: tuple = ()

    def begin(self, epoch: bytes, through: int = 0) -> None:
        """Another buffer than before."""
        self.epoch, self.through, self.safe, self.parts, self.coming = epoch, through, through, [], ()
        self.waiting.clear()

    def settle(self) -> bool:
        """Whether `safe` has grown by what has become safe since."""
        before = self.safe
        while self.waiting and self.waiting[0][1].done():
            self.safe = max(self.safe, self.waiting.popleft()[0])
        return self.safe > before


class Receiver:
    """The packets of all sources of one instance, `own` being its uuid."""

    def __init__(self, own: bytes, hub: Hub):
        self._own, self._hub = own, hub
        self.streams: dict[bytes, Stream] = {}

    def stream(self, source: bytes) -> Stream:
        return self.streams.setdefault(source, Stream())

    def expect(self, source: bytes, epoch: bytes, first: int) -> Stream:
        """The source's session begins: it has no block before `first`, since another receiver took those."""
        stream = self.stream(source)
        if epoch != stream.epoch:
            stream.begin(epoch, max(0, first - 1))
        elif first - 1 > stream.through:
            stream.begin(epoch, first - 1)
        return stream

    async def serve(self, session, source: bytes, name: str, line: ServerLine) -> None:
        """One source's session until it ends. `line` takes what is not about packets."""
        stream = self.stream(source)
        stream.parts, stream.coming = [], ()
        strange = Strange(log, name, "which is not for a receiver of packets")
        telling = asyncio.create_task(self._tell(session, stream))
        try:
            async for kind, body in session:
                if kind == types.PACKETS:
                    await self._part(stream, _decode_part(body), source, name)
                elif kind == types.PACKETS_GAP:
                    await self._lost(stream, _decode_lost(body), source, name)
                elif kind == types.PACKETS_HEARD:
                    heard = _decode_heard(body)
                    _check(heard.origin, source)
                    await self._hub.heard(source, heard)
                elif kind == types.STATUS:
                    line.status(_decode_status(body))
                elif not line.take(kind, body):
                    strange.tell(kind)
            stream.settle()
            await self._told(session, stream)
        except (msgspec.MsgspecError, UnicodeDecodeError, PacketsError) as error:
            log.warning("%s sent malformed packets (%s); the connection is closed", name, error)
        finally:
            await end_all(telling)

    async def _part(self, stream: Stream, part: Part, source: bytes, name: str) -> None:
        if part.epoch != stream.epoch:  # the source's buffer began anew
            stream.begin(part.epoch)
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
        stream.through = part.number
        stream.blocks += 1
        stream.packets += part.packets
        stream.size += len(body)
        if self._own in part.origin.hops or len(part.origin.hops) >= MAX_HOPS:
            if not stream.looped:
                log.error("%s sends packets that came from here, or by more than %d hosts; remove one of these"
                          " destinations", name, MAX_HOPS - 1)  # fmt: skip
            stream.looped += 1
            safe = asyncio.get_running_loop().create_future()
            safe.set_result(None)
        else:
            origin = part.origin
            _check(origin, source)
            if not origin.epoch:
                origin = msgspec.structs.replace(origin, epoch=part.epoch, number=part.number)
            safe = await self._hub.put(source, origin, part.packets, body)
        stream.waiting.append((part.number, safe))

    async def _lost(self, stream: Stream, lost: Lost, source: bytes, name: str) -> None:
        if lost.epoch != stream.epoch:
            stream.begin(lost.epoch)
        if lost.last <= stream.through:
            return  # told once more
        log.warning("%s lost %d packets before they could be sent (%s)", name, lost.packets, lost.reason)
        stream.lost_packets += lost.packets
        stream.through = lost.last
        safe = asyncio.get_running_loop().create_future()
        safe.set_result(None)
        stream.waiting.append((lost.last, safe))
        await self._hub.lost(source, name, lost.packets)

    async def _tell(self, session, stream: Stream) -> None:
        said = (stream.epoch, stream.safe)
        while True:
            await asyncio.sleep(ACKNOWLEDGE_EVERY)
            stream.settle()
            if (stream.epoch, stream.safe) != said:
                said = stream.epoch, stream.safe
                await self._told(session, stream)

    @staticmethod
    async def _told(session, stream: Stream) -> None:
        if stream.safe:
            await session.send(types.PACKETS_TAKEN, msgspec.msgpack.encode(Taken(stream.epoch, stream.safe)))


def _check(origin: Origin, source: bytes) -> None:
    if origin.hops[-1] != source:
        raise PacketsError("packets that have not passed the host that sends them")
