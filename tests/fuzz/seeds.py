"""Inputs to begin with, one list a target: messages and packets that we wrote, in the shape that the target takes."""

import struct

import msgspec
from support import packets
from support.packets import frame, ip, udp
from voipfleet.calls.record import CallRecord, StreamRecord, encode
from voipfleet.link import frames as link_frames
from voipfleet.link import handshake as link_handshake
from voipfleet.link import keys, noise
from voipfleet.records import messages
from voipfleet.relay import codec
from voipfleet.relay import messages as relayed

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0 8 96 101\r\n"
    b"a=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendonly\r\n"
    b"m=image 20004 udptl t38\r\nc=IN IP6 2001:db8::1\r\n"
)
EVENTS = struct.pack("!BBHII", 0x80, 101, 3, 320, 7) + b"\5\x80\1\0"


def piece(first: int, data: bytes) -> bytes:
    """As `targets.pieces` reads it."""
    return struct.pack("!BH", first & 255, len(data)) + data


def message(line: bytes, cseq: bytes, body: bytes = b"", kind: bytes = b"application/sdp") -> bytes:
    return b"\r\n".join([
        line, b"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;rport, SIP/2.0/TCP h;branch=z9hG4bK2",
        b'From: "A \\"quoted\\" name" <sip:+49123;rn=1@example.net:5060;transport=udp>;tag=a', b"t: <tel:+49456>;tag=b",
        b"Call-ID: one@h", b"CSeq: " + cseq, b"User-Agent: a\r\n folded/1", b"Reason: Q.850;cause=16",
        *([b"c: " + kind] if body else []), b"Content-Length: %d" % len(body), b"", body]
    )  # fmt: skip


def dialog() -> list[bytes]:
    """A call from INVITE to BYE, with authentication, a re-INVITE and a CANCEL of another."""
    return [
        message(b"INVITE sip:b@h SIP/2.0", b"1 INVITE", SDP), message(b"SIP/2.0 407 Who", b"1 INVITE"),
        message(b"ACK sip:b@h SIP/2.0", b"1 ACK"), message(b"INVITE sip:b@h SIP/2.0", b"2 INVITE", SDP),
        message(b"SIP/2.0 183 Early", b"2 INVITE", SDP.replace(b"20000", b"20002")),
        message(b"SIP/2.0 200 OK", b"2 INVITE", SDP.replace(b"20000", b"20002")),
        message(b"ACK sip:b@h SIP/2.0", b"2 ACK"), message(b"INVITE sip:b@h SIP/2.0", b"3 INVITE", SDP),
        message(b"CANCEL sip:b@h SIP/2.0", b"3 CANCEL"), message(b"BYE sip:b@h SIP/2.0", b"4 BYE"),
        message(b"SIP/2.0 200 OK", b"4 BYE"),
    ]  # fmt: skip


def others() -> list[bytes]:
    """Requests beside those of a call's course."""
    more = (
        (b"INFO", b"application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", b""),
        (b"REFER", b"", b"", b"Refer-To: <sip:c@h?Replaces=x>\r\n"),
        (b"REGISTER", b"", b"", b"Contact: <sip:a@h>;expires=60\r\nExpires: 60\r\n"),
        (b"UPDATE", b"application/sdp", SDP, b"x: 1800;refresher=uac\r\n"),
        (b"INVITE", b"", b"", b"Replaces: one@h;to-tag=a;from-tag=b\r\n"),
        (b"SUBSCRIBE", b"", b"", b"o: dialog\r\n"), (b"MESSAGE", b"text/plain", b"hello", b""),
    )  # fmt: skip
    found = [message(b"SIP/2.0 200 OK", b"5 REGISTER")]
    for method, kind, body, header in more:
        text = message(method + b" sip:b@h SIP/2.0", b"5 " + method, body, kind)
        found.append(text.replace(b"Reason:", header + b"Reason:").replace(b"one@h\r\nCSeq", b"two@h\r\nCSeq"))
    return found


def sip() -> list[bytes]:
    multipart = b"--x\r\nContent-Type: application/sdp\r\n\r\n" + SDP + b"\r\n--x--\r\n"
    mixed = message(b"INVITE sip:b@h SIP/2.0", b"9 INVITE", multipart, b"multipart/mixed; boundary=x")
    bare = message(b"OPTIONS sip:h SIP/2.0", b"1 OPTIONS").replace(b"\r\n", b"\n")
    return [*dialog(), *others(), mixed, bare, b"\r\n\r\n"]


