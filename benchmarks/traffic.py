"""Makes captures for the benchmarks: many calls at once with SIP and RTP, the same bytes at every run.

    python benchmarks/traffic.py FILE --calls 2000 --seconds 8 --mix

Every call has two G.711 streams of 50 packets/s. Some streams lose packets, some have them reordered, all have jitter.
With `--mix` a third of the calls is IPv4, a third IPv4 in 802.1Q, a third IPv6. Written in blocks with NumPy, so that a
few hundred MB take seconds.
"""

import argparse
import struct
from pathlib import Path

import numpy as np

STEP = 20_000_000  # ns between packets of a stream
START = 1_700_000_000_000_000_000
PAYLOAD = 160
CHUNK = 200_000  # packets written at a time


def ether(family: int) -> bytes:
    macs = bytes(range(12))
    return macs + {0: b"\x08\x00", 1: b"\x81\x00\x00\x64\x08\x00", 2: b"\x86\xdd"}[family]


def address(family: int, call: int, side: int) -> bytes:
    if family == 2:
        return bytes.fromhex("20010db8000000000000000000") + bytes([side, call >> 8, call & 255])
    return bytes([10, side, call >> 8, call & 255])


def udp_packet(family: int, src: bytes, dst: bytes, sport: int, dport: int, payload: bytes) -> bytes:
    udp = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    if family == 2:
        ip = struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + src + dst
    else:
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, src, dst)
    return ether(family) + ip + udp


def host(family: int, raw: bytes) -> str:
    import ipaddress

    return str(ipaddress.ip_address(raw))


