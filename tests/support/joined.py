"""Instances that are connected as over the link: both ends of a session in memory are read."""

import asyncio
import contextlib
from types import SimpleNamespace

from support.wires import pair


@contextlib.asynccontextmanager
async def joined(sensor, receiver, *, uuid: bytes, name: str, central: bytes):
    """`sensor` and `receiver` are Switchboards; the sensor is `uuid`, called `name`, the receiver `central`. Gives the
    receiver's line."""
    near, far = pair()
    peer = SimpleNamespace(sensor_uuid=uuid, name=name, address="192.0.2.9", key=bytes(32))
    async with sensor.client(near, central) as mine:
        with receiver.server(far, peer) as theirs:

            async def read_near():
                async for kind, body in near:
                    assert await mine.take(kind, body)

            async def read_far():
                async for kind, body in far:
                    assert theirs.take(kind, body)

            tasks = [asyncio.create_task(work) for work in (read_near(), read_far(), mine.tell())]
            try:
                yield theirs
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
