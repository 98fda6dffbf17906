"""A session over which one end asks and the other answers, both being read."""

import asyncio
import contextlib

from support.wires import pair
from voipfleet.asking.answerer import Answerer
from voipfleet.asking.asker import Asker


@contextlib.asynccontextmanager
async def session(run, *, busy=lambda: False, other=None):
    """(asker, answerer, near end, far end) with both ends being read; `other` gets frames that are not of asking."""
    near, far = pair()
    asker, answerer = Asker(near, "branch1"), Answerer(far, run, busy=busy)

    async def read_near():
        async for kind, body in near:
            if not asker.take(kind, body):
                other(kind, body)
        asker.ended()

    async def read_far():
        async for kind, body in far:
            if not await answerer.take(kind, body):
                other(kind, body)

    tasks = [asyncio.create_task(read_near()), asyncio.create_task(read_far())]
    try:
        yield asker, answerer, near, far
    finally:
        await answerer.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
