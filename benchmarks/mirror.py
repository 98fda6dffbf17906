"""Mirroring end to end over loopback: packed, buffered, encrypted, received, unpacked; two processes.

    python benchmarks/mirror.py [--packets 6000000] [--methods lz4 zstd none]

The sender packs blocks as they lie in the kernel's ring into a PacketBuffer, from where they go over a real link; the
receiver unpacks each and acknowledges it. RTP with payloads like speech, and its SIP. Then a backlog: packets that
waited on disk, and how fast they leave once the receiver is there.
"""

import argparse
import asyncio
import os
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.lines import board, client_line
from traffic import write
from voipfleet.capture.block import Block
from voipfleet.capture.pcapfile import read_blocks
from voipfleet.link import client, server, types
from voipfleet.link.keys import Identity
from voipfleet.link.noise import public_key
from voipfleet.records.messages import Status, Welcome
from voipfleet.relay import codec
from voipfleet.relay.buffer import PacketBuffer
from voipfleet.relay.messages import Origin
from voipfleet.relay.receive import Receiver
from voipfleet.relay.send import Totals, send_blocks

SENDER, RECEIVER = (Identity(private, public_key(private)) for private in (b"1" * 32, b"2" * 32))
PSK, UUID = b"p" * 32, b"s" * 16
AHEAD = 32 << 20  # bytes that may wait in memory before more is packed
BYTES_ACKED = 120  # where struct tcp_info (linux/tcp.h) has tcpi_bytes_acked


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def as_in_the_ring(block: Block) -> Block:
    """Every packet begins two bytes behind a multiple of eight, as after a link header of 14 bytes in AF_PACKET."""
    length = (block.caplen + 2 + 16 + 7) >> 3 << 3
    offset = np.cumsum(length) - length + 2
    data = np.zeros(int(length.sum()) + 8, np.uint8)
    for old, new, size in zip(block.offset.tolist(), offset.tolist(), block.caplen.tolist(), strict=True):
        data[new : new + size] = block.data[old : old + size]
    return Block(data=data, ts=block.ts, offset=offset, caplen=block.caplen, wirelen=block.wirelen,
                 linktype=block.linktype)  # fmt: skip


# -- the receiver's process ----------------------------------------------------------------------------------


class Sink:
    """Unpacks what comes, as an analysis would, and takes it."""

    def __init__(self):
        self.packets = 0

    async def put(self, source, origin, packets, body):
        self.packets += len(codec.unpack(body, max_bytes=4 << 20))
        safe = asyncio.get_running_loop().create_future()
        safe.set_result(None)
        return safe

    async def nothing(self, *_): ...

    lost = heard = nothing


async def receive() -> None:
    """Says its port, and after each line of standard input the packets and CPU seconds so far."""
    sink = Sink()
    receiver = Receiver(b"r" * 16, sink)

    async def welcome(peer) -> bytes:
        stream = receiver.expect(peer.sensor_uuid, peer.hello.spool_epoch, peer.hello.next_seq)
        return msgspec.msgpack.encode(Welcome(b"", bytes(16), "receiver", stream.epoch, stream.safe))

    async def serve(session, peer) -> None:
        with board().server(session, peer) as line:
            await receiver.serve(session, peer.sensor_uuid, peer.name, line)

    async def yes(*_) -> bool:
        return True

    listening = server.LinkServer((RECEIVER,), (PSK,), policy=server.Policy("password", {}, False, yes),
                                  welcome=welcome, on_session=serve, roles=frozenset({types.ROLE_PACKETS}))  # fmt: skip
    await listening.start("127.0.0.1", 0)
    print(listening.port, flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(sink.packets, cpu(), flush=True)


# -- the sender's --------------------------------------------------------------------------------------------


class Other:
    """The receiver, seen from here."""

    def __init__(self):
        command = [sys.executable, __file__, "--receive"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._process.stdout.readline())

    def said(self) -> tuple[int, float]:
        """(packets, CPU seconds) so far."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        packets, seconds = self._process.stdout.readline().split()
        return int(packets), float(seconds)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


async def link(buffer: PacketBuffer, folder: Path, port: int, totals: Totals):
    """(session, task that sends)."""
    hello = client.Hello(UUID, "sender", buffer.epoch, buffer.through + 1)
    session, body = await client.connect(
        "127.0.0.1", port, identity=SENDER, psk=PSK, role=types.ROLE_PACKETS, pins=(RECEIVER.public,),
        tofu_path=folder / "known", hello=hello, timeout=5,
    )  # fmt: skip
    welcome = msgspec.msgpack.decode(body, type=Welcome)
    sending = send_blocks(session, welcome, buffer, status=lambda: Status("sender", 0, "", "", "", 0, {}),
                          heard=lambda number: [], totals=totals, line=client_line(session))  # fmt: skip
    return session, asyncio.create_task(sending)


def wire(session) -> int:
    """Bytes of TCP's payload that the other side has acknowledged."""
    plain = session._writer.get_extra_info("socket")
    return struct.unpack_from("=Q", plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), BYTES_ACKED)[0]


