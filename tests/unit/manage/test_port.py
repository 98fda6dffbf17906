"""The manager's port: listed keys ask over a real link, others do not come in."""

import contextlib
import os
from types import SimpleNamespace

import pytest
from support.instances import Instance, Pool
from voipfleet.asking import messages
from voipfleet.asking.asker import Asker
from voipfleet.asking.messages import Ask, Data
from voipfleet.asking.remote import ask_at
from voipfleet.errors import ConfigError, VoipfleetError
from voipfleet.link import client, keys, types
from voipfleet.manage import port

ONE = b"1" * 16
PASSWORD = "a password that is long"


@contextlib.asynccontextmanager
async def instance(tmp_path, *allowed, **more):
    """An instance whose manager's port listens; `allowed` are public keys. Gives it, its key and its port."""
    keys.generate(tmp_path / "node.key")
    identity = keys.load_all(tmp_path / "node.key")
    one = Instance(ONE, "one", pool=Pool({ONE: 5}))
    named = tuple(f"ops{number}:{keys.encode(public)}" for number, public in enumerate(allowed))
    vars(one.config).update(auth="password", require_knock=False, sensor_keys=None, manager_keys=named,
                            manager_ip="127.0.0.1", manager_port=0)  # fmt: skip
    listening = port.listener(one, identity, (keys.psk_from_password(PASSWORD, "default"),))
    await listening.start()
    try:
        yield one, identity[0].public, listening._server.port
    finally:
        await listening.close()


def caller(folder):
    """The configuration of a host that asks, and its public key."""
    folder.mkdir()
    keys.generate(folder / "node.key")
    config = SimpleNamespace(key_file=folder / "node.key", server_key=(), spooldir=folder, name_sensor="ops",
                             fleet_id="default", server_password=PASSWORD, server_psk=None, server_passwords=None,
                             server_password_file=None, where="")  # fmt: skip
    return config, keys.load_all(folder / "node.key")[0].public


async def test_a_listed_key_asks_and_is_named_as_it_is_listed(tmp_path):
    config, public = caller(tmp_path / "ops")
    async with instance(tmp_path, public) as (one, key, at):
        said = await ask_at(config, "127.0.0.1", at, "version", {}, keys.encode(key))
        assert said["name"] == "one"
        assert (await ask_at(config, "127.0.0.1", at, "pool", {}, keys.encode(key)))["bytes"] == 5
        for command in ("fetch", "erase", "find", "ctl", "sh"):
            with pytest.raises(VoipfleetError, match="not a command; known are active, call, filter"):
                await ask_at(config, "127.0.0.1", at, command, {"uuid": ONE.hex()}, keys.encode(key))
        with pytest.raises(VoipfleetError, match="level: is not one of"):
            await ask_at(config, "127.0.0.1", at, "loglevel", {"level": "x"}, keys.encode(key))
        assert ("loglevel", {"who": "ops0", "result": "failed"}) in one.audit
        assert not one.pool.done


async def test_other_keys_do_not_come_in_though_they_know_the_password(tmp_path):
    config, _ = caller(tmp_path / "ops")
    async with instance(tmp_path, b"k" * 32) as (one, key, at):
        with pytest.raises(VoipfleetError, match="closed the connection instead of saying welcome"):
            await ask_at(config, "127.0.0.1", at, "version", {}, keys.encode(key))
        assert one.audit[0][0] == "link_refused" and one.audit[0][1]["reason"] == "unknown_key"


async def test_a_host_with_another_key_than_the_pinned_one_is_told_nothing(tmp_path):
    config, public = caller(tmp_path / "ops")
    async with instance(tmp_path, public) as (_, _, at):
        with pytest.raises(VoipfleetError, match="not the pinned one"):
            await ask_at(config, "127.0.0.1", at, "version", {}, keys.encode(public))


async def test_it_answers_for_its_own_host_only_and_garbage_ends_the_session(tmp_path, caplog):
    config, public = caller(tmp_path / "ops")
    async with instance(tmp_path, public) as (_, key, at):

        async def connect():
            session, _ = await client.connect(
                "127.0.0.1", at, identity=keys.load_all(config.key_file)[0],
                psk=keys.psk_from_password(PASSWORD, "default"), role=types.ROLE_MANAGER, pins=(key,), timeout=5,
                tofu_path=tmp_path / "known", hello=client.Hello(os.urandom(16), "ops", bytes(16), 0),
            )  # fmt: skip
            return session

        session = await connect()
        await session.send(types.ASK, messages.encode(Ask(1, b"2" * 16, "version", b"{}", "root")))
        asker = Asker(session, "one")
        assert await anext(session) == (types.DATA, messages.encode(Data(1, b"")))  # it has begun
        kind, body = await anext(session)
        assert kind == types.END and b"answers for its own host only" in body
        assert asker.take(kind, body)
        for _ in range(3):
            await session.send(types.BATCH, b"")  # not for a manager: passed over
        await session.send(types.ASK, b"\xc1")
        with pytest.raises((StopAsyncIteration, EOFError)):
            await anext(session)
        await session.close("done")
    assert caplog.text.count("ops0 sent a frame of type 16, which is not for a manager; ignored") == 1


async def test_few_sessions_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(port, "SESSIONS", 0)
    config, public = caller(tmp_path / "ops")
    async with instance(tmp_path, public) as (_, key, at):
        with pytest.raises(VoipfleetError):
            await ask_at(config, "127.0.0.1", at, "version", {}, keys.encode(key))


def test_a_key_that_is_none_is_named():
    with pytest.raises(ConfigError, match="manager_keys: 'nonsense' is no public key"):
        keys.parse_named(("ops:nonsense",), "manager_keys")