def sip(call: int, family: int, ends: list[bytes], media: tuple[int, int]) -> list[tuple[int, bytes]]:
    """(ns after the call's start, frame) of its signalling; media flow between 200 and BYE."""
    a, b = (host(family, end) for end in ends)
    kind = "IP6" if family == 2 else "IP4"

    def text(first: str, cseq: str, tag: bool, port: int = 0, where: str = "") -> bytes:
        body = (
            f"v=0\r\no=- 1 1 IN {kind} {where}\r\ns=-\r\nc=IN {kind} {where}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        )
        body = body if port else ""
        lines = [first, f"Via: SIP/2.0/UDP {a};branch=z9hG4bK{call}{cseq[0]}", f"From: <sip:{call}@a>;tag=f{call}",
                 f"To: <sip:{call + 100000}@b>" + (f";tag=t{call}" if tag else ""), f"Call-ID: {call}@bench",
                 f"CSeq: {cseq}", "Contact: <sip:x@y>", "User-Agent: bench/1",
                 f"Content-Length: {len(body)}"]  # fmt: skip
        return "\r\n".join([*lines, *(["Content-Type: application/sdp"] if body else []), "", body]).encode()

    def there(data: bytes) -> bytes:
        return udp_packet(family, ends[0], ends[1], 5060, 5060, data)

    def back(data: bytes) -> bytes:
        return udp_packet(family, ends[1], ends[0], 5060, 5060, data)

    uri = f"INVITE sip:{call + 100000}@b SIP/2.0"
    return [(0, there(text(uri, "1 INVITE", False, media[0], a))),
            (1_000_000, back(text("SIP/2.0 100 Trying", "1 INVITE", False))),
            (2_000_000, back(text("SIP/2.0 180 Ringing", "1 INVITE", True))),
            (3_000_000, back(text("SIP/2.0 200 OK", "1 INVITE", True, media[1], b))),
            (4_000_000, there(text("ACK sip:x@y SIP/2.0", "1 ACK", True))),
            (-2, there(text("BYE sip:x@y SIP/2.0", "2 BYE", True))),
            (-1, back(text("SIP/2.0 200 OK", "2 BYE", True)))]  # fmt: skip


def streams(calls: int, count: int, spread: float, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """(time, stream, sequence) of all RTP packets in capture order, and the packets lost of each stream."""
    n = 2 * calls
    seq = np.broadcast_to(np.arange(count), (n, count))
    start = np.repeat(rng.integers(0, int(spread * 1e9), calls), 2)[:, None] + 5_000_000
    times = start + seq * STEP + np.abs(rng.normal(0, 1_500_000, (n, count))).astype(np.int64)
    lossy = np.arange(n) % 10 == 3
    keep = ~(lossy[:, None] & (rng.random((n, count)) < 0.02))
    keep[:, :2] = keep[:, -2:] = True
    swapped = (np.arange(n) % 20 == 7)[:, None] & (seq % 50 == 25)
    times = times + np.where(swapped, STEP + STEP // 2, 0)  # arrives after its successor
    stream = np.broadcast_to(np.arange(n)[:, None], (n, count))
    order = np.argsort(times[keep], kind="stable")
    return times[keep][order], stream[keep][order], seq[keep][order], count - keep.sum(axis=1)


def voice(rng: np.random.Generator, packets: int = 5000) -> np.ndarray:
    """Payloads of PAYLOAD bytes of G.711 mu-law that compress about as speech does: noise with the spectrum of a voice
    in syllables, and pauses with a little of it."""
    count = packets * PAYLOAD
    noise = rng.normal(0, 1, count + 64)
    sound = np.convolve(noise, np.exp(-np.arange(64) / 9) * np.cos(np.arange(64) * 0.45), "valid")[:count]
    level = np.repeat(rng.choice([4, 30, 400, 2500, 6000], -(-count // 1200)), 1200)[:count]
    linear = np.clip(sound / sound.std() * level, -32635, 32635).astype(np.int64)
    size = np.abs(linear) + 132
    exponent = np.floor(np.log2(size)).astype(np.int64) - 7
    mantissa = (size >> (exponent + 3)) & 15
    code = ~((linear < 0) << 7 | exponent << 4 | mantissa) & 0xFF
    return code.astype(np.uint8).reshape(packets, PAYLOAD)


def write(path: Path, calls: int, seconds: float, mix: bool, seed: int = 1, spread: float = 1.0,
          speech: bool = False) -> dict:  # fmt: skip
    """Write the capture, its calls beginning within `spread` s; what is in it: packets, rtp, calls, lost.

    With `speech` the payloads are such that they compress as those of real calls do, else they are zeros.
    """
    rng, count = np.random.default_rng(seed), int(seconds * 50)
    family = np.arange(calls) % 3 if mix else np.zeros(calls, int)
    ends = [[address(int(family[c]), c, side) for side in (1, 2)] for c in range(calls)]
    ports = [(20000 + 4 * (c % 10000), 20002 + 4 * (c % 10000)) for c in range(calls)]
    heads = [[], [], []]  # templates by family
    where = np.zeros(2 * calls, np.int64)
    for c in range(calls):
        for side in (0, 1):
            f = int(family[c])
            rtp = struct.pack("!BBHII", 0x80, 0, 0, 0, 1000 + 2 * c + side) + bytes(PAYLOAD)
            where[2 * c + side] = len(heads[f])
            heads[f].append(udp_packet(f, ends[c][side], ends[c][1 - side], ports[c][side], ports[c][1 - side], rtp))
    tables = [np.frombuffer(b"".join(h), np.uint8).reshape(len(h), -1) if h else None for h in heads]
    times, stream, seq, lost = streams(calls, count, spread, rng)
    bank = voice(rng) if speech else None
    first, last = np.full(calls, 1 << 62), np.zeros(calls, np.int64)
    np.minimum.at(first, stream // 2, times)
    np.maximum.at(last, stream // 2, times)
    signalling = sorted(
        (int(first[c]) - 5_000_000 + at if at >= 0 else int(last[c]) + 10_000_000 * (3 + at), frame)
        for c in range(calls) for at, frame in sip(c, int(family[c]), ends[c], ports[c])
    )  # fmt: skip
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
        done = 0
        for begin in range(0, len(times), CHUNK):
            part = slice(begin, begin + CHUNK)
            upto = int(times[part][-1]) if begin + CHUNK < len(times) else 1 << 62
            extra = []
            while done < len(signalling) and signalling[done][0] <= upto:
                extra.append(signalling[done])
                done += 1
            file.write(_chunk(times[part], stream[part], seq[part], extra, family, where, tables, bank))
    return {"packets": len(times) + len(signalling), "rtp": len(times), "calls": calls, "lost": int(lost.sum())}


def _chunk(times, stream, seq, extra, family, where, tables, bank) -> bytes:
    """Records of one stretch of time: RTP from templates, SIP between them."""
    all_times = np.concatenate([times, np.array([t for t, _ in extra], np.int64)])
    fam = family[stream // 2]
    sizes = np.concatenate([np.array([t.shape[1] if t is not None else 0 for t in tables])[fam],
                            np.array([len(f) for _, f in extra], np.int64)]).astype(np.int64)  # fmt: skip
    order = np.argsort(all_times, kind="stable")
    offset = np.empty(len(order), np.int64)
    offset[order] = np.cumsum(16 + sizes[order]) - (16 + sizes[order])
    out = np.zeros(int((16 + sizes).sum()), np.uint8)
    head = np.empty((len(order), 4), "<u4")
    stamp = all_times + START
    head[:, 0], head[:, 1], head[:, 2], head[:, 3] = stamp // 1_000_000_000, stamp % 1_000_000_000, sizes, sizes
    out[offset[:, None] + np.arange(16)] = head.view(np.uint8).reshape(-1, 16)
    for f, table in enumerate(tables):
        mine = np.nonzero(fam == f)[0]
        if table is None or not len(mine):
            continue
        rows = table[where[stream[mine]]]
        rtp = table.shape[1] - 12 - PAYLOAD
        rows[:, rtp + 2 : rtp + 4] = (
            ((seq[mine] + 7 * stream[mine]) & 0xFFFF).astype(">u2").view(np.uint8).reshape(-1, 2)
        )
        rows[:, rtp + 4 : rtp + 8] = (seq[mine] * PAYLOAD).astype(">u4").view(np.uint8).reshape(-1, 4)
        if bank is not None:
            rows[:, rtp + 12 :] = bank[(stream[mine] * 41 + seq[mine]) % len(bank)]
        out[offset[mine][:, None] + 16 + np.arange(table.shape[1])] = rows
    for at, (_, frame) in zip(offset[len(times) :].tolist(), extra, strict=True):
        out[at + 16 : at + 16 + len(frame)] = np.frombuffer(frame, np.uint8)
    return out.tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--mix", action="store_true")
    parser.add_argument("--speech", action="store_true")
    args = parser.parse_args()
    print(write(args.file, args.calls, args.seconds, args.mix, speech=args.speech))


if __name__ == "__main__":
    main()
