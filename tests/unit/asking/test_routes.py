"""Which session leads to whom: sessions of a host's own, and what others tell, which is believed of strangers only."""

import logging
import time

import pytest
from voipfleet.asking import routes
from voipfleet.asking.messages import Behind
from voipfleet.asking.routes import Routes
from voipfleet.records.messages import Status

A, B, C, D = (letter * 16 for letter in (b"a", b"b", b"c", b"d"))
STATUS = Status("x", 1, "1.0", "capture", "north", 5, {})


def behind(uuid, *hops, name="x"):
    return Behind(uuid, list(hops), name, "192.0.2.1", "ab-cd", 7, STATUS)


def number(value):
    return value.to_bytes(16, "big")


class Asker:
    def __init__(self, name=""):
        self.name = name


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(routes.time, "time", lambda: now[0])
    return now


def test_the_newest_session_counts_and_an_older_one_again_when_it_has_ended():
    found, old, new = Routes(A), Asker(), Asker()
    found.opened(B, "b", old)
    found.opened(B, "b", new)
    assert found.find(B) is new
    found.closed(new)
    assert found.find(B) is old
    found.closed(old)
    assert found.find(B) is None and found.get(B).name == "b"
    found.closed(old)
    found.opened(B, "b", new)
    assert found.find(B) is new and len(found) == 1


@pytest.mark.parametrize(("told", "peer"), [
    (behind(A, C), C),  # oneself
    (behind(B, A, C), C),  # has passed this host
    (behind(C, C), C),  # the one that says it
    (behind(B, *[bytes([n]) * 16 for n in range(8)]), C),  # too far
])  # fmt: skip
def test_what_cannot_be_is_not_believed(told, peer):
    found = Routes(A)
    assert not found.behind(peer, Asker(), told)
    assert found.find(told.uuid) is None


def test_never_back_to_where_the_question_came_from():
    found, one, other = Routes(A), Asker(), Asker()
    found.behind(C, one, behind(B, C))
    assert found.find(B, besides=C) is None
    found.behind(D, other, behind(B, D))
    assert found.find(B, besides=C) is other


def test_a_host_behind_of_which_nothing_is_heard_is_not_connected(clock):
    found, asker = Routes(A), Asker()
    found.behind(C, asker, behind(B, C))
    clock[0] += routes.STALE + 1
    assert found.find(B) is None and found.get(B).since == 1000.0
    found.behind(C, asker, behind(B, C))
    assert found.find(B) is asker and found.get(B).since == clock[0]
    assert len(found.get(B).ways) == 1


# -- whom to believe -------------------------------------------------------------------------------


def test_nobody_speaks_for_a_host_that_has_come_itself(caplog):
    found, own, evil = Routes(A), Asker("b"), Asker("evil")
    found.opened(B, "branch1", own)
    found.opened(C, "evil", evil)
    assert not found.behind(C, evil, behind(B, C, name="branch2"))
    assert (found.get(B).name, found.find(B), found.refused) == ("branch1", own, 0)  # it may have two connections
    found.closed(own)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not found.behind(C, evil, behind(B, C, name="branch2"))
    assert found.find(B) is None and found.get(B).name == "branch1" and found.refused == 3
    assert caplog.text.count("evil tells of host 6262") == 1


def test_nobody_speaks_for_a_host_that_came_itself_before_the_start():
    found, evil = Routes(A), Asker()
    found.remember(B, "branch1", 5.0)
    found.had_session = {D}.__contains__
    for uuid in (B, D):
        assert not found.behind(C, evil, behind(uuid, C, name="other")) and found.find(uuid) is None
    assert found.get(B).name == "branch1" and found.get(D) is None
    found.remember(number(7), "branch7", 5.0, had_session=False)  # it was behind another then
    assert found.behind(C, evil, behind(number(7), C, name="branch7")) and found.find(number(7)) is evil


def test_while_it_is_not_known_who_came_nothing_that_is_told_is_believed():
    found, asker = Routes(A), Asker()
    found.had_session = None
    assert not found.behind(C, asker, behind(B, C)) and len(found) == found.refused == 0
    found.had_session = set().__contains__
    assert found.behind(C, asker, behind(B, C))


def test_what_was_told_before_it_was_known_is_dropped():
    found, asker = Routes(A), Asker()
    found.behind(C, asker, behind(B, C, name="claimed"))
    found.remember(B, "branch1", 5.0)
    assert found.get(B).name == "branch1" and found.find(B) is None
    found.closed(asker)


def test_a_host_that_comes_itself_is_reached_so_from_then_on():
    found, far, near = Routes(A), Asker(), Asker()
    assert found.behind(C, far, behind(B, C))
    assert found.find(B) is far
    found.opened(B, "b", near)
    assert found.find(B) is near and len(found) == 1
    assert not found.behind(C, far, behind(B, C))
    found.closed(near)
    assert found.find(B) is None
    found.closed(far)


