"""Packets of several sensors as one capture: each once, in the order of time, whatever the sensors' clocks say."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.captures import packets_of, source
from support.packets import fragments, frame, ip, tcp, udp
from voipfleet.capture.block import ETHERNET, LINUX_SLL, LINUX_SLL2, NULL, RAW
from voipfleet.fetching import merging
from voipfleet.fetching.merging import merge

START, MS, SECOND = 1_700_000_000_000_000_000, 1_000_000, 1_000_000_000


def rtp(n: int, payload: bytes = bytes(160), src: str = "10.0.0.1", dst: str = "10.0.0.2", ttl: int = 64) -> bytes:
    head = struct.pack("!BBHII", 0x80, 0, n & 0xFFFF, n * 160, 7)
    return ip(udp(head + payload, 4000, 5000), src=src, dst=dst, ident=n & 0xFFFF if ":" not in src else 0, ttl=ttl)


def routed(packet: bytes) -> bytes:
    """As it is behind a router: TTL or hop limit, and the checksums that a network card fills in."""
    four = packet[0] >> 4 == 4
    changed = bytearray(packet)
    changed[8 if four else 7] -= 3
    if four:
        changed[10:12] = b"\xab\xcd"
    at = 20 if four else 40
    if packet[9 if four else 6] == 17 and len(packet) >= at + 8:
        changed[at + 6 : at + 8] = b"\x12\x34"
    return bytes(changed)


def times(merged) -> list[int]:
    return [(ts - START) // MS for ts, _ in packets_of(merged)]


def test_one_sensor_is_only_sorted():
    a, b, c = (frame(rtp(n)) for n in range(3))
    merged = merge([source("a", [(START + 9, c), (START, a), (START + 1, b), (START + 2, b)])])
    assert packets_of(merged) == [(START, a), (START + 1, b), (START + 2, b), (START + 9, c)] and merged.copies == 0
    assert len(merge([])) == 0 and list(merge([]).blocks()) == [] and merge([source("a", [])]).linktypes == []


@pytest.mark.parametrize("hosts", [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")])
@pytest.mark.parametrize(
    "other",
    [lambda p: frame(p), lambda p: frame(routed(p)), lambda p: frame(p, 7, 100), lambda p: frame(routed(p)) + bytes(9)],
)
def test_a_packet_that_two_saw_is_there_once(hosts, other):
    packets = [rtp(n, b"", *hosts) for n in range(50)] + [ip(tcp(b"SIP", 5), 6, *hosts)]
    here = [(START + n * 20 * MS, frame(packet)) for n, packet in enumerate(packets)]
    there = [(ts + 30 * MS, other(packet)) for (ts, _), packet in zip(here, packets, strict=True)]
    merged = merge([source("a", here), source("b", there[5:])])
    assert packets_of(merged) == here and merged.copies == 46


@pytest.mark.parametrize("link", [(RAW, b""), (NULL, b"\2\0\0\0"), (LINUX_SLL, bytes(14) + b"\x08\0"),
                                  (LINUX_SLL2, b"\x08\0" + bytes(18))])  # fmt: skip
def test_whatever_lies_around_it(link):
    kind, head = link
    packets = [rtp(n) for n in range(5)]
    here = [(START + n, frame(packet)) for n, packet in enumerate(packets)]
    there = [(START + 5 + n, head + routed(packet)) for n, packet in enumerate(packets)]
    merged = merge([source("a", here), source("b", there, linktype=kind)])
    assert packets_of(merged) == here and merged.linktypes == [ETHERNET]


def test_what_differs_stays():
    packet = rtp(1)
    others = [
        rtp(2),
        rtp(1, b"\1" * 160),
        rtp(1, bytes(159)),
        rtp(1, src="10.0.0.3"),
        packet[:1] + b"\xb8" + packet[2:],
    ]
    for other in others:
        assert len(merge([source("a", [(START, frame(packet))]), source("b", [(START, frame(other))])])) == 2
    for late, left in ((2000, 1), (2001, 2)):
        merged = merge([source("a", [(START, frame(packet))]), source("b", [(START + late * MS, frame(packet))])])
        assert len(merged) == left
    first, second = fragments(ip(udp(bytes(100))), 48)[:2]
    changed = second[:26] + b"\1\1" + second[28:]  # where a first fragment has its checksum, another has payload
    assert len(merge([source("a", [(START, frame(second))]), source("b", [(START, frame(changed))])])) == 2
    assert len(merge([source("a", [(START, frame(first))]), source("b", [(START, frame(routed(first)))])])) == 1


def test_what_one_saw_twice_was_there_twice():
    packet = frame(rtp(1))
    here = source("a", [(START, packet), (START + 10 * MS, packet)])
    assert times(merge([here, source("b", [(START + 1 * MS, packet), (START + 11 * MS, packet)])])) == [0, 10]
    assert times(merge([here, source("b", [(START + 3 * MS, packet)])])) == [0, 10]
    three = source("c", [(START + n * MS, packet) for n in (2, 12, 500)])
    assert times(merge([here, source("b", [(START + 1 * MS, packet)]), three])) == [0, 10, 500]


def test_where_one_has_headers_only_the_whole_packet_stays():
    whole = [(START + n * 20 * MS, frame(rtp(n, bytes([n]) * 160))) for n in range(20)]
    cut = [(ts + MS, routed(packet[14:])) for ts, packet in whole]
    for order in (slice(None), slice(None, None, -1)):
        sources = [source("a", whole[:15]), source("b", cut, linktype=RAW, cut=40)]
        merged = merge(sources[order])
        assert packets_of(merged)[:15] == whole[:15] and len(merged) == 20 and merged.copies == 15
    thrice = [source("a", whole), source("b", cut, linktype=RAW, cut=40), source("c", cut, linktype=RAW, cut=40)]
    assert packets_of(merge(thrice)) == whole
    assert len(merge([source("a", whole), source("b", cut, linktype=RAW, cut=39)])) == 40  # not enough to tell


def test_two_of_one_sensor_are_two_also_where_one_is_cut():
    packet, later = frame(rtp(1)), START + 10 * MS
    both = source("a", [(START, packet)])
    both.captures += source("a", [(later, packet)], cut=54).captures
    assert times(merge([both, source("b", [(START + 1, packet)])])) == [0, 10]
    assert times(merge([source("b", [(later, packet)], cut=54), both])) == [0, 10]


def test_clocks_are_corrected_where_they_are_far_off():
    packets = [(START + n * 20 * MS, frame(rtp(n))) for n in range(9)]

    def by(ms: int):
        return [(ts + ms * MS, packet) for ts, packet in packets]

    merged = merge([source("a", packets, 50.0), source("b", by(7_200_000), 7_200_000.0), source("c", by(-900), -900.0)])
    assert packets_of(merged) == packets and merged.copies == 18
    assert [s.shift for s in merged.sources] == [0, 7_200_000 * MS, -900 * MS]
    assert times(merge([source("a", packets, 50.1)]))[0] == -51
    assert packets_of(merge([source("a", [(5, b"x")], 1e300)])) == [(0, b"x")]


def test_a_million_equal_packets_cost_no_more_than_others():
    packet = frame(rtp(1, b""))
    many = [(START + n, packet) for n in range(30_000)]
    merged = merge([source("a", many), source("b", many[:20_000]), source("c", many)])
    assert len(merged) == 30_000 and merged.copies == 50_000


def test_garbage_is_compared_as_it_is():
    garbage = [b"", b"\0", bytes(13), bytes(12) + b"\x08\0", bytes(12) + b"\x81\0\0", frame(rtp(1))[:30],
               b"\xff" * 90, frame(b"\x41" + bytes(30)), frame(b"\x60" + bytes(20)), frame(ip(b"", 17)),
               frame(ip(tcp(b"", 1)[:17], 6))]  # fmt: skip
    here = [(START + n, packet) for n, packet in enumerate(garbage)]
    for kind in (ETHERNET, RAW, NULL, LINUX_SLL, LINUX_SLL2, 999):
        merged = merge([source("a", here, linktype=kind), source("b", here, linktype=kind)])
        assert [packet for _, packet in packets_of(merged) if packet] == garbage[1:]


def test_blocks_hold_one_link_type_and_not_too_much(monkeypatch):
    monkeypatch.setattr(merging, "MAX_BLOCK", 1000)
    bare = [(START + 2 * n + 1, rtp(n, b"b")) for n in range(0, 40, 10)]
    mixed = merge([source("a", [(START + 2 * n, frame(rtp(n))) for n in range(40)]), source("b", bare, linktype=RAW)])
    blocks = list(mixed.blocks())
    assert sum(map(len, blocks)) == 44 and max(len(block.data) for block in blocks) <= 1000
    assert [block.linktype for block in blocks].count(RAW) == 4 and mixed.linktypes == [ETHERNET, RAW]
    assert [ts for block in blocks for ts in block.ts.tolist()] == mixed.ts.tolist()


@st.composite
def splits(draw):
    """(packets, who saw each of them, the sensors' clocks in ms, how late each sees what the first one sees)."""
    count, sensors = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    steps = draw(st.lists(st.integers(1, 3000), min_size=count, max_size=count))
    packets, now = [], START
    for n, step in enumerate(steps):
        now += step * MS
        twice = n and draw(st.booleans())  # the same packet once more: a retransmission
        packets.append((now, packets[-1][1] if twice else rtp(n, bytes(draw(st.integers(0, 200))))))
    seen = []
    for n, (_, packet) in enumerate(packets):
        again = n and packets[n - 1][1] == packet
        seen.append(seen[-1] if again else draw(st.sets(st.integers(0, sensors - 1), min_size=1)))
    clock = st.one_of(st.none(), st.integers(-(10**7), 10**7).filter(lambda ms: abs(ms) > 50))
    return packets, seen, draw(st.lists(clock, min_size=sensors, max_size=sensors))


@settings(max_examples=150, deadline=None)
@given(splits(), st.randoms(use_true_random=False))
def test_any_split_of_a_capture_gives_the_capture(split, random):
    packets, seen, clocks = split
    sources = []
    for sensor, ms in enumerate(clocks):
        mine = [(ts + (ms or 0) * MS, frame(routed(packet) if sensor % 2 else packet, *range(sensor)))
                for (ts, packet), who in zip(packets, seen, strict=True) if sensor in who]  # fmt: skip
        random.shuffle(mine)
        sources.append(source(f"s{sensor}", mine, ms))
    merged = merge(sources)
    first = [(ts, frame(routed(packet) if min(who) % 2 else packet, *range(min(who))))
             for (ts, packet), who in zip(packets, seen, strict=True)]  # fmt: skip
    assert packets_of(merged) == first
    assert merged.copies == sum(len(who) - 1 for who in seen)
