"""How tasks end: cut off, or not before they are done."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")
_going: set[asyncio.Task] = set()  # a task that nobody knows may be collected while it works


async def end_all(*tasks: asyncio.Future) -> None:
    """Cancels them; none works any more when this returns. What ended them is not raised."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def to_its_end(work: Coroutine[None, None, T]) -> T:
    """What comes of `work`, which goes on where whoever waits for it here is cancelled."""
    task = asyncio.create_task(work)
    _going.add(task)
    task.add_done_callback(_going.discard)
    return await asyncio.shield(task)
