"""Client and server over loopback: who comes in, who does not, and what each end says about it."""

import asyncio
import contextlib
import itertools
import logging
import os
import socket

import pytest
from voipfleet.errors import VoipfleetError
from voipfleet.link import client, handshake, server, session, types
from voipfleet.link.client import Hello, LinkError
from voipfleet.link.keys import Identity
from voipfleet.link.noise import public_key
from voipfleet.link.session import LinkClosed

PSK, OTHER = b"p" * 32, b"q" * 32


def identity():
    private = os.urandom(32)
    return Identity(private, public_key(private))


CENTRAL, SENSOR = identity(), identity()


async def yes(uuid, key):
    return True


async def echo(link, peer):
    async for kind, body in link:
        await link.send(kind, body + b"!")


@contextlib.asynccontextmanager
async def central(on_session=echo, *, auth="password", allowed=None, require_knock=False, bind_key=yes, psks=(PSK,),
                  role=types.ROLE_RECORDS, **more):  # fmt: skip
    peers = []

    async def welcome(peer):
        peers.append(peer)
        return b"hello " + peer.name.encode()

    policy = server.Policy(auth, allowed or {}, require_knock, bind_key)
    listening = server.LinkServer(
        (CENTRAL,), psks, policy=policy, welcome=welcome, on_session=on_session, roles=frozenset({role}), **more
    )
    await listening.start("127.0.0.1", 0)
    listening.peers = peers
    try:
        yield listening
    finally:
        await listening.close()


async def call(listening, tmp_path, *, who=SENSOR, psk=PSK, pins=(CENTRAL.public,), uuid=b"u" * 16, timeout=5,
               life=bytes(16)):  # fmt: skip
    return await client.connect(
        "127.0.0.1", listening.port, identity=who, psk=psk, role=types.ROLE_RECORDS, pins=pins,
        tofu_path=tmp_path / "known", hello=Hello(uuid, "branch1", b"e" * 16, 7, life), timeout=timeout,
    )  # fmt: skip


async def test_both_ends_talk_and_part_with_a_word(tmp_path):
    async with central() as listening:
        link, welcome = await call(listening, tmp_path)
        assert welcome == b"hello branch1"
        (peer,) = listening.peers
        assert (peer.name, peer.key, peer.sensor_uuid, peer.hello.next_seq) == ("branch1", SENSOR.public, b"u" * 16, 7)
        for size in (0, 1, 65536, 1_000_000):
            await link.send(20, bytes(size))
            assert await anext(link) == (20, bytes(size) + b"!")
        await listening.close()
        with pytest.raises(StopAsyncIteration, match=r"\Ashutdown\Z"):
            await anext(link)
        await link.close("too")


async def test_who_does_not_come_in(tmp_path, caplog):
    async def never(uuid, key):
        return False

    for options, caller, word in (
        ({"psks": (OTHER,)}, {}, "password"),
        ({"auth": "key"}, {}, "unknown_key"),
        ({"bind_key": never}, {}, "key_conflict"),
        ({"role": types.ROLE_PACKETS}, {}, "role"),
        ({"require_knock": True}, {"pins": ()}, "no_knock"),
        ({}, {"who": CENTRAL}, "self"),
    ):
        caplog.clear()
        async with central(**options) as listening:
            with pytest.raises(LinkError) as error:
                await call(listening, tmp_path, **caller)
            assert listening.counters[f"refused_{word}"] == 1
            assert not listening.peers
        assert "closed the connection" in str(error.value)
        assert f"link refused ({word}) from 127.0.0.1" in caplog.text


async def test_a_listed_key_comes_in_under_its_listed_name(tmp_path):
    async with central(auth="key", allowed={SENSOR.public: "lisbon"}, require_knock=True) as listening:
        link, welcome = await call(listening, tmp_path)
        assert welcome == b"hello lisbon"
        await link.close("done")


async def test_another_server_behind_the_address_gets_nothing(tmp_path):
    async with central() as listening:
        with pytest.raises(LinkError, match="not the pinned one"):
            await call(listening, tmp_path, pins=(SENSOR.public,))


async def test_a_key_learnt_at_the_first_connection_must_stay(tmp_path, caplog):
    async with central() as listening:
        link, _ = await call(listening, tmp_path, pins=())
        await link.close("done")
        assert "its key is trusted from now on, fingerprint" in caplog.text
        learnt = (tmp_path / "known").read_text()
        link, _ = await call(listening, tmp_path, pins=())
        await link.close("done")
        assert (tmp_path / "known").read_text() == learnt
        other = client.keys.encode(SENSOR.public)
        (tmp_path / "known").write_text(f"127.0.0.1:{listening.port} {other}\n")
        with pytest.raises(LinkError, match="another key than at the first connection; if that is meant, remove"):
            await call(listening, tmp_path, pins=())


