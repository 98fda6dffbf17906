"""Live capture: an AF_PACKET socket with a TPACKET_V3 ring (packet(7), Linux packet_mmap.rst)."""

import fcntl
import mmap
import socket
import struct

import numpy as np

from voipfleet.capture import bpf
from voipfleet.capture.block import ETHERNET, RAW, Block, join
from voipfleet.errors import ConfigError, Fault, PermissionDenied, VoipfleetError

BLOCK_SIZE = 1 << 20
RETIRE_MS = 60  # the kernel hands over a block that is not full after this long
_SOL_PACKET, _ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION = 263, 1, 5, 6, 10
_TPACKET_V3, _PROMISC, _ETH_P_ALL = 2, 1, 3
_SIOCGIFHWADDR = 0x8927
_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772
_STATUS_AT, _USER = 8, 1  # where a block's status stands; the bit that says it is ours
_VLAN_VALID = 0x10
_SEC, _NSEC, _SNAPLEN, _LEN, _STATUS, _MAC, _TCI = 1, 2, 3, 4, 5, 6, 8  # u32 words of tpacket3_hdr


def packet_offsets(words: np.ndarray, count: int, first: int) -> np.ndarray:
    """Where each of `count` tpacket3_hdr starts, in u32 words. `words` is the block as uint32.

    Packets of one size lie at one distance: that is tried first, as one vector compare. Otherwise the chain
    is followed. Raises ValueError for a chain that leaves the block.
    """
    if count > 1:
        stride = int(words[first >> 2]) >> 2
        starts = (first >> 2) + np.arange(count, dtype=np.int64) * stride
        if stride and starts[-1] + 12 <= len(words) and (words[starts[:-1]] == stride << 2).all():
            return starts
    starts, at, view = [], first >> 2, memoryview(words)
    try:
        for _ in range(count):
            starts.append(at)
            at += view[at] >> 2
    except IndexError:
        raise ValueError("packet outside its block") from None
    return np.array(starts, dtype=np.int64)


def walk(raw: bytes, *, linktype: int) -> Block:
    """A copied ring block as a Block (its data is the copy: packets are not moved)."""
    count, first = struct.unpack_from("=II", raw, 12)
    words = np.frombuffer(raw, dtype=np.uint32, count=len(raw) >> 2)
    at = packet_offsets(words, count, first)
    if count and at[-1] + 12 > len(words):
        raise ValueError("packet outside its block")
    tci = np.where(words[at + _STATUS] & _VLAN_VALID, words[at + _TCI].astype(np.int64), -1)
    return Block(
        data=np.frombuffer(raw, dtype=np.uint8),
        ts=words[at + _SEC].astype(np.int64) * 1_000_000_000 + words[at + _NSEC],
        offset=at * 4 + (words[at + _MAC] & 0xFFFF),
        caplen=words[at + _SNAPLEN].astype(np.int64),
        wirelen=words[at + _LEN].astype(np.int64),
        linktype=linktype, vlan=tci,
    )  # fmt: skip