def put(buffer: PacketBuffer, block: Block, method: str) -> int:
    """Pack and queue a block; its packets."""
    for packed in codec.pack(block, method=method):
        buffer.put(Origin("sender", [UUID]), packed.packets, packed.body)
    return len(block)


async def live(blocks: list[Block], packets: int, method: str, folder: Path) -> None:
    other, totals = Other(), Totals()
    buffer = await PacketBuffer.open(folder, memory=1 << 30, disk=1 << 30)
    session, sending = await link(buffer, folder, other.port, totals)
    begin, used, (_, theirs) = time.monotonic(), cpu(), other.said()
    sent = turn = packing = 0
    while sent < packets:
        before = time.thread_time()
        sent += put(buffer, blocks[turn % len(blocks)], method)
        packing += time.thread_time() - before
        turn += 1
        await asyncio.sleep(0)
        while buffer.state().memory.bytes > AHEAD:
            await asyncio.sleep(0.001)
    while buffer.through < buffer.last:
        await asyncio.sleep(0.001)
    seconds, used, bytes_sent = time.monotonic() - begin, cpu() - used, wire(session)
    got, cpu_there = other.said()
    if got != sent:
        raise SystemExit(f"{got} of {sent} packets came")
    captured = sum(int(block.caplen.sum()) for block in blocks) / sum(map(len, blocks))
    print(f"{method:5} {sent / seconds / 1e6:5.2f} M packets/s; CPU us a packet: sender {used / sent * 1e6:.2f} (of it"
          f" packing {packing / sent * 1e6:.2f}), receiver {(cpu_there - theirs) / sent * 1e6:.2f};"
          f" bytes a packet: {captured:.0f} captured, {totals.raw / sent:.0f} with columns, {bytes_sent / sent:.0f} on"
          f" the wire ({bytes_sent / sent / captured:.0%});"
          f" {buffer.state().dropped.packets} dropped")  # fmt: skip
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await session.close("done")
    await buffer.close()
    other.close()


async def backlog(blocks: list[Block], packets: int, method: str, folder: Path) -> None:
    buffer = await PacketBuffer.open(folder, memory=1 << 30, disk=4 << 30)
    sent = turn = 0
    while sent < packets:
        sent += put(buffer, blocks[turn % len(blocks)], method)
        turn += 1
        while buffer.state().memory.bytes > AHEAD:
            await asyncio.sleep(0.01)
    await buffer.close()
    other, totals = Other(), Totals()
    before = time.monotonic()
    buffer = await PacketBuffer.open(folder, memory=1 << 30, disk=4 << 30)
    opening, size = time.monotonic() - before, buffer.state().disk_bytes
    begin, used = time.monotonic(), cpu()
    session, sending = await link(buffer, folder, other.port, totals)
    while buffer.through < buffer.last:
        await asyncio.sleep(0.001)
    seconds, used = time.monotonic() - begin, cpu() - used
    if other.said()[0] != sent:
        raise SystemExit("packets of the backlog are missing")
    print(f"backlog of {sent / 1e6:.1f} M packets, {size >> 20} MiB on disk ({method}): found in {opening:.2f} s, left"
          f" at {sent / seconds / 1e6:.2f} M packets/s, {used / sent * 1e6:.2f} us of CPU a packet")  # fmt: skip
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await session.close("done")
    await buffer.close()
    other.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=int, default=6_000_000)
    parser.add_argument("--methods", nargs="+", choices=codec.METHODS, default=("lz4", "zstd", "none"))
    parser.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.receive:
        asyncio.run(receive())
        return
    with tempfile.TemporaryDirectory(prefix="vf-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        folder = Path(name)
        write(folder / "traffic.pcap", 400, 6, True, speech=True)
        blocks = [as_in_the_ring(block) for block in read_blocks(str(folder / "traffic.pcap"))]
        for method in args.methods:
            asyncio.run(live(blocks, args.packets, method, folder / method))
        asyncio.run(backlog(blocks, args.packets, "lz4", folder / "backlog"))


if __name__ == "__main__":
    main()