async def test_the_password_of_another_fleet_is_not_learnt_from(tmp_path):
    async with central(psks=(OTHER,)) as listening:
        with pytest.raises(LinkError):
            await call(listening, tmp_path, pins=())
        assert not (tmp_path / "known").exists()


async def test_the_newest_connection_of_a_sensor_replaces_the_older(tmp_path):
    async with central() as listening:
        old, _ = await call(listening, tmp_path)
        new, _ = await call(listening, tmp_path)
        with pytest.raises(LinkClosed):
            await anext(old)
        await new.send(20, b"x")
        assert await anext(new) == (20, b"x!")
        other, _ = await call(listening, tmp_path, uuid=b"v" * 16, who=identity())
        await new.send(20, b"y")
        assert await anext(new) == (20, b"y!")
        for link in (old, new, other):
            await link.close("done")


async def test_silence_and_noise_on_the_port_cost_nothing_and_end(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "M1_SECONDS", 0.2)
    async with central() as listening:
        for sent in (b"", b"x" * 10, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".ljust(200), bytes(80), os.urandom(5000)):
            reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
            writer.write(sent)
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 3) == b""
            writer.close()
        link, _ = await call(listening, tmp_path)
        await link.close("done")


async def test_a_caller_of_another_version_is_told(tmp_path, monkeypatch):
    async with central() as listening:
        first = handshake.Client.first

        def older(self):
            message = first(self)
            return message[:6] + bytes((9, 9)) + message[8:]

        monkeypatch.setattr(handshake.Client, "first", older)
        with pytest.raises(LinkError, match="speaks versions 1-1 of the link"):
            await call(listening, tmp_path)


async def test_a_flood_of_silent_connections_keeps_nobody_out(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "PLACES", 3)
    async with central() as listening:
        waiting = [await asyncio.open_connection("127.0.0.1", listening.port) for _ in range(5)]
        for reader, _ in waiting[:2]:
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 2) == b""
        link, _ = await call(listening, tmp_path)
        await link.close("done")
        assert listening.counters["evicted"] >= 2
        for _, each in waiting:
            each.close()


async def test_callers_that_stop_after_the_first_message_do_not_keep_out_who_was_here_before(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "PLACES", 2)
    async with central() as listening:
        link, _ = await call(listening, tmp_path)
        await link.close("done")
        held = []
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", listening.port)
            writer.write(handshake.Client(SENSOR, PSK, 1, (CENTRAL.public,)).first())
            held.append(writer)
        link, _ = await call(listening, tmp_path)
        await link.close("done")
        for writer in held:
            writer.close()


async def test_who_fails_often_is_served_slowly_and_others_at_the_same_address_still_are(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "FAILURES", (2, 1.0))
    monkeypatch.setattr(server, "GREY", 1)
    monkeypatch.setattr(server, "REFUSAL_DELAY", 0.0)
    async with central() as listening:
        for _ in range(3):
            with pytest.raises(LinkError):
                await call(listening, tmp_path, psk=OTHER)
        _, lane = await asyncio.open_connection("127.0.0.1", listening.port)
        lane.write(handshake.Client(SENSOR, OTHER, 1, (CENTRAL.public,)).first())
        await asyncio.sleep(0.1)
        with pytest.raises(LinkError):
            await call(listening, tmp_path)
        assert listening.counters["refused_grey"] == 1
        lane.close()
        await asyncio.sleep(0.1)
        link, _ = await call(listening, tmp_path)
        await link.close("done")


async def test_tries_without_the_key_are_so_many_a_minute(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "FIRSTS", (2, 1.0))
    async with central() as listening:
        for _ in range(2):
            link, _ = await call(listening, tmp_path, pins=())
            await link.close("done")
            (tmp_path / "known").unlink()
        with pytest.raises(LinkError):
            await call(listening, tmp_path, pins=())
        assert listening.counters["refused_rate"] == 1
        link, _ = await call(listening, tmp_path)
        await link.close("done")


async def test_a_key_that_connects_all_the_time_is_slowed(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "ENTRIES", (2, 1.0))
    async with central() as listening:
        for _ in range(2):
            link, _ = await call(listening, tmp_path)
            await link.close("done")
        with pytest.raises(LinkError):
            await call(listening, tmp_path)
        link, _ = await call(listening, tmp_path, uuid=b"v" * 16)
        await link.close("done")