class Ring:
    """The ring of one interface; made by `open_ring`."""

    def __init__(self, sock: socket.socket, ring: mmap.mmap, interface: str, linktype: int, loopback: bool,
                 program: bytes):  # fmt: skip
        self._sock, self._ring, self.interface, self._linktype = sock, ring, interface, linktype
        self._loopback, self.program = loopback, program
        self._next = 0
        self._blocks = len(ring) // BLOCK_SIZE
        self._packets = self._drops = self._told = 0
        self.errors = 0  # times that the interface went down

    def fileno(self) -> int:
        return self._sock.fileno()

    def read(self, max_blocks: int = 16) -> list[Block]:
        """What the kernel has handed over, at most `max_blocks` of its blocks, in as few as may be; never waits.

        Each is copied and given back to the kernel before it is looked at.
        """
        copies = []
        while len(copies) < max_blocks:
            start = self._next * BLOCK_SIZE
            status, _, _, length = struct.unpack_from("=IIII", self._ring, start + _STATUS_AT)
            if not status & _USER:
                break
            copies.append(self._ring[start : start + (min(length, BLOCK_SIZE) + 3 & ~3)])
            struct.pack_into("=I", self._ring, start + _STATUS_AT, 0)
            self._next = (self._next + 1) % self._blocks
        blocks = [walk(raw, linktype=self._linktype) for raw in copies]
        if blocks:
            drops = self.statistics()[1]
            blocks[0].drops, self._told = drops - self._told, drops
        return join(blocks)

    def statistics(self) -> tuple[int, int]:
        """(packets, drops) since the ring was opened; packets includes the drops.

        The only reader of PACKET_STATISTICS, because reading sets the kernel's counters to zero.
        """
        packets, drops, _ = struct.unpack("=III", self._sock.getsockopt(_SOL_PACKET, _STATISTICS, 12))
        self._packets += packets
        self._drops += drops
        return self._packets, self._drops

    def clear_error(self) -> None:
        """Take note of a poll error (the interface went down); the kernel goes on when it is up again."""
        if self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.errors += 1

    def filter(self, programs: dict[int, bytes]) -> None:
        """Another filter from now on, that of its link type. VoipfleetError where there is none or the kernel refuses
        it: the one before stays."""
        if (program := programs.get(self._linktype)) is None:
            raise VoipfleetError(f"filter: asks for something of Ethernet, which {self.interface} is not; leave it out")
        self.use(bpf.without_outgoing(program) if self._loopback else program)

    def use(self, program: bytes) -> None:
        """As it is."""
        try:
            bpf.attach(self._sock, program)
        except OSError as error:
            raise VoipfleetError(f"filter: the kernel does not take it ({error.strerror}); the one before stays; give a"
                                 " simpler one") from None  # fmt: skip
        self.program = program

    def stop(self) -> None:
        """Take in nothing more; what the ring holds can still be read."""
        bpf.attach(self._sock, bpf.accept(0))

    def close(self) -> None:
        self._ring.close()
        self._sock.close()


def open_ring(interface: str, *, ring_mb: int, snaplen: int, promisc: bool, bpf: str | None = None) -> Ring:
    """Capture on `interface` with the filter text `bpf`.

    Raises ConfigError for an interface or a filter that cannot be, PermissionDenied, VoipfleetError.
    """
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        known = ", ".join(name for _, name in socket.if_nameindex())
        raise ConfigError([Fault("", 0, "interface", f"{interface} does not exist; choose from {known}")]) from None
    try:
        # Protocol 0: nothing arrives before the bind, so no packet of another interface is ever in the ring.
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError:
        raise PermissionDenied(
            f"capture on {interface}: not permitted; run as root or give CAP_NET_RAW") from None  # fmt: skip
    try:
        return _set_up(sock, interface, index, ring_mb, snaplen, promisc, bpf)
    except OSError as error:
        sock.close()
        raise VoipfleetError(
            f"capture on {interface}: {error.strerror or error}; check the interface and lower ringbuffer"
        ) from None
    except VoipfleetError:
        sock.close()
        raise


def _set_up(sock, interface, index, ring_mb, snaplen, promisc, text) -> Ring:
    asked = struct.pack("16s24x", interface.encode())
    hardware = struct.unpack_from("=H", fcntl.ioctl(sock, _SIOCGIFHWADDR, asked), 16)[0]
    loopback = hardware == _ARPHRD_LOOPBACK
    linktype = ETHERNET if loopback or hardware == _ARPHRD_ETHER else RAW
    program = bpf.compile_filter(text, linktype=linktype, snaplen=snaplen)
    program = bpf.without_outgoing(program) if loopback else program
    bpf.attach(sock, program)
    sock.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
    frame = 2048
    request = (BLOCK_SIZE, ring_mb, frame, ring_mb * BLOCK_SIZE // frame, RETIRE_MS, 0, 0)
    sock.setsockopt(_SOL_PACKET, _RX_RING, struct.pack("=7I", *request))
    ring = mmap.mmap(sock.fileno(), ring_mb * BLOCK_SIZE)
    if promisc:
        sock.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("=iHH8x", index, _PROMISC, 0))
    sock.bind((interface, _ETH_P_ALL))
    return Ring(sock, ring, interface, linktype, loopback, program)
