"""What is fuzzed: one target a parser, each a function of bytes and the inputs to begin with.

A target takes any bytes and returns; an exception that the parser does not document leaves it as what it is, and a
broken promise as AssertionError. The same targets run under libFuzzer (run.py) and under hypothesis
(tests/unit/test_fuzz.py). Inputs of several packets are cut into pieces by `pieces`.
"""

import contextlib
import io
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from fuzz import asked, fetched, local, port, seeds
from support.packets import block_of, frame, ip, udp
from voipfleet.calls.analyser import Analyser
from voipfleet.capture import chain, pcapfile
from voipfleet.capture.block import ETHERNET, LINUX_SLL, LINUX_SLL2, NULL, RAW
from voipfleet.central import rows
from voipfleet.decode import fragments, frames, rtcp, rtp, sdp, sip, sipstream, tcp
from voipfleet.errors import VoipfleetError
from voipfleet.link import frames as link_frames
from voipfleet.link import handshake, keys, noise
from voipfleet.masking import filling, numbers, secrets
from voipfleet.records import messages
from voipfleet.relay import codec
from voipfleet.relay import messages as relayed

EVERYWHERE = np.ones(65536, bool)
LINKTYPES = (ETHERNET, RAW, LINUX_SLL, LINUX_SLL2, NULL, 147)
WORD = re.compile(r"[a-z_0-9]{1,32}")


@dataclass(frozen=True)
class Target:
    """`run` with any bytes; `seeds` to mutate; CPU `seconds` and `memory` (bytes) that one input may take."""

    run: Callable[[bytes], object]
    seeds: list[bytes]
    seconds: float = 0.05
    memory: int = 8 << 20

    def check(self, data: bytes) -> None:
        """`run`, and that it took no longer than it may: the best of three, for the machine has other work."""
        for _ in range(3):
            before = time.process_time()
            self.run(data)
            if (took := time.process_time() - before) < self.seconds:
                return
        raise AssertionError(f"{took * 1000:.0f} ms for {len(data)} bytes; at most {self.seconds * 1000:.0f}")


def pieces(data: bytes, most: int = 64) -> Iterator[tuple[int, bytes]]:
    """(a byte that says something about the piece, the piece): u8, u16 length, bytes."""
    at = 0
    while at + 3 <= len(data) and most:
        size = int.from_bytes(data[at + 1 : at + 3], "big")
        yield data[at], data[at + 3 : at + 3 + size]
        at, most = at + 3 + size, most - 1


@contextlib.contextmanager
def parse_errors() -> Iterator[None]:
    """Only ParseError leaves a parser, and its text is a word for a counter."""
    try:
        yield
    except sip.ParseError as error:
        assert WORD.fullmatch(str(error)), error


def _sip(data: bytes) -> None:
    with parse_errors():
        message = sip.parse(data)
        assert message.cseq < 1 << 32 and message.body in data and message.call_id
        for name in (b"from", b"to"):
            assert all(part.isprintable() for part in sip.party(message.headers[name]))
        assert len(message.branches()) <= sip.MAX_HOPS and message.text(b"user-agent").isprintable()
        assert len(message.headers) <= sip.MAX_HEADERS and message == sip.parse(data)
        sdp.parse(sdp.extract(message.headers.get(b"content-type", b""), message.body))


def _sdp(data: bytes) -> None:
    kind, _, body = data.partition(b"\0")
    with parse_errors():
        found = sdp.parse(sdp.extract(kind, body) if kind else body)
        assert len(found) <= sdp.MAX_MEDIA
        for media in found:
            assert 0 < media.port < 65536 and all(0 <= pt < 128 and rate for pt, (_, rate) in media.codecs.items())
            assert media.held in (True, False)


def _parsed(data: bytes) -> tuple | str:
    try:
        made = sip.parse(data)
    except sip.ParseError as error:
        return str(error)
    return made.method, made.status, made.call_id, made.cseq, made.headers.get(b"via"), len(made.body)


def _masking(data: bytes) -> None:
    """Whatever is masked of a message, it is the same message; whatever comes, it is as long and has the same lines."""
    keep, text = data[0] % 21 if data else 0, data[1:]
    both = filling.merged(secrets.spans(text), numbers.spans(text, keep))
    edges = [edge for span in both for edge in span]
    assert edges == sorted(set(edges)) and all(0 <= edge <= len(text) for edge in edges)
    masked = filling.filled(text, both)
    assert len(masked) == len(text) and masked.count(b"\n") == text.count(b"\n")
    before = _parsed(text)
    assert isinstance(before, str) or _parsed(masked) == before
    frame = bytearray(b"head" + text + b"tail")
    assert filling.mask_parts(text, both, [(frame, 4, len(text))]) == bool(text)
    assert frame == b"head" + masked + b"tail"


def _law(block, found) -> None:
    assert len(block) + found.made + found.lost == len(found) + sum(found.ignored.values()) + found.held
    assert (found.length >= 0).all() and (found.start + found.length <= len(found.data)).all()


