"""Where SIP is if it is not on its ports: the fewest that cover what was seen."""

from support.packets import block_of, frame, ip, tcp, udp
from voipfleet.sipports import Elsewhere

INVITE = b"INVITE sip:a@b SIP/2.0\r\nVia: x\r\n\r\n"
OK = b"SIP/2.0 200 OK\r\n\r\n"


def ports(*packets):
    elsewhere = Elsewhere()
    elsewhere.look(block_of([frame(packet) for packet in packets]))
    return elsewhere.ports()


def test_the_fewest_ports():
    there = [ip(udp(INVITE, 40000 + n, 5062)) for n in range(5)]
    assert ports(*there, ip(udp(OK, 5062, 40001)), ip(udp(OK, 15060, 7000)), ip(udp(OK, 15060, 7001))) == [5062, 15060]


def test_over_tcp():
    assert ports(ip(tcp(INVITE, 1, sport=33333, dport=5070), 6), ip(tcp(OK, 1, sport=5070, dport=33333), 6)) == [5070]


def test_what_only_mentions_sip_is_none():
    assert ports(ip(udp(b"x SIP/2.0 200 OK", 1, 2)), ip(udp(b"", 1, 2))) == []
    assert ports(ip(udp(b"GET sip:a HTTP/1.1\r\nSIP/2.0", 1, 2))) == []
