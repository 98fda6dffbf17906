"""Which session leads to whom: direct ones, hosts behind others, chains; and what hosts say of themselves."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest
from support.joined import joined
from support.lines import refuse
from support.wires import pair
from voipfleet.asking import messages, routes, switchboard
from voipfleet.asking.asker import no_data
from voipfleet.asking.messages import Ask, Behind
from voipfleet.asking.routes import Routes
from voipfleet.asking.switchboard import Switchboard
from voipfleet.errors import VoipfleetError
from voipfleet.link import types
from voipfleet.records.messages import Status

A, B, C, D = (letter * 16 for letter in (b"a", b"b", b"c", b"d"))


def status(name):
    return Status(name, 1, "1.0", "capture", "north", 5, {"packets": 3})


def behind(uuid, *hops, name="x"):
    return Behind(uuid, list(hops), name, "192.0.2.1", "ab-cd", 7, status(name))


class Asker:
    def __init__(self, name=""):
        self.name = name


# -- routes ----------------------------------------------------------------------------------------


def test_the_newest_session_counts_and_an_older_one_again_when_it_has_ended():
    found, old, new = Routes(A), Asker(), Asker()
    found.opened(B, "b", old)
    found.opened(B, "b", new)
    assert found.find(B) is new
    found.closed(new)
    assert found.find(B) is old
    found.closed(old)
    assert found.find(B) is None and found.get(B).name == "b"


def test_a_short_way_goes_before_a_long_one():
    found, far, near = Routes(A), Asker(), Asker()
    assert found.behind(C, far, behind(B, C))
    assert found.find(B) is far
    found.opened(B, "b", near)
    assert found.find(B) is near
    assert found.behind(C, far, behind(B, C))
    found.closed(near)
    assert found.find(B) is far
    found.closed(far)
    assert found.find(B) is None


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


def test_a_host_behind_of_which_nothing_is_heard_is_not_connected(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(routes.time, "time", lambda: clock[0])
    found, asker = Routes(A), Asker()
    found.behind(C, asker, behind(B, C))
    clock[0] += routes.STALE + 1
    assert found.find(B) is None and found.get(B).since == 1000.0
    found.behind(C, asker, behind(B, C))
    assert found.find(B) is asker and found.get(B).since == clock[0]
    assert len(found.get(B).ways) == 1


def test_hosts_are_bounded_and_those_that_are_gone_go_first(monkeypatch):
    monkeypatch.setattr(routes, "MAX_KNOWN", 3)
    found, gone, near = Routes(A), Asker(), Asker()
    found.opened(B, "b", near)
    found.opened(C, "c", gone)
    found.closed(gone)
    found.behind(B, near, behind(b"1" * 16, B))
    found.behind(B, near, behind(b"2" * 16, B))
    assert found.get(C) is None and found.find(B) is near
    for number in range(100):
        found.behind(B, near, behind(number.to_bytes(16, "big"), B))
    assert len(list(found)) == 3 and found.find(B) is near


# -- several instances -----------------------------------------------------------------------------


class Host:
    """An instance with its switchboard, which answers `who` with its name and with who asks."""

    def __init__(self, uuid, name):
        self.uuid, self.name, self.seen = uuid, name, {}
        self.board = Switchboard(uuid, name, self.answers, self.note)

    async def answers(self, command, arguments, who, send):
        if command == "stream":
            for _ in range(arguments["pieces"]):
                await send(bytes(100_000))
        return {"name": self.name, "who": who}

    def note(self, told, via):
        self.seen[told.uuid] = told, via


@contextlib.asynccontextmanager
async def connected(sensor, receiver):
    """`sensor` has a session with `receiver` and says its status once."""
    who = {"uuid": sensor.uuid, "name": sensor.name, "central": receiver.uuid}
    async with joined(sensor.board, receiver.board, **who) as line:
        line.status(status(sensor.name))
        yield line


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_host_behind_two_others_is_seen_and_asked(monkeypatch):
    monkeypatch.setattr(switchboard, "LOOK", 0.02)
    a, b, c, d = Host(A, "a"), Host(B, "b"), Host(C, "c"), Host(D, "d")
    async with connected(a, b), connected(b, c), connected(c, d):
        await until(lambda: {A, B, C} <= set(d.seen))
        told, via = d.seen[A]
        assert (told.name, told.status.site, via) == ("a", "north", "c")
        assert d.seen[C][1] == ""
        assert (await d.board.ask(A, "who", {}, "ann@d", no_data)) == {"name": "a", "who": "ann@d"}
        got = 0

        async def take(piece):
            nonlocal got
            got += len(piece)

        await d.board.ask(A, "stream", {"pieces": 20}, "ann@d", take)
        assert got == 2_000_000
    with pytest.raises(
        VoipfleetError, match=r"^a: not connected since \d\d:\d\d; it serves its packets when it is back$"
    ):
        await d.board.ask(A, "who", {}, "ann@d", no_data)
    with pytest.raises(VoipfleetError, match="7a7a7a7a: not connected to d since that was started"):
        await d.board.ask(b"z" * 16, "who", {}, "ann@d", no_data)


async def test_a_host_that_leaves_the_one_before_is_said_to_be_away_by_that_one(monkeypatch):
    monkeypatch.setattr(switchboard, "LOOK", 0.02)
    a, b, c = Host(A, "a"), Host(B, "b"), Host(C, "c")
    async with connected(b, c):
        async with connected(a, b):
            await until(lambda: A in c.seen)
        with pytest.raises(VoipfleetError, match=r"^a: not connected since"):
            await c.board.ask(A, "who", {}, "ann@c", no_data)


async def test_a_status_is_passed_on_at_most_every_five_seconds(monkeypatch):
    monkeypatch.setattr(switchboard, "LOOK", 0.01)
    monkeypatch.setattr(switchboard, "TOLD_EVERY", 0.3)
    a, b, c = Host(A, "a"), Host(B, "b"), Host(C, "c")
    count = 0

    def note(told, via):
        nonlocal count
        count += told.uuid == A

    async with connected(a, b) as line, connected(b, c):
        c.board._seen = note
        for _ in range(60):
            line.status(status("a"))
            await asyncio.sleep(0.01)
    assert 1 <= count <= 4


async def test_two_that_mirror_to_each_other_do_not_ask_in_circles(monkeypatch):
    monkeypatch.setattr(switchboard, "LOOK", 0.02)
    a, b, c = Host(A, "a"), Host(B, "b"), Host(C, "c")
    async with connected(a, b), connected(b, a):
        async with connected(c, a):
            await until(lambda: C in b.seen)
            assert (await b.board.ask(C, "who", {}, "x@b", no_data))["name"] == "c"
        with pytest.raises(VoipfleetError, match="not connected since"):
            await b.board.ask(C, "who", {}, "x@b", no_data)


async def test_a_question_that_has_gone_too_far_and_arguments_that_are_none():
    board = Switchboard(A, "a", refuse, lambda *_: None)
    far = Ask(1, B, "who", b"{}", "x", messages.MAX_HOPS - 1)
    with pytest.raises(VoipfleetError, match="has passed 8 hosts and arrived nowhere"):
        await board.pass_on(far, no_data, C)
    for target in (A, B):
        with pytest.raises(VoipfleetError, match="who: its arguments are no JSON object; give `key=value`"):
            await board.pass_on(Ask(1, target, "who", b"[]", "x"), no_data, C)


async def test_hosts_that_are_told_of_are_bounded(monkeypatch):
    monkeypatch.setattr(switchboard, "MAX_BEHIND", 5)
    board = Switchboard(A, "a", refuse, lambda *_: None)
    for number in range(50):
        board.told(behind(number.to_bytes(16, "big"), B), "")
    assert len(list(board.heard())) == 5
    monkeypatch.setattr(switchboard, "FORGET", 0.0)
    assert not list(board.heard()) and not board._behind


async def test_frames_that_are_of_nobody_are_not_taken():
    near, _ = pair()
    board = Switchboard(A, "a", refuse, lambda *_: None)
    peer = SimpleNamespace(sensor_uuid=B, name="b", address="", key=bytes(32))
    with board.server(near, peer) as line:
        assert not line.take(types.BATCH, b"")
    async with board.client(near, B) as line:
        assert not await line.take(types.ACK, b"")
