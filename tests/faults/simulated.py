"""A sensor without packets: the daemon's own outbox, spool and uplink in a thread of the test, fed with made-up calls.

What a record is worth is the same as in a daemon: it exists once its commit in the outbox has returned. So hundreds of
records a second cost next to nothing, and a test knows every one of them by its uuid.
"""

import asyncio
import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from support import netns
from support import records as made_up
from support.lines import refuse
from voipfleet.asking.switchboard import Switchboard
from voipfleet.calls import record
from voipfleet.link import keys
from voipfleet.records.messages import CALL, Status
from voipfleet.records.salvage import open_outbox
from voipfleet.records.spool import Spool
from voipfleet.records.tables import OutboxState
from voipfleet.records_uplink import records_uplink

_numbers = itertools.count(1)


class Sensor:
    """`made` are the uuids of its records in the order in which they were put. Use it as a context or `start`, `stop`.

    `namespace`: where its sockets are. `outbox`: arguments of the outbox. `pin`: the central's public key.
    """

    def __init__(self, folder: Path, namespace: str, psk: bytes, *, port: int, name: str, pin: str, **outbox):
        self.folder, self.name, self.made = folder, name, []
        self._namespace, self._psk, self._outbox = namespace, psk, outbox
        folder.mkdir(parents=True, exist_ok=True)
        keys.generate(folder / "node.key")
        self.identity = keys.load_all(folder / "node.key")[0]
        self.config = SimpleNamespace(server_key=(pin,), spooldir=folder, server_destination=("127.0.0.1",),
                                      server_destination_port=port)  # fmt: skip
        self.uplink = self.spool = None
        self.answers = refuse  # what it does when it is asked, as asking.switchboard.Switchboard has it
        self._thread: threading.Thread | None = None

    def start(self) -> "Sensor":
        self._ready, self._fault = threading.Event(), None
        self._thread = threading.Thread(target=self._main, name=self.name, daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._fault:
            raise self._fault
        return self

    def stop(self) -> None:
        """Orderly: what was put is committed, the link is closed with a reason."""
        if self._thread and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._thread = None

    __enter__ = start

    def __exit__(self, *_) -> None:
        self.stop()

    # -- what a test does with it --------------------------------------------------------------------

    def put(self, count: int, **fields) -> list[bytes]:
        """`count` calls that have just ended; their uuids."""
        calls = [a_call(self.name, **fields) for _ in range(count)]
        self.put_bodies([(call.uuid, record.encode(call)) for call in calls])
        return [call.uuid for call in calls]

    def put_bodies(self, bodies: list[tuple[bytes, bytes]]) -> None:
        """(uuid, what is sent as a call) pairs."""
        self._loop.call_soon_threadsafe(lambda: [self.spool.put(uuid, 1, CALL, body) for uuid, body in bodies])
        self.made += [uuid for uuid, _ in bodies]

    def load(self, rate: float) -> "Load":
        """A context in which `rate` calls/s end here."""
        return Load(self, rate)

    @property
    def state(self) -> OutboxState:
        return self.spool.state

    @property
    def connected(self) -> bool:
        return self.uplink.state == "connected"

    def until(self, condition, seconds: float = 30) -> float:
        """Wait until `condition(self)`; the seconds that it took."""
        start = time.monotonic()
        while not condition(self):
            assert self._thread.is_alive(), "the simulated sensor ended"
            assert time.monotonic() - start < seconds, f"{self.name}: {self.state}, {self.uplink.report()}"
            time.sleep(0.02)
        return time.monotonic() - start

    def drained(self, seconds: float = 60) -> float:
        """Wait until all that was put is acknowledged; the seconds that it took."""
        return self.until(
            lambda self: self.state.created >= len(self.made) and not self.state.queued and not self.spool.pending(),
            seconds,
        )

    # -- inside the thread ---------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            netns.enter(self._namespace)
            asyncio.run(self._live())
        except Exception as error:
            self._fault = error
            self._ready.set()
            raise

    async def _live(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_default_executor(ThreadPoolExecutor(2))
        self.spool = Spool(open_outbox(self.folder / "outbox.db", **self._outbox))
        self.spool.pending = lambda: len(self.spool._pending)
        board = Switchboard(self.spool.sensor_uuid, self.name, lambda *asked: self.answers(*asked), lambda *_: None)
        self.uplink = records_uplink(self.config, self.identity, self._psk, spool=self.spool, name=self.name,
                                     status=self._status, board=board)  # fmt: skip
        work = [asyncio.create_task(self.spool.run()), asyncio.create_task(self.uplink.run())]
        self._ready.set()
        stop = asyncio.create_task(self._stop.wait())
        done, _ = await asyncio.wait([stop, *work], return_when=asyncio.FIRST_COMPLETED)
        await self.uplink.close()
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await self.spool.close()
        for task in done - {stop}:
            task.result()

    def _status(self) -> Status:
        return Status(self.name, 0, "0", "client", "", 0, {})


class Load:
    """See Sensor.load."""

    def __init__(self, sensor: Sensor, rate: float):
        self._sensor, self._rate = sensor, rate
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        start, done = time.monotonic(), 0
        while not self._end.wait(0.05):
            due = int((time.monotonic() - start) * self._rate) - done
            self._sensor.put(due)
            done += due

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._end.set()
        self._thread.join()


def a_call(sensor: str, **fields) -> record.CallRecord:
    """A call of two streams with a Call-ID of its own."""
    number = next(_numbers)
    streams = [record.StreamRecord(direction=side, src=f"10.0.{number >> 8 & 255}.{number & 255}:{port}",
                                   dst=f"10.9.0.1:{port}", ssrc=number, expected=900, received=899, lost=1, mos=4.3)
               for side, port in (("caller", 10_000), ("callee", 10_002))]  # fmt: skip
    now = time.time_ns()
    own = {"call_id": f"{os.urandom(8).hex()}@{sensor}", "sensor": sensor, "caller": str(number), "streams": streams,
           "setup_time": now - 10**10, "end_time": now, "duration": 10.0}  # fmt: skip
    return made_up.call(**(own | fields))
