"""Who has no business at a central's port, and who has the password and means ill."""

import asyncio
import contextlib
import os
import random
import resource
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from faults.harness import PORT
from support import netns
from voipfleet.link import client, handshake, keys, types
from voipfleet.link.handshake import Hello
from voipfleet.link.noise import public_key

IDLE, NONSENSE, FIRST = "say nothing", "say 80 random bytes", "say a first message and no more"


def an_identity() -> keys.Identity:
    private = os.urandom(32)
    return keys.Identity(private, public_key(private))


def a_first(pin: bytes) -> bytes:
    """Message 1 of somebody who knows the central's public key."""
    return handshake.Client(an_identity(), bytes(32), types.ROLE_RECORDS, (pin,)).first()


class Flood:
    """`count` connections at once to the central, made anew when they end, until the context is left.

    `source`: the address that they come from. `made` counts them.
    """

    def __init__(self, namespace: str, kind: str, pin: bytes, count: int = 2000, source: str = "127.0.0.66"):
        self._namespace, self._kind, self._pin, self._count, self._source = namespace, kind, pin, count, source
        self.made = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Flood":
        low, high = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(high, max(low, self._count + 1000)), high))
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        netns.enter(self._namespace)
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._flood())

    async def _flood(self) -> None:
        tasks = [asyncio.create_task(self._one()) for _ in range(self._count)]
        while not self._end.is_set():
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self) -> None:
        said = {IDLE: b"", NONSENSE: os.urandom(80), FIRST: a_first(self._pin)}[self._kind]
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", PORT, local_addr=(self._source, 0))
                self.made += 1
                try:
                    writer.write(said)
                    while await reader.read(4096):
                        pass
                finally:
                    writer.transport.abort()
            await asyncio.sleep(random.uniform(0, 0.5))


async def connect(fleet, *, role: int = types.ROLE_RECORDS, psk: bytes | None = None, uuid: bytes | None = None):
    """An open session with the fleet's password, of somebody who is no sensor; LinkError where it is refused."""
    with TemporaryDirectory() as folder:
        session, _ = await client.connect(
            "127.0.0.1", PORT, identity=an_identity(), psk=fleet.psk if psk is None else psk, role=role,
            pins=(fleet.public,), tofu_path=Path(folder) / "known", timeout=10,
            hello=Hello(uuid or os.urandom(16), "stranger", bytes(16), 1))  # fmt: skip
    return session


def memory(pid: int, what: str = "VmRSS") -> float:
    """MiB of a process: VmRSS, or VmHWM, the most that it ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def forget_peak(pid: int) -> None:
    """VmHWM counts from here: at its start a daemon had 64 MiB more for a moment, for its Argon2id."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def files(pid: int) -> int:
    """Open file descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