def test_a_host_that_is_forgotten_in_the_database_may_be_behind_another(clock):
    found, near, far = Routes(A), Asker(), Asker()
    found.opened(B, "b", near)
    found.keep(set(), clock[0] + 1)
    assert found.find(B) is near  # it is connected
    found.closed(near)
    found.keep({B}, clock[0] + 1)
    assert not found.behind(C, far, behind(B, C))
    found.keep(set(), clock[0])  # it has left since that was looked at
    assert found.get(B)
    found.keep(set(), clock[0] + 1)
    assert found.get(B) is None and found.behind(C, far, behind(B, C)) and found.find(B) is far


def test_of_those_who_tell_of_a_host_the_first_counts_as_long_as_it_does(clock):
    found, first, other, again = Routes(A), Asker(), Asker(), Asker()
    assert found.behind(C, first, behind(B, C, D, name="b"))
    assert not found.behind(D, other, behind(B, D, name="other"))  # a shorter way, but who says so
    assert found.find(B) is first and found.get(B).name == "b"
    clock[0] += routes.STALE + 1
    assert found.behind(D, other, behind(B, D, name="b2"))
    assert found.find(B) is other and found.get(B).name == "b2"
    assert found.behind(C, again, behind(B, C, name="b"))  # the first one is back, over a new connection
    assert found.find(B) is again and found.get(B).name == "b"
    found.closed(first)
    found.closed(again)
    assert found.find(B) is other
    found.closed(other)
    assert found.find(B) is None


# -- limits ----------------------------------------------------------------------------------------


def test_one_session_tells_of_few_hosts_and_those_that_are_silent_make_room(clock, caplog):
    found, asker = Routes(A), Asker("evil")
    with caplog.at_level(logging.WARNING):
        told = [found.behind(C, asker, behind(number(n), C)) for n in range(1000)]
    assert told.count(True) == routes.MAX_TOLD == len(found) and found.refused == 1000 - routes.MAX_TOLD
    assert caplog.text.count("evil tells of more hosts than it may (256)") == 1
    clock[0] += routes.STALE + 1
    assert found.behind(C, asker, behind(number(1), C))
    assert all(found.behind(C, asker, behind(number(n), C)) for n in range(1000, 1255))
    assert not found.behind(C, asker, behind(number(2000), C))
    assert found.find(number(1)) is asker and found.find(number(2)) is None and found.get(number(2)).since == 1000.0
    assert len(found._sessions[asker].told) == routes.MAX_TOLD
    found.closed(asker)
    assert not any(known.way() for known in found)


def test_what_is_told_pushes_nobody_out(monkeypatch, clock):
    monkeypatch.setattr(routes, "MAX_KNOWN", 10)
    found, near, gone, honest, evil = Routes(A), Asker(), Asker(), Asker(), Asker()
    found.opened(B, "b", near)
    found.opened(C, "c", gone)
    found.closed(gone)
    for n in range(3):
        found.remember(number(100 + n), "known", 1.0)
    found.behind(B, honest, behind(D, B))
    for n in range(100):
        found.behind(C, evil, behind(number(1000 + n), C))
    mine = [B, C, D, number(100), number(101), number(102)]
    assert len(found) == 10 and all(found.get(uuid) for uuid in mine)
    clock[0] += routes.STALE + 1
    found.behind(B, honest, behind(D, B))
    for n in range(100):
        found.behind(C, evil, behind(number(5000 + n), C))  # instead of its own, which are silent
    assert len(found) == 10 and all(found.get(uuid) for uuid in mine) and found.find(D) is honest


def test_whoever_comes_himself_pushes_out_first_what_is_told_then_who_is_gone(monkeypatch):
    monkeypatch.setattr(routes, "MAX_KNOWN", 4)
    found, asker, gone, sessions = Routes(A), Asker(), Asker(), [Asker() for _ in range(6)]
    found.behind(C, asker, behind(D, C))
    found.opened(B, "b", gone)
    found.closed(gone)
    for n, session in enumerate(sessions):
        found.opened(number(n), str(n), session)
        assert (found.get(D) is None) is (n > 1)
        assert (found.get(B) is None) is (n > 2)
    assert len(found) == 4 and found.find(number(5)) is sessions[5] and found.find(number(1)) is None
    for session in (*sessions, asker):
        found.closed(session)
    assert not found._sessions


def test_a_flood_costs_little():
    found, session = Routes(A), [Asker() for _ in range(17)]
    for n in range(50):
        found.opened(number(n), f"b{n}", Asker())
    for n, asker in enumerate(session):
        for m in range(routes.MAX_TOLD):
            found.behind(C, asker, behind(number(1000 * (n + 1) + m), C))
    assert len(found) == routes.MAX_KNOWN
    begun = time.perf_counter()
    for n in range(2000):
        found.behind(C, session[n % 17], behind(number(10**6 + n), C))
    assert time.perf_counter() - begun < 0.5  # 2000 frames; it was 4.8 ms each when all were looked through
    assert len(found) == routes.MAX_KNOWN and all(found.find(number(n)) for n in range(50))