def _rtp(data: bytes) -> None:
    block = block_of([frame(ip(udp(piece, 20_000, 20_002))) for _, piece in pieces(data)] or [b""])
    packets = frames.Decoder(~EVERYWHERE, lambda *_: None).parse(block)
    _law(block, packets)
    found = rtp.parse(packets, EVERYWHERE[: len(packets)])
    ends = packets.start[found.index] + packets.length[found.index]
    assert (found.size >= 0).all() and (found.payload + found.size == ends).all()
    assert len(found.index) + len(found.control) <= len(packets)


def _rtcp(data: bytes) -> None:
    with parse_errors():
        found = rtcp.parse(data)
        assert len(found) <= rtcp.MAX_REPORTS
        assert all(part.mos is None or 1 <= part.mos <= 5 for part in found if isinstance(part, rtcp.Metrics))


def _blocks(data: bytes) -> list:
    """The first byte says the link type; pieces are frames, 10 ms and more apart."""
    cut = list(pieces(data[1:]))
    if not cut:
        return []
    block = block_of([piece for _, piece in cut], LINKTYPES[data[0] % len(LINKTYPES)], step=10_000_000)
    block.ts[:] += np.cumsum([first * 4_000_000 for first, _ in cut])
    return [block]


def _frames(data: bytes) -> None:
    counted: list[str] = []
    decoder = frames.Decoder(EVERYWHERE, lambda name, *_: counted.append(name))
    for block in _blocks(data):
        _law(block, decoder.parse(block))
    assert all(WORD.fullmatch(name) for name in counted)


def _fragments(data: bytes) -> None:
    state = fragments.Fragments(lambda *_: None)
    for number, (first, piece) in enumerate(pieces(data)):
        head = 20 if first & 1 else 40
        if len(piece) < head + (0 if first & 1 else 8):
            continue
        header = (b"\x45" if first & 1 else b"\x60") + piece[1:head]
        whole = state.take(number * (first >> 1) * 100_000_000, header, piece[head:])
        assert whole is None or len(whole) <= fragments.MAX_SIZE + 40
    assert state._bytes == sum(datagram.size for datagram in state._open.values()) <= fragments.MAX_BYTES


def _tcp(data: bytes) -> None:
    """Segments of two directions: the first byte holds flags and direction, two bytes of each piece where it lies."""
    state = tcp.Connections(lambda *_: None)
    for number, (first, piece) in enumerate(pieces(data)):
        seq = int.from_bytes(piece[:2], "big", signed=True) & 0xFFFFFFFF
        for message in state.take(number * 40_000_000, (first >> 7,), seq, first & 7, piece[2:]):
            assert message[:1].strip()
    held = sum(len(stream.sip.buffer) + stream.held for stream in state._streams.values())
    assert state._bytes == held <= tcp.MAX_BYTES


def _stream(data: bytes) -> None:
    """The same bytes give the same messages, however they are cut."""
    parts = [piece for _, piece in pieces(data)] or [data]
    whole, cut = sipstream.SipStream(lambda *_: None), sipstream.SipStream(lambda *_: None)
    found = [message for part in parts for message in cut.take(part)]
    assert found == whole.take(b"".join(parts)) and len(cut.buffer) <= sipstream.MAX_BUFFER + sip.MAX_HEAD + 4


def _pcap(data: bytes) -> None:
    file = os.memfd_create("capture")
    try:
        os.write(file, data)
        with contextlib.suppress(VoipfleetError), contextlib.redirect_stderr(io.StringIO()):
            for block in pcapfile.read_blocks(f"/proc/self/fd/{file}"):
                assert (block.caplen >= 0).all() and (block.offset + block.caplen <= len(block.data)).all()
    finally:
        os.close(file)


