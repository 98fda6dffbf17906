"""Places before the welcome, and tries a minute."""

from hypothesis import given
from hypothesis import strategies as st
from voipfleet.link.limits import CALLER, SILENT, STRANGER, Buckets, Recent, Room, network


def test_silent_ones_make_room_for_whoever_comes():
    room, gone = Room(3, 0), []
    for number in range(3):
        assert room.enter(number, False, 0.0, lambda number=number: gone.append(number))
    room.advance(1, CALLER, 0.1)
    assert room.enter(3, False, 0.2, lambda: gone.append(3))
    assert room.enter(4, False, 0.3, lambda: gone.append(4))
    assert gone == [0, 2] and len(room) == 3


def test_a_caller_keeps_its_place_for_a_moment_and_not_for_ever():
    room, gone = Room(1, 0), []
    room.enter("a", False, 0.0, lambda: gone.append("a"))
    room.advance("a", CALLER, 0.0)
    assert not room.enter("b", False, 0.9, lambda: None)
    assert room.enter("b", False, 1.1, lambda: None)
    assert gone == ["a"]


def test_known_addresses_have_places_that_nobody_takes():
    room = Room(1, 2)
    assert room.enter("flood", False, 0.0, lambda: None)
    assert room.enter("a", True, 0.0, lambda: None) and room.enter("b", True, 0.0, lambda: None)
    assert len(room) == 3
    room.leave("a")
    assert len(room) == 2 and room.enter("c", True, 0.0, lambda: None)


@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["enter", SILENT, STRANGER, CALLER, "leave"]),
                          st.booleans())))  # fmt: skip
def test_never_more_than_there_are_places(steps):
    room, inside = Room(5, 2), set()
    for now, (who, step, known) in enumerate(steps):
        if step == "enter" and who not in inside:
            if room.enter(who, known, now / 10, lambda who=who: inside.discard(who)):
                inside.add(who)
        elif step == "leave":
            room.leave(who)
            inside.discard(who)
        elif step != "enter" and who in inside:
            room.advance(who, step, now / 10)
        assert len(room) == len(inside) <= 7


def test_a_burst_then_so_many_a_minute():
    buckets = Buckets(3, 60)
    assert [buckets.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert buckets.empty("a", 0.5) and not buckets.empty("b", 0.5)
    assert buckets.take("a", 1.1) and not buckets.take("a", 1.2)
    assert [buckets.take("a", 100.0) for _ in range(4)] == [True, True, True, False]


def test_memory_is_bounded():
    buckets, recent = Buckets(1, 1, most=10), Recent(10)
    for number in range(1000):
        buckets.take(number, 0.0)
        recent.add(number)
    assert len(buckets._left) == 10
    assert 999 in recent and 989 not in recent


def test_what_counts_as_one_source():
    assert network("192.0.2.1") == "192.0.2.1" == network("::ffff:192.0.2.1")
    assert network("2001:db8::1") == network("2001:db8::ffff") != network("2001:db8:0:1::1")
    assert network("fe80::1%eth0") == "fe80::/64"
    assert network("?") == "?"