def masking() -> list[bytes]:
    """Messages with what is masked in them, behind a byte that says how many digits stay."""
    bodies = ((b"application/dtmf-relay", b"Signal=5\r\n"), (b"application/isup", b"\1\x10H\r\n"),
              (b"application/kpml-response+xml", b"<kpml-response digits='1\n2'/>"), (b"text/plain", b"call 030 12345"),
              (b"multipart/mixed; boundary=x", b"--x\r\nc: application/dtmf\r\n\r\n5\r\n--x\r\n\r\nv=0\r\n--x--"),
              (b"application/sdp", SDP + b"s=49301\r\na=crypto:1 A inline:K|1\r\na=key-mgmt:mikey K\r\n"))  # fmt: skip
    more = (b'Authorization: Digest username="49301", response="0f"\r\n', b"Proxy-Authorization: Basic a\r\n b\r\n",
            b"P-Asserted-Identity: \"49301\" <tel:+49-30%31;isub=1>, <sip:49:pw@10.0.0.1:50600>\r\n", b"e: gzip\r\n",
            b"Identity: a.b.c\r\n", b"X-Any: 2026-01-01 (030) 12345\r\n", b"X: digits='1\r\n")  # fmt: skip
    texts = [message(b"INFO sip:49301@h SIP/2.0", b"1 INFO", body, kind) for kind, body in bodies]
    texts += [message(b"SIP/2.0 302 to 49301", b"1 INVITE").replace(b"Reason:", header + b"Reason:") for header in more]
    texts.append(texts[0].replace(b"one@h", b"sip:a:49301@h"))  # looks like a password
    return [bytes([at % 5]) + text for at, text in enumerate([*texts, *sip()])]


def sdp() -> list[bytes]:
    mixed = b"--x\r\nContent-Type: application/sdp\r\n\r\n" + SDP + b"--x--"
    return [b"\0" + SDP, b"application/sdp\0" + SDP, b'multipart/mixed; boundary="x"\0' + mixed,
            b"\0" + SDP.replace(b"10.0.0.1", b"0.0.0.0").replace(b"RTP/AVP", b"UDP/TLS/RTP/SAVPF")]  # fmt: skip


def _voice(count: int = 5, ssrc: int = 7) -> list[bytes]:
    return [struct.pack("!BBHII", 0x80, 0, 65_534 + n & 0xFFFF, 160 * n, ssrc) + bytes(20) for n in range(count)]


def rtp() -> list[bytes]:
    odd = [struct.pack("!BBHII2I", 0x82, 0x80, 9, 9, 9, 1, 2), struct.pack("!BBHIIHHI", 0x90, 8, 9, 9, 9, 0xBEDE, 1, 0)]
    return [b"".join(piece(0, packet) for packet in group) for group in (_voice(), [EVENTS, *odd], rtcp())]