def _chain(data: bytes) -> None:
    """The quick way through a capture file finds what the plain one finds."""
    if len(data) < chain.HEAD:
        return
    octets = np.frombuffer(data * (5 * chain.EVERY // len(data) + 1), np.uint8)
    (found, end), (expected, last) = chain.starts(octets, "<"), chain._plain(octets, 0, "<")
    assert (found == expected).all() if len(found) == len(expected) else False
    assert end == last


def _analyser(data: bytes) -> None:
    """Whole captures: the law of the counters, and the same records one packet at a time."""
    for block in _blocks(data):
        known = []
        for blocks in ([block], _one_by_one(block)):
            analyser, records = Analyser(), []
            for part in blocks:
                records += analyser.feed(part)
            records += analyser.tick(int(block.ts[-1]) + 5_000_000_000) + analyser.finish()
            count = analyser.counters
            assert count["packets"] + count["made"] == sum(
                count[name] for name in ("ignored", "held", "sip", "rtp", "rtcp", "other")
            )
            known.append([msgspec.structs.replace(record, uuid=bytes(16)) for record in records])
        assert known[0] == known[1]


def _one_by_one(block) -> list:
    return [type(block)(data=block.data, ts=block.ts[n : n + 1], offset=block.offset[n : n + 1],
                        caplen=block.caplen[n : n + 1], wirelen=block.wirelen[n : n + 1], linktype=block.linktype)
            for n in range(len(block))]  # fmt: skip


def _identity(fill: bytes) -> keys.Identity:
    return keys.Identity(fill * 32, noise.public_key(fill * 32))


SERVER, PSK = _identity(b"s"), b"p" * 32


def _handshake(data: bytes) -> None:
    """A server before a client that says anything, and a client before such a server."""
    server = handshake.Server((SERVER,), ephemeral=b"e" * 32)
    with contextlib.suppress(handshake.HandshakeError):
        server.first(data[: handshake.M1].ljust(handshake.M1, b"\0"))
        server.second(1)
        server.third(data[handshake.M1 :][: handshake.M3].ljust(handshake.M3, b"\0"), (PSK,))
    client = handshake.Client(_identity(b"c"), PSK, 1, (SERVER.public,), ephemeral=b"g" * 32)
    client.first()
    with contextlib.suppress(handshake.HandshakeError):
        client.second(data[: handshake.M2].ljust(handshake.M2, b"\0"))
        raise AssertionError("an answer that the pinned server did not make was taken")


def _link(data: bytes) -> None:
    opener = link_frames.Opener(b"k" * 32, b"h" * link_frames.HEADER, b"x" * 64, link_frames.MAX_BEFORE_WELCOME)
    with contextlib.suppress(link_frames.FrameError):
        size = opener.size(data[:4].ljust(4, b"\0"))
        assert size <= link_frames.MAX_BEFORE_WELCOME + link_frames.OVERHEAD
        opener.open(data[:4], data[4 : 4 + size])
        raise AssertionError("a frame was taken that nobody sealed")


def _records(data: bytes) -> None:
    """What a sensor that has the password may send to a central: the first byte says which message."""
    kinds = (messages.Batch, messages.Status, messages.Ack, messages.Welcome)
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        message = msgspec.msgpack.decode(data[1:], type=kinds[data[0] % 4] if data else messages.Batch)
        if isinstance(message, messages.Status):
            rows.status_row(message)
        for row in message.rows if isinstance(message, messages.Batch) else ():
            with contextlib.suppress(ValueError, OverflowError, OSError):  # the store quarantines such a row
                rows.columns(*rows.read(row, "sensor"))


def _packets(data: bytes) -> None:
    """What a source that has the password may send: the first byte says which message, or that it is a packed block."""
    kinds = (relayed.Part, relayed.Lost, relayed.Heard, relayed.Taken)
    if data and data[0] % 5 < 4:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            msgspec.msgpack.decode(data[1:], type=kinds[data[0] % 5])
        return
    with contextlib.suppress(codec.PackedError):
        block = codec.unpack(data[1:], max_bytes=1 << 20, sensor="s")
        assert len(block.data) <= 1 << 20
        assert not len(block) or int((block.offset + block.caplen).max()) <= len(block.data)
        frames.Decoder(EVERYWHERE, lambda *_: None).parse(block)


TARGETS = {
    "sip": Target(_sip, seeds.sip()),
    "sdp": Target(_sdp, seeds.sdp()),
    "masking": Target(_masking, seeds.masking()),
    "rtp": Target(_rtp, seeds.rtp()),
    "rtcp": Target(_rtcp, seeds.rtcp()),
    "frames": Target(_frames, seeds.frames()),
    "fragments": Target(_fragments, seeds.fragments()),
    "tcp": Target(_tcp, seeds.tcp()),
    "stream": Target(_stream, seeds.stream()),
    "pcap": Target(_pcap, seeds.pcap(), memory=16 << 20),
    "chain": Target(_chain, seeds.pcap(), 0.5),
    "analyser": Target(_analyser, seeds.frames(), 0.5, 32 << 20),
    "handshake": Target(_handshake, seeds.handshake(SERVER, PSK)),
    "link": Target(_link, seeds.link()),
    "records": Target(_records, seeds.records()),
    "packets": Target(_packets, seeds.packed()),
    "port": Target(port.port, port.conversations()),
    "config": Target(local.configuration, local.CONFIG),
    "filters": Target(local.expressions, local.FILTERS),
    "control": Target(local.control, local.CONTROL),
    "asking": Target(lambda data: asked.run(list(pieces(data))), asked.SEEDS, 0.2),
    "fetched": Target(fetched.fetched, fetched.streams(), 0.2),
    "http": Target(local.http, local.HTTP),
    "waiting": Target(local.waiting, local.kept()),
    "diary": Target(local.diary, local.diaries()),
    "outbox": Target(local.outbox, local.outboxes(), 2.0),  # up to 50,000 reads that fail (MAX_BAD), once at a start
}  # fmt: skip
