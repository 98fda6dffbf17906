"""The little of systemd's protocols that a daemon needs: sd_notify and journal priorities."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

from voipfleet.harmless import harmless

T = TypeVar("T")
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def notify(state: str) -> None:
    """Tell the service manager (`READY=1`, `STOPPING=1`, `WATCHDOG=1`, `STATUS=...`); nothing without one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.sendto(state.encode(), address)


async def patiently(work: Awaitable[T], every: float = 10.0) -> T:
    """The result of work that may take longer than the service manager gives a start, which it is told meanwhile."""
    task = asyncio.ensure_future(work)
    while not (await asyncio.wait({task}, timeout=every))[0]:
        notify("EXTEND_TIMEOUT_USEC=60000000")
    return task.result()


def watchdog_seconds() -> float | None:
    """How often the service manager wants to hear from us, or None."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    return int(usec) / 1e6 if usec.isdecimal() and int(usec) else None


async def feed_watchdog(well: Callable[[], bool]) -> None:
    """Tell the service manager that all is well, while it is, for ever."""
    every = watchdog_seconds()
    while True:
        await asyncio.sleep((every or 60.0) / 3)
        if well():
            notify("WATCHDOG=1")


class _Format(logging.Formatter):
    def __init__(self, journal: bool):
        super().__init__("%(message)s" if journal else "%(asctime)s %(levelname)s %(message)s")
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        # What comes from the network may stand in a message: one record is one line, without control characters.
        text = harmless(super().format(record))
        return f"<{_PRIORITY.get(record.levelno, 6)}>{text}" if self._journal else text


def log_to_stderr() -> None:
    """All logging to standard error; with priorities where that is the journal."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Format(journal="JOURNAL_STREAM" in os.environ))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
