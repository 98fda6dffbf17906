"""What the service manager is told."""

import asyncio
import socket

import pytest
from voipfleet import systemd


@pytest.fixture
def told(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield manager


def test_a_start_that_takes_long_asks_for_more_time_and_one_that_does_not_is_silent(told):
    async def work(seconds):
        await asyncio.sleep(seconds)
        return seconds

    assert asyncio.run(systemd.patiently(work(0), every=5)) == 0
    with pytest.raises(BlockingIOError):
        told.recv(100)
    assert asyncio.run(systemd.patiently(work(0.2), every=0.05)) == 0.2
    assert told.recv(100) == b"EXTEND_TIMEOUT_USEC=60000000"


def test_what_ends_the_work_is_raised(told):
    async def fails():
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        asyncio.run(systemd.patiently(fails(), every=5))


def test_the_watchdog_hears_of_it_only_while_all_is_well(told, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    well = iter([True, False])

    async def feed():
        with pytest.raises(RuntimeError):  # the answers have run out
            await systemd.feed_watchdog(lambda: next(well))

    asyncio.run(feed())
    assert told.recv(100) == b"WATCHDOG=1"
    with pytest.raises(BlockingIOError):
        told.recv(100)
