"""Traffic that the design does not like, in memory: what a packet costs where the vectors are of no use.

python benchmarks/cases.py [--packets 400000]
"""

import argparse
import random
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from traffic import START, sip, udp_packet
from voipfleet.calls.analyser import Analyser
from voipfleet.capture.block import MAX_BLOCK, Block

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
PAYLOAD = bytes(160)
SECOND = 1_000_000_000


def blocks(frames: list[bytes], times: np.ndarray) -> list[Block]:
    """The frames in blocks of about MAX_BLOCK bytes."""
    out, at = [], 0
    while at < len(frames):
        stop, size = at, 0
        while stop < len(frames) and size < MAX_BLOCK:
            size += len(frames[stop])
            stop += 1
        sizes = np.array([len(frame) for frame in frames[at:stop]], np.int64)
        out.append(Block(data=np.frombuffer(b"".join(frames[at:stop]), np.uint8), ts=times[at:stop], caplen=sizes,
                         wirelen=sizes, offset=np.cumsum(sizes) - sizes))  # fmt: skip
        at = stop
    return out


def rtp(stream: int, seq: int, ticks: int = 160) -> bytes:
    head = struct.pack("!BBHII", 0x80, 0, seq & 0xFFFF, seq * ticks & 0xFFFFFFFF, stream)
    ends = [bytes([10, side, stream >> 8 & 255, stream & 255]) for side in (1, 2)]
    return udp_packet(0, *ends, 20000, 20002, head + PAYLOAD)


def streams(count: int, packets: int, order=lambda seq: seq) -> list[Block]:
    """`packets` packets of `count` streams that take turns; `order` changes the sequence numbers."""
    frames = [rtp(n % count, order(n // count)) for n in range(packets)]
    return blocks(frames, START + np.arange(packets) * (SECOND // (50 * count)))


def one_stream(packets: int) -> list[Block]:
    return streams(1, packets)


def all_disordered(packets: int) -> list[Block]:
    return streams(1000, packets, lambda seq: seq ^ 1)


def half_lost_at_random(packets: int) -> list[Block]:
    rng = random.Random(1)
    return streams(1000, packets, lambda seq: 2 * seq + rng.randint(0, 1))


def mirrored_twice(packets: int) -> list[Block]:
    frames, times = [], []
    for n in range(packets // 2):
        frames += [rtp(n % 1000, n // 1000)] * 2
        times += [START + n * 20_000, START + n * 20_000 + 5_000]
    return blocks(frames, np.array(times))


def new_streams(packets: int) -> list[Block]:
    """Four packets each, 5,000 new ones a second."""
    frames = [rtp(n // 40 * 10 + n % 10, n // 10 % 4) for n in range(packets)]
    return blocks(frames, START + np.arange(packets) * (SECOND // 20_000))


def sip_only(packets: int) -> list[Block]:
    """Calls of seven messages at 5,000 messages a second."""
    messages = []
    for call in range(packets // 7):
        ends = [bytes([10, side, call >> 8 & 255, call & 255]) for side in (1, 2)]
        begin = START + call * 7 * SECOND // 5000
        for at, frame in sip(call, 0, ends, (20000, 20002)):
            messages.append((begin + (at if at >= 0 else 2 * SECOND + at * 1_000_000), frame))
    messages.sort(key=lambda message: message[0])
    return blocks([frame for _, frame in messages], np.array([at for at, _ in messages]))


def in_vxlan(packets: int) -> list[Block]:
    outer = [bytes([10, 9, 9, side]) for side in (1, 2)]
    frames = [udp_packet(0, *outer, 5000, 4789, b"\x08" + bytes(7) + rtp(n % 1000, n // 1000)) for n in range(packets)]
    return blocks(frames, START + np.arange(packets) * 20_000)


def fragments(packets: int) -> list[Block]:
    from support.packets import MACS
    from support.packets import fragments as cut

    frames = []
    for n in range(packets // 2):
        frames += [MACS + b"\x08\x00" + part for part in cut(rtp(n % 1000, n // 1000)[14:], 96, n & 0xFFFF)]
    return blocks(frames, START + np.arange(len(frames)) * 20_000)


CASES = {
    "1,000 streams in order, for comparison": lambda n: streams(1000, n),
    "one stream fills every block": one_stream,
    "every packet out of order": all_disordered,
    "a third of the packets lost at random": half_lost_at_random,
    "a mirror port that delivers all twice": mirrored_twice,
    "5,000 new streams a second, four packets each": new_streams,
    "all packets in VXLAN": in_vxlan,
    "every datagram in two fragments (of packets / 4)": lambda n: fragments(n // 4),
    "SIP only, 5,000 messages a second (of packets / 8)": lambda n: sip_only(n // 8),
}


def measure(made: list[Block]) -> tuple[int, float]:
    """(packets, CPU seconds)."""
    analyser, before = Analyser(), time.process_time()
    for block in made:
        analyser.feed(block)
    analyser.finish()
    return analyser.counters["packets"], time.process_time() - before


def rows(packets: int) -> Iterator[str]:
    for name, make in CASES.items():
        number, seconds = measure(make(packets))
        yield f"{name:52} {number / seconds / 1e6:6.3f} M packets per CPU-second, {seconds / number * 1e6:6.2f} us each"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=int, default=400_000)
    for row in rows(parser.parse_args().packets):
        print(row, flush=True)


if __name__ == "__main__":
    main()
