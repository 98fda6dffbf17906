"""A list of receivers: the first that answers gets everything, and the wanted one again once it is back."""

import asyncio
import contextlib
import os
from types import SimpleNamespace

import msgspec
import pytest
from support.lines import board, client_line
from voipfleet import uplink
from voipfleet.link import client, keys, server, types
from voipfleet.link.keys import Identity
from voipfleet.link.noise import public_key
from voipfleet.records.messages import Status, Welcome
from voipfleet.relay.buffer import PacketBuffer
from voipfleet.relay.codec import dropped
from voipfleet.relay.messages import Origin
from voipfleet.relay.receive import Receiver
from voipfleet.relay.send import Totals, send_blocks

PSK, SOURCE = b"p" * 32, b"s" * 16


def identity() -> Identity:
    private = os.urandom(32)
    return Identity(private, public_key(private))


RECEIVERS, SENSOR = identity(), identity()


class Sink:
    """Keeps what comes, safe at once."""

    def __init__(self, taken: list):
        self.taken = taken

    async def put(self, source, origin, packets, body):
        self.taken.append(origin.number)
        safe = asyncio.get_running_loop().create_future()
        safe.set_result(None)
        return safe

    async def lost(self, source, name, packets): ...

    async def heard(self, source, heard): ...


@contextlib.asynccontextmanager
async def receiver(host: str, port: int, receiving: Receiver):
    async def yes(uuid, key):
        return True

    async def welcome(peer):
        stream = receiving.expect(peer.sensor_uuid, peer.hello.spool_epoch, peer.hello.next_seq)
        return msgspec.msgpack.encode(Welcome(b"", b"r" * 16, host, stream.epoch, stream.safe))

    async def serve(session, peer):
        with board().server(session, peer) as line:
            await receiving.serve(session, peer.sensor_uuid, peer.name, line)

    listening = server.LinkServer((RECEIVERS,), (PSK,), policy=server.Policy("password", {}, False, yes),
                                  welcome=welcome, on_session=serve,
                                  roles=frozenset({types.ROLE_PACKETS}))  # fmt: skip
    await listening.start(host, port)
    try:
        yield listening.port
    finally:
        await listening.close()


def test_a_connection_is_made_anew_before_the_old_one_ends(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(uplink, "RENEW", 0.2)
    taken: list[int] = []
    receiving = Receiver(b"r" * 16, Sink(taken))

    async def main():
        buffer = await PacketBuffer.open(tmp_path / "buffer", memory=1 << 20, disk=1 << 20)
        config = SimpleNamespace(server_key=(keys.encode(RECEIVERS.public),), spooldir=str(tmp_path))

        async def serve(session, welcome):
            await send_blocks(session, welcome, buffer, status=lambda: Status("s1", 0, "", "", "", 0, {}),
                              heard=lambda number: [], totals=Totals(), line=client_line(session))  # fmt: skip

        async with receiver("127.0.0.1", 0, receiving) as port:
            link = uplink.Uplink(
                config, SENSOR, PSK, role=types.ROLE_PACKETS, hosts=("127.0.0.1",), port=port, serve=serve,
                hello=lambda: client.Hello(SOURCE, "s1", buffer.epoch, buffer.through + 1),
            )  # fmt: skip
            running, count, states = asyncio.create_task(link.run()), 0, set()
            async with asyncio.timeout(20):
                while link.connections < 4 or buffer.through < count:
                    count += 1
                    buffer.put(Origin("s1", [SOURCE], b"e" * 16, count), 1, dropped(1))
                    states.add(link.state)
                    await asyncio.sleep(0.01)
            await link.close()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await buffer.close()
        assert sorted(taken) == list(range(1, count + 1))
        assert states == {"connecting", "connected"} and not caplog.text

    asyncio.run(main())


@pytest.mark.parametrize("first_is_up_at_the_start", [True, False])
def test_blocks_go_to_the_next_host_and_back_each_once(tmp_path, monkeypatch, first_is_up_at_the_start):
    """B14."""
    monkeypatch.setattr(uplink, "FAIL_BACK", 0.3)
    taken = {"127.0.0.1": [], "127.0.0.2": []}
    at = {host: Receiver(host.encode().ljust(16), Sink(numbers)) for host, numbers in taken.items()}

    async def until(condition):
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.02)

    async def main():
        buffer = await PacketBuffer.open(tmp_path / "buffer", memory=1 << 20, disk=1 << 20)
        config = SimpleNamespace(server_key=(keys.encode(RECEIVERS.public),), spooldir=str(tmp_path))
        count = 0

        def put() -> int:
            nonlocal count
            count += 1
            buffer.put(Origin("s1", [SOURCE], b"e" * 16, count), 1, dropped(1))
            return count

        async def serve(session, welcome):
            await send_blocks(session, welcome, buffer, status=lambda: Status("s1", 0, "", "", "", 0, {}),
                              heard=lambda number: [], totals=Totals(), line=client_line(session))  # fmt: skip

        async with receiver("127.0.0.2", 0, at["127.0.0.2"]) as port:
            link = uplink.Uplink(
                config, SENSOR, PSK, role=types.ROLE_PACKETS, hosts=("127.0.0.1", "127.0.0.2"), port=port, serve=serve,
                hello=lambda: client.Hello(SOURCE, "s1", buffer.epoch, buffer.through + 1),
            )  # fmt: skip
            first = receiver("127.0.0.1", port, at["127.0.0.1"])
            async with first if first_is_up_at_the_start else contextlib.nullcontext():
                running = asyncio.create_task(link.run())
                if first_is_up_at_the_start:
                    number = put()
                    await until(lambda: buffer.through == number)
                    assert taken["127.0.0.1"] == [1]
            for _ in range(5):
                number = put()
            await until(lambda: buffer.through == number and link.peer == "127.0.0.2")
            async with receiver("127.0.0.1", port, at["127.0.0.1"]):
                await until(lambda: link.state == "connected" and link.peer == "127.0.0.1")
                for _ in range(5):
                    number = put()
                await until(lambda: buffer.through == number)
            await link.close()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await buffer.close()
        numbers = taken["127.0.0.1"] + taken["127.0.0.2"]
        assert sorted(numbers) == list(range(1, count + 1))
        assert taken["127.0.0.2"] and taken["127.0.0.1"][-5:] == list(range(count - 4, count + 1))

    asyncio.run(main())
