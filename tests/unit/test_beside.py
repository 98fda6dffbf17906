"""What gets stuck in the system is waited for so long, and no longer."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest
from voipfleet.beside import Beside


async def test_what_it_gives_and_raises():
    beside = Beside("x", 2)
    assert await beside.call(5, lambda a, b: a + b, 1, 2) == 3
    with pytest.raises(KeyError):
        await beside.call(5, {}.__getitem__, "x")
    assert await beside.call(5, threading.active_count) >= 2


async def test_so_many_get_stuck_and_no_more_and_they_come_back():
    beside, go = Beside("x", 2), threading.Event()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await beside.call(0.05, go.wait, 10)
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        await beside.call(5, int)
    assert time.monotonic() - begun < 1
    go.set()
    async with asyncio.timeout(5):
        while True:
            try:
                assert await beside.call(5, int) == 0
                break
            except TimeoutError:
                await asyncio.sleep(0.01)


STUCK = """
import asyncio, contextlib, time
from voipfleet.beside import Beside
async def main():
    with contextlib.suppress(TimeoutError):
        await Beside("x", 1).call(0.1, time.sleep, 60)
asyncio.run(main())
"""


def test_the_process_ends_without_it():
    subprocess.run([sys.executable, "-c", STUCK], check=True, timeout=20)


CAPABILITIES = """
import asyncio
from voipfleet.beside import Beside
def mine():
    with open("/proc/thread-self/status") as file:
        return next(line.split()[1] for line in file if line.startswith("CapPrm"))
print(asyncio.run(Beside("x", 1).call(5, mine)))
"""


def test_it_has_no_capabilities():
    """It may begin before the process gives its own up, and those are given up thread by thread."""
    done = subprocess.run([sys.executable, "-c", CAPABILITIES], check=True, timeout=20, capture_output=True, text=True)
    assert int(done.stdout, 16) == 0