def rtcp() -> list[bytes]:
    block = struct.pack("!IIIIII", 9, 5 << 24 | 7, 1, 20, 1 << 16, 1 << 15)
    sender = struct.pack("!BBHIQIII", 0x81, 200, 12, 7, 1 << 40, 160, 1, 20) + block
    receiver = struct.pack("!BBHI", 0x81, 201, 7, 8) + block
    metrics = struct.pack("!BBHI4B4H2b8B4H", 7, 0, 8, 9, *[1] * 4, *[20] * 4, -20, -60, *[40] * 8, *[30] * 4)
    extended = struct.pack("!BBHI", 0x80, 207, 1 + len(metrics) // 4, 8) + metrics
    return [sender, receiver + extended, struct.pack("!BBHI", 0x81, 203, 1, 7), sender + receiver]


def ip_packets() -> list[bytes]:
    calls = [ip(udp(text)) for text in dialog()]
    media = [ip(udp(data, 20_000, 20_002)) for data in _voice()] + [ip(udp(data, 20_001, 20_003)) for data in rtcp()]
    six = {"src": "2001:db8::1", "dst": "2001:db8::2"}
    big, small = ip(udp(dialog()[0])), ip(udp(dialog()[0]), **six)
    text = b"".join(dialog())
    stream = [ip(packets.tcp(text[at : at + 700], 1000 + at), 6) for at in range(0, len(text), 700)]
    erspan = struct.pack("!HHI", 0x1000, 0x88BE, 1) + bytes(8) + frame(big)
    vxlan = udp(b"\x08\0\0\0\0\0\1\0" + frame(big), 9, 4789)
    tunnels = [ip(erspan, 47), ip(vxlan), ip(big, 4), ip(small, 41), ip(struct.pack("!HH", 0, 0x0800) + big, 47)]
    options = [ip(struct.pack("!BBHI", 17, 0, 0, 0) + udp(b"x" * 30), 0, **six)]
    parts = [*packets.fragments(big, 400), *packets.fragments(small, 400)]
    beside = [ip(udp(text)) for text in others()]
    return [*calls[:6], *media, *beside, *calls[6:], *parts, *stream[::-1], *tunnels, *options]


def frames() -> list[bytes]:
    every = ip_packets()
    groups = [every[at : at + 12] for at in range(0, len(every), 12)] + [every[:16]]
    found = [b"\0" + b"".join(piece(0, frame(packet, *[5] * (n % 3))) for n, packet in enumerate(group))
             for group in groups]  # fmt: skip
    return [*found, b"\1" + b"".join(piece(1, packet) for packet in every[:16])]


def fragments() -> list[bytes]:
    four, six = ip(udp(bytes(900))), ip(udp(bytes(900)), src="2001:db8::1", dst="2001:db8::2")
    cut = [(1, part) for part in packets.fragments(four, 200)], [(0, part) for part in packets.fragments(six, 200)]
    return [b"".join(piece(*part) for part in parts) for parts in (*cut, cut[0][::-1], cut[0] + cut[0][1:])]


def tcp() -> list[bytes]:
    text = b"".join(dialog()[:4])
    parts = [struct.pack("!H", at) + text[at : at + 300] for at in range(0, len(text), 300)]
    return [b"".join(piece(first, part) for part in group) for first, group in
            ((0, parts), (0, parts[::-1]), (0x80, parts[:2] + parts[3:]), (2, parts))]  # fmt: skip


def stream() -> list[bytes]:
    text = b"\r\n\r\n" + b"".join(dialog()[:4])
    lone = piece(0, b"0\n\r") + piece(0, b"E h SIP/2.0\n\n")  # a CR alone was an empty line, but only at a cut
    cut = [b"".join(piece(0, text[at : at + size]) for at in range(0, len(text), size)) for size in (7, 100, 1000)]
    return [*cut, lone]


def pcap() -> list[bytes]:
    some = [frame(packet) for packet in ip_packets()[:6]]
    found = []
    for order, magic in (("<", 0xA1B2C3D4), (">", 0xA1B23C4D)):
        records = b"".join(
            struct.pack(order + "4I", 1_700_000_000 + n, n, len(f), len(f)) + f for n, f in enumerate(some)
        )
        found.append(struct.pack(order + "IHHIIII", magic, 2, 4, 0, 0, 65535, 1) + records)

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = struct.pack("<I", len(body) + 12)
        return struct.pack("<I", kind) + size + body + size

    ng = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    ng += block(1, struct.pack("<HHI", 1, 0, 0) + struct.pack("<HHB3xHHq", 9, 1, 9, 14, 8, 5) + bytes(4))
    ng += b"".join(block(6, struct.pack("<5I", 0, 1, n, len(f), len(f)) + f) for n, f in enumerate(some))
    return [*found, ng]


def handshake(server: keys.Identity, psk: bytes) -> list[bytes]:
    """A client's two messages, as the fuzzed server would take them: its own key of the moment is fixed."""
    private = b"c" * 32
    client = link_handshake.Client(
        keys.Identity(private, noise.public_key(private)), psk, 1, (server.public,), b"f" * 32
    )
    other = link_handshake.Server((server,), ephemeral=b"e" * 32)
    first = client.first()
    other.first(first)
    client.second(second := other.second(1))
    return [first + client.third(link_handshake.Hello(b"u" * 16, "branch", b"e" * 16, 1), 2), second]


def link() -> list[bytes]:
    return [link_frames.Sealer(b"k" * 32, b"x" * 64).seal(16, b"body"), b"\0\0\0\x20" + bytes(40), b"\xff\xff\xff\xff"]


def records() -> list[bytes]:
    heard = StreamRecord(direction="caller", src="10.0.0.1:1", dst="10.0.0.2:2", ssrc=7, mos=4.4, r_factor=93.2)
    call = CallRecord(uuid=b"u" * 16, call_id="c", setup_time=17 * 10**17, caller="1", callee="2", streams=[heard])
    rows = [messages.Row(seq, b"u" * 16, 1, messages.CALL, encode(call)) for seq in (1, 2)]
    status = messages.Status("s", 1, "1", "sensor", "site", 1, {"packets": 5})
    return [bytes([n]) + msgspec.msgpack.encode(value) for n, value in enumerate(
        (messages.Batch(b"e" * 16, rows), status, messages.Ack(b"e" * 16, 5),
         messages.Welcome(b"s", b"c", "central")))]  # fmt: skip


def packed() -> list[bytes]:
    origin = relayed.Origin("s", [b"u" * 16], b"e" * 16, 7, -5)
    values = (relayed.Part(b"e" * 16, 7, 0, 1, 3, origin, b"body"), relayed.Lost(b"e" * 16, 1, 6, 90, 900, "full"),
              relayed.Heard(origin, 17 * 10**17), relayed.Taken(b"e" * 16, 7))  # fmt: skip
    block = packets.block_of([packet for packet in _voice() for _ in range(5)])
    bodies = [piece.body for method in codec.METHODS for piece in codec.pack(block, method=method)]
    return [bytes([n]) + msgspec.msgpack.encode(value) for n, value in enumerate(values)] + [b"\4" + b for b in bodies]