async def test_two_copies_of_one_sensor_are_told(tmp_path, caplog):
    told = []
    async with central(audit=lambda event, **fields: told.append((event, fields.get("reason")))) as listening:
        for life in (b"a", b"a", b"b", b"b", b"c"):  # restarts
            link, _ = await call(listening, tmp_path, life=life * 16)
            await link.close("done")
        assert listening.counters["flapping"] == 0
        for life in (b"a", b"c"):
            link, _ = await call(listening, tmp_path, life=life * 16)
            await link.close("done")
        assert listening.counters["flapping"] == 2
        assert "branch1: two processes connect by turns" in caplog.text
        assert told.count(("link_open", None)) == 7 and told.count(("link_flapping", "flapping")) == 1


@pytest.mark.parametrize(("client_speaks", "server_speaks", "spoken"), [
    ((1, 2), (1, 1), 1), ((1, 1), (1, 2), 1), ((1, 2), (1, 2), 2), ((2, 3), (1, 2), 2), ((2, 2), (1, 1), 0),
    ((1, 1), (2, 3), 0),
])  # fmt: skip
def test_releases_that_follow_each_other_speak_what_both_know(client_speaks, server_speaks, spoken):
    one = handshake.Client(SENSOR, PSK, 1, (CENTRAL.public,), versions=client_speaks)
    two = handshake.Server((CENTRAL,), versions=server_speaks)
    if not spoken:
        with pytest.raises(handshake.HandshakeError) as error:
            two.first(one.first())
        assert error.value.word == "version"
        assert two.hint()[4:7] == bytes((1, *server_speaks))
        return
    two.first(one.first())
    one.second(two.second(0))
    assert (one.version, two.version) == (spoken, spoken)


async def test_a_receiver_in_a_rotation_of_its_key_is_found_with_either(tmp_path):
    """Pins of two keys, of which the receiver knows one: it ignores the knock with the other."""
    async with central(require_knock=True) as listening:
        for pins in ((SENSOR.public, CENTRAL.public), (CENTRAL.public, SENSOR.public)):
            link, _ = await call(listening, tmp_path, pins=pins)
            await link.close("done")
        with pytest.raises(LinkError, match="answers only those that know its key"):
            await call(listening, tmp_path, pins=(SENSOR.public, identity().public))


async def test_the_same_refusal_is_logged_once(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    async with central(psks=(OTHER,)) as listening:
        for _ in range(3):
            with pytest.raises(LinkError):
                await call(listening, tmp_path)
        assert listening.counters["refused_password"] == 3
    assert caplog.text.count("link refused (password)") == 1


async def test_a_silent_peer_is_a_dead_one_and_pings_keep_a_live_one(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "DEAD_SECONDS", 0.5)
    monkeypatch.setattr(session, "PING_SECONDS", 0.1)
    monkeypatch.setattr(session, "REKEY_PINGS", 2)
    async with central() as listening:
        link, _ = await call(listening, tmp_path)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(link), 1.5)  # only pings and pongs: nothing for us, but alive
        await link.send(20, b"x")
        assert await anext(link) == (20, b"x!")
        link._pings.cancel()

        async def mute(kind, body=b""):
            await asyncio.sleep(10)

        monkeypatch.setattr(listening._sessions[b"u" * 16, SENSOR.public, 1], "send", mute)
        listening._sessions[b"u" * 16, SENSOR.public, 1]._pings.cancel()
        with pytest.raises(LinkClosed, match=r"nothing heard for 0\.5 s"):
            await anext(link)
        link.abort()


async def test_a_cut_connection_is_not_an_orderly_end(tmp_path):
    async def cut(link, peer):
        link.abort()
        await asyncio.sleep(1)

    async with central(cut) as listening:
        link, _ = await call(listening, tmp_path)
        with pytest.raises(LinkClosed):
            await anext(link)
        link.abort()


async def test_sentences_of_the_network(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        policy = server.Policy("password", {}, False, yes)
        second = server.LinkServer((CENTRAL,), (PSK,), policy=policy, welcome=None, on_session=None)
        with pytest.raises(VoipfleetError, match="the port is taken; stop what listens there"):
            await second.start("127.0.0.1", port)
        with pytest.raises(VoipfleetError, match="does not have that address"):
            await second.start("192.0.2.1", port)

        class At:
            pass

        At.port = port
        with pytest.raises(LinkError, match=r"no answer in 0.3 s; check the address"):
            await call(At, tmp_path, timeout=0.3)
    with pytest.raises(LinkError, match="nothing listens there"):
        await call(At, tmp_path)


def test_delays_grow_to_their_bound_and_are_spread():
    delays = list(itertools.islice(client.backoff(), 400))
    assert all(0.05 <= delay <= 30 for delay in delays)
    assert max(delays[:3]) <= 0.8
    assert 10 < sum(delays[20:]) / 380 < 20
