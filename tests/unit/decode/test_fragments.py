"""Fragments: what agrees is put together, what contradicts itself is given up, what never ends is forgotten."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from support.packets import fragments, ip, udp
from voipfleet.decode import fragments as module
from voipfleet.decode.fragments import KEEP, MAX_BYTES, MAX_DATAGRAMS, Fragments

PACKET = ip(udp(bytes(range(250)) * 4))


def made(parts, six=False, count=None, table=None, ts=0):
    table = table or Fragments(count or (lambda *_: None))
    head = 40 if six else 20
    out = [table.take(ts, part[:head], part[head:]) for part in parts]
    return [packet for packet in out if packet]


def counts():
    found = Counter()
    return found, lambda name, by=1: found.update({name: by})


@given(st.permutations(range(8)), st.sampled_from([{}, {"src": "2001:db8::1", "dst": "2001:db8::2"}]))
def test_any_order(order, ends):
    packet = ip(udp(bytes(range(200)) * 5), **ends)
    parts = fragments(packet, 128)
    (whole,) = made([parts[at] for at in order if at < len(parts)], bool(ends))
    head = 40 if ends else 20
    assert whole[head:] == packet[head:] and whole[9 if not ends else 6] == 17 and len(whole) == len(packet)


def test_an_overlap_spoils_the_datagram():
    found, count = counts()
    first, second, *rest = fragments(PACKET, 400)
    lie = fragments(ip(udp(b"x" * 1000)), 392)[1]
    assert made([first, lie, second, *rest], count=count) == []
    assert found == {"fragment_errors": 1, "fragment_error_overlap": 1}


def test_two_ends():
    found, count = counts()
    last, other = fragments(PACKET, 400)[-1], fragments(ip(udp(b"x" * 1500)), 400)[-1]
    assert made([last, other], count=count) == [] and found["fragment_error_end"] == 1


def test_one_that_would_be_longer_than_ip_allows():
    found, count = counts()
    far = PACKET[:6] + b"\x1f\xff" + PACKET[8:]
    assert made([far], count=count) == [] and found["fragment_error_size"] == 1


def test_what_never_ends_is_forgotten():
    found, count = counts()
    table = Fragments(count)
    made([fragments(PACKET, 400)[0]], table=table)
    made([fragments(PACKET, 400, ident=9)[0]], table=table, ts=KEEP + 1)
    assert found == {"fragments_expired": 1}


def test_the_state_is_bounded():
    found, count = counts()
    table = Fragments(count)
    big = fragments(ip(udp(bytes(60000))), 50000)[0]
    for ident in range(MAX_DATAGRAMS + 50):
        part = big[:4] + ident.to_bytes(2) + big[6:]
        table.take(ident, part[:20], part[20:])
        assert table._bytes <= MAX_BYTES and len(table._open) <= MAX_DATAGRAMS
    assert found["fragments_evicted"] == MAX_DATAGRAMS + 50 - len(table._open)
    small = Fragments(count)
    for at in range(module.MAX_PARTS + 1):
        word = (0x2000 | at * 2).to_bytes(2)
        small.take(0, PACKET[:6] + word + PACKET[8:20], bytes(8))
    assert found["fragment_error_parts"] == 1
