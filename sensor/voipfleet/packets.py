"""The courier's part that is about packets: buffers, links to where they go, and what comes from other hosts."""

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from voipfleet.asking.switchboard import Switchboard
from voipfleet.duties import Destination, Duties
from voipfleet.link import types
from voipfleet.link.client import Hello
from voipfleet.records.messages import Status, Welcome
from voipfleet.records.spool import Spool
from voipfleet.relay import codec
from voipfleet.relay.buffer import PacketBuffer
from voipfleet.relay.hub import Hub, Output, lag
from voipfleet.relay.messages import Heard, Origin
from voipfleet.relay.receive import Receiver
from voipfleet.relay.send import Totals, send_blocks
from voipfleet.room import Giver, same_disk
from voipfleet.uplink import Uplink

log = logging.getLogger("voipfleet.packets")
MB = 1 << 20
AT_ONCE = 32  # blocks of an earlier role
KEYS = ("mirror_destination", "server_destination")


class Packets:
    """Made by `open`. `hub` gets what is captured and received, `receiver` serves sessions of role 2."""

    def __init__(self, config, name: str, spool: Spool, board: Switchboard):
        self._config, self._name, self._spool, self._board = config, name, spool, board
        self.hub: Hub
        self.receiver: Receiver
        self._uplinks: list[tuple[Output, Uplink, Totals]] = []
        self._left: list[PacketBuffer] = []  # of an earlier role, to be analysed here

    @classmethod
    async def open(cls, config, name: str, spool: Spool, duties: Duties, *, analyse, note, status,
                   board: Switchboard, identity=None, psk=b"") -> "Packets":  # fmt: skip
        """`analyse` and `note` as Hub has them; `status()` is what this instance says of itself."""
        self = cls(config, name, spool, board)
        left = self._inherit(duties)
        outputs = [await self._output(destination, len(duties.sends)) for destination in duties.sends]
        self.hub = Hub(spool.sensor_uuid, name, outputs, analyse=analyse if duties.analyses else None, note=note,
                       commit=spool.flush, cursors=spool.origins)  # fmt: skip
        for folder in left if duties.analyses else ():
            self._left.append(await PacketBuffer.open(folder, memory=8 * MB, disk=1 << 62))
        self.receiver = Receiver(spool.sensor_uuid, self.hub)
        for destination, output in zip(duties.sends, outputs, strict=True):
            self._uplinks.append(self._uplink(destination, output, identity, psk, status))
        return self

    def _folder(self, key: str) -> Path:
        return folder_of(self._config) / key

    def _inherit(self, duties: Duties) -> list[Path]:
        """Packets that wait for a destination that this instance has no more go to the one it has now. Folders of
        others, which are analysed here where this instance analyses."""
        left = []
        now = [destination.key for destination in duties.sends]
        for key in KEYS:
            old = self._folder(key)
            if key in now or not any(old.glob("*.packets")):
                continue
            heir = next((folder for folder in map(self._folder, now) if not any(folder.glob("*.packets"))), None)
            if heir:
                shutil.rmtree(heir, ignore_errors=True)  # the books of a buffer in which nothing waits
                old.rename(heir)
                log.warning("packets that waited for %s go to %s now", key, heir.name)
            elif duties.analyses:
                log.warning("%s: packets that waited for a %s are analysed here now", old, key)
                left.append(old)
            else:
                log.warning("%s: packets of an earlier role wait here; they leave once this host has a %s", old, key)
        return left

    async def _output(self, destination: Destination, several: int) -> Output:
        config, folder = self._config, self._folder(destination.key)
        buffer = await PacketBuffer.open(folder, memory=config.max_buffer_mem * MB // several,
                                         disk=config.packetbuffer_file_totalmaxsize * MB // several)  # fmt: skip
        return Output(destination.key, buffer, last=buffer.last)

    def _uplink(self, destination: Destination, output: Output, identity, psk: bytes, status: Callable[[], Status]):
        totals = Totals()

        def hello() -> Hello:
            return Hello(sensor_uuid=self._spool.sensor_uuid, name=self._name, spool_epoch=output.buffer.epoch,
                         next_seq=output.buffer.through + 1)  # fmt: skip

        async def serve(session, welcome: Welcome) -> None:
            async with self._board.client(session, welcome.central) as line:
                await send_blocks(session, welcome, output.buffer, status=status, heard=output.told, totals=totals,
                                  line=line)  # fmt: skip

        uplink = Uplink(self._config, identity, psk, role=types.ROLE_PACKETS, hosts=destination.hosts,
                        port=destination.port, hello=hello, serve=serve, name=destination.key,
                        meanwhile="packets wait in the buffer")  # fmt: skip
        return output, uplink, totals

    def work(self) -> list[Coroutine]:
        """What runs for ever."""
        return [
            self.hub.confirm(),
            *(part for output, uplink, _ in self._uplinks for part in (uplink.run(), self.hub.watch(output))),
            self._analyse_left(),
        ]

    async def _analyse_left(self) -> None:
        """What waited for others in an earlier role; a few blocks at a time, since each is safe only once committed."""
        own = self._spool.sensor_uuid
        for buffer in self._left:
            after = buffer.through
            while after < buffer.last:
                waiting: list[tuple[int, asyncio.Future]] = []
                while after < buffer.last and len(waiting) < AT_ONCE:
                    block = await buffer.next(after)
                    after = block.number
                    waiting.append((after, await self.hub.put(own, block.origin, block.packets, block.body)))
                for number, safe in waiting:
                    await safe
                    buffer.acknowledge(number)
            log.info("the packets of the earlier role are analysed")
        if self._left:
            await self.hub.heard(own, Heard(Origin(self._name, [own]), time.time_ns()))
        await asyncio.Event().wait()

    def givers(self, spool: Path) -> list[Giver]:
        """Who can give back room on the disk of that folder."""
        outputs = [output for output, _, _ in self._uplinks]
        return [output.buffer.give_back for output in outputs if same_disk(self._folder(output.name), spool)]

    async def welcome(self, peer) -> Welcome:
        stream = self.receiver.expect(peer.sensor_uuid, peer.hello.spool_epoch, peer.hello.next_seq)
        return Welcome(os.urandom(8), self._spool.sensor_uuid, self._name[:64], stream.epoch, stream.safe)

    async def serve(self, session, peer) -> None:
        self.hub.offsets[peer.sensor_uuid] = lambda: session.clock.seconds
        with self._board.server(session, peer) as line:
            await self.receiver.serve(session, peer.sensor_uuid, peer.name, line)

    async def probe(self) -> None:
        """Returns when every receiver has taken an empty block."""
        self.hub.own(codec.dropped(0))
        wanted = [(output.buffer, output.last) for output, _, _ in self._uplinks]
        while any(buffer.through < number for buffer, number in wanted):
            await asyncio.sleep(0.05)

    async def delivered(self, seconds: float) -> bool:
        """Whether all that waits has left within that time, as far as there are connections."""
        live = [output.buffer for output, uplink, _ in self._uplinks if uplink.state == "connected"]
        try:
            async with asyncio.timeout(seconds):
                while any(buffer.through < buffer.last for buffer in live):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        for output, uplink, _ in self._uplinks:
            await uplink.close()
            await output.buffer.close()
        for buffer in self._left:
            await buffer.close()

    def report(self) -> dict:
        """For `voipfleet status`: each link, what waits for it, what it saved; and what came from others."""
        links = []
        for output, uplink, totals in self._uplinks:
            state = output.buffer.state()
            links.append({
                **uplink.report(), "key": output.name, "packets": totals.packets, "bytes": totals.sent,
                "bytes_saved": totals.raw - totals.sent,
                "ratio": round(totals.sent / totals.raw, 3) if totals.raw else None,
                "buffer": {
                    "put": state.put.packets, "acknowledged": state.acknowledged.packets,
                    "memory": state.memory.packets, "disk": state.disk.packets, "dropped": state.dropped.packets,
                    "memory_bytes": state.memory.bytes, "disk_bytes": state.disk_bytes,
                    "lag_seconds": round(lag(state.oldest), 1), "error": state.fault,
                },
            })  # fmt: skip
        return {"links": links, "received": [
            {"source": source.hex(), "blocks": one.blocks, "packets": one.packets, "bytes": one.size,
             "lost": one.lost_packets, "looped": one.looped} for source, one in self.receiver.streams.items()
        ], "repeated": self.hub.repeated}  # fmt: skip


def folder_of(config) -> Path:
    """Where packets wait, a folder for each key that names a destination."""
    return Path(config.packetbuffer_file_path or Path(config.spooldir) / "packets")


def left_behind(config) -> bool:
    """Whether packets of an earlier role wait there."""
    return any(folder_of(config).glob("*/*.packets"))
