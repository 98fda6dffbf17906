"""Which session leads to whom: direct ones, hosts behind others, chains; and what hosts say of themselves."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest
from support.joined import joined
from support.lines import refuse
from support.wires import pair
from voipfleet.asking import messages, switchboard
from voipfleet.asking.asker import no_data
from voipfleet.asking.messages import Ask, Behind
from voipfleet.asking.switchboard import Switchboard
from voipfleet.errors import VoipfleetError
from voipfleet.link import types
from voipfleet.records.messages import Status

A, B, C, D = (letter * 16 for letter in (b"a", b"b", b"c", b"d"))


def status(name):
    return Status(name, 1, "1.0", "capture", "north", 5, {"packets": 3})


def behind(uuid, *hops, name="x"):
    return Behind(uuid, list(hops), name, "192.0.2.1", "ab-cd", 7, status(name))


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


async def test_thirteen_hosts_behind_one_are_asked_at_once(monkeypatch):
    """One session answers four at a time; the others wait, at the central and at the relay."""
    monkeypatch.setattr(switchboard, "LOOK", 0.02)
    relay, central = Host(B, "relay"), Host(C, "central")
    hosts = [Host(bytes([n]) * 16, f"s{n}") for n in range(1, 14)]
    async with contextlib.AsyncExitStack() as open_:
        await open_.enter_async_context(connected(relay, central))
        for host in hosts:
            await open_.enter_async_context(connected(host, relay))
        await until(lambda: {host.uuid for host in hosts} <= set(central.seen))
        asked = [host for host in hosts for _ in range(3)]
        said = await asyncio.gather(*(central.board.ask(host.uuid, "who", {}, "x", no_data) for host in asked))
        assert [one["name"] for one in said] == [host.name for host in asked]


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


async def test_hosts_that_are_told_of_are_bounded_and_forgotten_without_uplinks_too(monkeypatch):
    monkeypatch.setattr(switchboard, "MAX_BEHIND", 5)
    board = Switchboard(A, "a", refuse, lambda *_: None)
    for number in range(50):
        board.told(behind(number.to_bytes(16, "big"), B), "")
    assert len(list(board.heard())) == 5
    monkeypatch.setattr(switchboard, "FORGET", 0.05)
    await asyncio.sleep(0.1)
    board.told(behind(B, A), "")
    assert list(board._behind) == [B]
    await asyncio.sleep(0.1)
    assert not list(board.heard()) and not board._behind


async def test_what_is_not_believed_is_told_to_nobody():
    """A name of another host's, a host that has come itself, and more hosts than a session may tell of."""
    seen = []
    board = Switchboard(A, "a", refuse, lambda told, via: seen.append((told.uuid, told.name, via)))
    mine, evil = (SimpleNamespace(sensor_uuid=uuid, name=name, address="", key=bytes(32))
                  for uuid, name in ((B, "b"), (C, "evil")))  # fmt: skip
    with board.server(pair()[0], mine) as first, board.server(pair()[0], evil) as line:
        first.status(status("b"))
        assert line.take(types.BEHIND, messages.encode(behind(B, C, name="evil2")))
        assert board.routes.get(B).name == "b" and board.routes.find(B) is first.asker
        for number in range(1000):
            assert line.take(types.BEHIND, messages.encode(behind(number.to_bytes(16, "big"), C)))
    assert seen[0] == (B, "b", "") and len(seen) == 257 == len(list(board.heard()))
    assert {name for _, name, via in seen if via == "evil"} == {"x"}


async def test_a_listed_name_that_is_an_address_can_be_told():
    seen = []
    board = Switchboard(A, "a", refuse, lambda told, via: seen.append(told))
    peer = SimpleNamespace(sensor_uuid=B, name="2001:db8::1", address="", key=bytes(32))
    with board.server(pair()[0], peer) as line:
        line.status(status("b"))
    assert messages.decoder(Behind)(messages.encode(seen[0])).name == "2001-db8--1"


async def test_frames_that_are_of_nobody_are_not_taken():
    near, _ = pair()
    board = Switchboard(A, "a", refuse, lambda *_: None)
    peer = SimpleNamespace(sensor_uuid=B, name="b", address="", key=bytes(32))
    with board.server(near, peer) as line:
        assert not line.take(types.BATCH, b"")
    async with board.client(near, B) as line:
        assert not await line.take(types.ACK, b"")
