"""Datagrams and messages come out of whatever they were wrapped in; what does not is counted."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.packets import MACS, block_of, fragments, frame, ip, tcp, udp
from voipfleet.capture.block import LINUX_SLL, LINUX_SLL2, NULL, RAW
from voipfleet.decode.frames import Decoder

SIX = {"src": "2001:db8::1", "dst": "2001:db8::2"}
OPTIONS = struct.pack("!BB6x", 17, 0)
MESSAGE = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 2\r\n\r\nok"


def decoded(packets, linktype=1, decoder=None):
    """(payloads, source ports, the result) of a block; the law of the counters holds."""
    block = block_of(packets, linktype)
    found = (decoder or Decoder(np.arange(65536) == 5060, lambda *_: None)).parse(block)
    assert len(block) + found.made + found.lost == len(found) + sum(found.ignored.values()) + found.held
    ends = zip(found.start.tolist(), found.length.tolist(), strict=True)
    return [found.data[start : start + size].tobytes() for start, size in ends], found


def gre(inner: bytes, kind: int, flags: int = 0, options: bytes = b"") -> bytes:
    return ip(struct.pack("!HH", flags, kind) + options + inner, 47)


PACKET = ip(udp(b"hello"))
WRAPPED = {
    "plain": (1, frame(PACKET)),
    "IPv6": (1, frame(ip(udp(b"hello"), **SIX))),
    "802.1Q": (1, frame(PACKET, 5)),
    "QinQ": (1, MACS + b"\x88\xa8\x00\x01\x81\x00\x00\x02\x08\x00" + PACKET),
    "raw": (RAW, PACKET),
    "loopback of BSD": (NULL, b"\x02\0\0\0" + PACKET),
    "cooked": (LINUX_SLL, bytes(14) + b"\x08\x00" + PACKET),
    "cooked with a tag": (LINUX_SLL, bytes(14) + b"\x81\x00\x00\x05\x08\x00" + PACKET),
    "cooked 2": (LINUX_SLL2, b"\x08\x00" + bytes(18) + PACKET),
    "IPv4 options": (RAW, b"\x46\0\0\x29" + PACKET[4:20] + bytes(4) + PACKET[20:]),
    "hop-by-hop and destination options": (RAW, ip(struct.pack("!BB6x", 60, 0) + OPTIONS + udp(b"hello"), 0, **SIX)),
    "AH": (RAW, ip(struct.pack("!BB10x", 17, 1) + udp(b"hello"), 51, **SIX)),
    "atomic fragment": (RAW, ip(struct.pack("!BBHI", 17, 0, 0, 9) + udp(b"hello"), 44, **SIX)),
    "IP in IP": (RAW, ip(PACKET, 4)),
    "IPv6 in IP": (RAW, ip(ip(udp(b"hello"), **SIX), 41)),
    "GRE": (1, frame(gre(PACKET, 0x0800))),
    "GRE with key, sequence and checksum": (RAW, gre(PACKET, 0x0800, 0xB000, bytes(12))),
    "GRE with Ethernet": (RAW, gre(frame(PACKET, 3), 0x6558)),
    "ERSPAN I": (RAW, gre(frame(PACKET), 0x88BE)),
    "ERSPAN II": (RAW, gre(bytes(8) + frame(PACKET), 0x88BE, 0x1000, bytes(4))),
    "ERSPAN III": (RAW, gre(bytes(12) + frame(PACKET), 0x22EB, 0x1000, bytes(4))),
    "ERSPAN III with a sub-header": (RAW, gre(bytes(11) + b"\1" + bytes(8) + frame(PACKET), 0x22EB, 0x1000, bytes(4))),
    "VXLAN": (1, frame(ip(udp(b"\x08\0\0\0\0\0\x05\0" + frame(PACKET), 1, 4789)))),
    "tunnel in a tunnel": (RAW, ip(ip(PACKET, 4), 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPED)
def test_the_datagram_comes_out(name):
    linktype, packet = WRAPPED[name]
    payloads, found = decoded([packet, b"", packet + b"padding"], linktype)
    assert payloads == [b"hello"] * 2
    assert found.sport.tolist() == [4000] * 2 and found.dport.tolist() == [5060] * 2 and found.ts.tolist() == [0, 20]
    assert found.ignored == {"short": 1}
    assert all(int(found.data[at]) >> 4 in (4, 6) for at in found.ip)


REFUSED = {
    "not_ip": (1, MACS + b"\x08\x06" + bytes(28)), "bad_ip": (RAW, b"\x50" + bytes(30)), "linktype": (147, PACKET),
    "tunnel_depth": (RAW, ip(ip(ip(PACKET, 4), 4), 4)), "gre": (RAW, gre(PACKET, 0x880B)),
    "not_udp": (RAW, ip(bytes(8), 1)), "tcp": (RAW, ip(tcp(b"x", 1, sport=80, dport=8080), 6)),
    "bad_tcp": (RAW, ip(b"\0\0\x13\xc4" + bytes(8) + b"\xf0" + bytes(9), 6)), "bad_udp": (RAW, ip(bytes(8))),
    "ipv6_extension": (RAW, ip(b"".join(struct.pack("!BB6x", 60, 0) for _ in range(9)) + udp(b"x"), 60, **SIX)),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_of_no_use_is_counted(reason):
    linktype, packet = REFUSED[reason]
    payloads, found = decoded([packet], linktype)
    assert (payloads, found.ignored) == ([], {reason: 1})


@pytest.mark.parametrize("ends", [{}, SIX])
def test_fragments_in_any_order(ends):
    whole = udp(bytes(range(256)) * 10)
    parts = fragments(ip(whole, **ends), 1000)
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 0, 1, 1, 2]):
        payloads, found = decoded([frame(parts[at]) for at in order])
        assert payloads == [whole[8:]] and found.ts.tolist() == [10 * (len(order) - 1)] and found.made == 1


def test_a_tunnel_in_fragments_and_fragments_in_a_tunnel():
    tunnelled = fragments(gre(frame(ip(udp(b"a" * 900))), 0x6558), 480)
    inside = [gre(part, 0x0800) for part in fragments(ip(udp(b"b" * 900)), 480, ident=8)]
    payloads, _ = decoded([frame(part) for part in (*tunnelled, *inside)])
    assert payloads == [b"a" * 900, b"b" * 900]


def test_a_message_in_fragmented_segments_stands_where_its_last_packet_was():
    seg = ip(tcp(MESSAGE, 1), 6)
    parts = fragments(seg, 24)
    packets = [frame(parts[0]), frame(PACKET), *map(frame, parts[1:]), frame(PACKET)]
    payloads, found = decoded(packets)
    assert payloads == [b"hello", MESSAGE, b"hello"] and found.transport.tolist() == [0, 6, 0]
    assert found.sport.tolist() == [4000] * 3


PIECE = st.tuples(st.sampled_from(sorted(WRAPPED)), st.integers(0, 90), st.binary(max_size=4), st.integers(0, 60))


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECE, min_size=1, max_size=8), st.sampled_from([0, 1, 101, 113, 276]))
def test_nothing_is_raised_and_nothing_is_lost_from_the_count(parts, linktype):
    packets = []
    for name, at, junk, cut in parts:
        packet = WRAPPED[name][1]
        packets.append((packet[:at] + junk + packet[at + len(junk) :])[: max(len(packet) - cut, 0)])
    decoded(packets, linktype)


def test_what_two_sensors_saw_of_the_same_addresses_is_never_put_together():
    """Two sites may use the same private network: halves of a datagram, and of a message in TCP, of one each."""
    whole = udp(bytes(range(256)) * 8)
    parts = [frame(part) for part in fragments(ip(whole), 1024)]
    halves = [frame(ip(tcp(part, seq), 6)) for part, seq in ((MESSAGE[:40], 1), (MESSAGE[40:], 41))]
    decoder = Decoder(np.arange(65536) == 5060, lambda *_: None)

    def found(sensor: str, *packets: bytes) -> int:
        block = block_of(list(packets))
        block.sensor = sensor
        return decoder.parse(block).made

    assert found("a", parts[0], halves[0]) == found("b", *parts[1:], halves[1]) == 0
    assert found("b", parts[0]) == 1 and found("a", *parts[1:], halves[1]) == 2
