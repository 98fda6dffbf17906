"""The courier: the daemon's main process. It wires the parts that the configuration asks for.

    engine process -> records -> outbox -> central over the link, or the store of this instance
    engine process -> packets -> buffer -> mirror receiver or central over the link
    sensors -> link server -> records into the store; packets to the engine process, or into the buffer

Nothing here may make the engine wait: it runs in its own process and is only listened to.
"""

import asyncio
import contextlib
import functools
import itertools
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from voipfleet import __version__, connections, keeping, memory, privileges, report, systemd
from voipfleet.asking.switchboard import Switchboard
from voipfleet.audit import Audit, digest
from voipfleet.config import Config
from voipfleet.duties import duties, mode
from voipfleet.engine_process import EngineProcess
from voipfleet.errors import VoipfleetError
from voipfleet.manage import packets, settings, table
from voipfleet.manage.begun import Begun
from voipfleet.manage.later import Later
from voipfleet.manage.local import Manager
from voipfleet.metrics.counting import Counting
from voipfleet.records.intake import Intake
from voipfleet.records.messages import MAX_COUNTERS, MAX_TEXT, Status
from voipfleet.records.salvage import open_outbox
from voipfleet.records.spool import Opening, Spool
from voipfleet.room import Room
from voipfleet.tasks import end_all

log = logging.getLogger("voipfleet")
ENGINE_SILENT = 10.0  # seconds without a word from the engine before the watchdog is no longer fed
LAST_DELIVERY = 3.0  # seconds to deliver what is left at shutdown; the rest waits in the outbox
STOP_BY = 8.5  # seconds after SIGTERM when delivery ends in any case; what is closed then takes no second


class Service:
    """One instance. `run()` returns the exit code."""

    def __init__(self, config, config_path: str):
        self.config, self.config_path = config, config_path
        self.name = config.name_sensor or socket.gethostname()
        self.started, self.ready = time.time(), False
        self.duties = duties(config)
        self.engine = self.intake = self.uplink = self.packets = self.stored = self.audit = self.room = None
        self.board: Switchboard | None = None
        self.later: Later | None = None
        self.begun: Begun | None = None
        self.pool = None  # the packets that are kept here (manage.packets says what it can)
        self.live: dict[str, Callable[[Config], Awaitable[None]]] = {}  # what applies keys that can change
        self.refusals: dict[tuple[str, str], float] = {}
        self.spool: Spool | Opening = Opening()
        self.counting = Counting(config, self._counters, lambda: report.status(self))
        self.listeners: list = []
        self.sensors: dict[tuple, dict] = {}
        self._tasks: list[asyncio.Task] = []
        self._reloading: asyncio.Task | None = None
        self._stop = asyncio.Event()

    # -- life ----------------------------------------------------------------------------------------

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        config = self.config
        manager = Manager(Path(config.control_socket), functools.partial(table.run_local, self))
        with contextlib.suppress(OSError):  # whoever opens the outbox says what is wrong
            Path(config.spooldir).mkdir(parents=True, exist_ok=True)
        try:
            await manager.start()
            if self.duties.engine:  # capture begins; what comes of it waits until the outbox is checked
                self.engine = EngineProcess(self.config_path)
                await self.engine.start()
                if config.interface and os.geteuid():  # whom root runs by hand may need root's rights for its files
                    privileges.drop_all()  # if the engine ends, so does this process: nobody opens a socket again
            await self._open_outbox()
            if self._stores:
                await self._open_store()
            await connections.open_links(self)
            keeping.open_pool(self)
            if self.engine:
                self._listen()
            self._background(self.spool.run())
            self._background(self.room.run())
            self._background(keeping.remember(self))
            self._background(systemd.feed_watchdog(self._engine_is_heard))
            self._background(self.counting.run())
            if self.packets:
                for work in self.packets.work():
                    self._background(work)
            for listener in self.listeners:  # whoever connects is served at once
                await listener.start()
            if self.stored:
                self._background(connections.remember(self))
                self._background(self.later.run(self))
                self._background(self.begun.run(functools.partial(packets.carry_out, self)))
            if self.uplink:
                self._background(self.uplink.run())
            elif self.stored:
                self._background(self.stored.take_from(self.spool, self.own_status))
            self.ready = True
            systemd.notify("READY=1")
            log.info("voipfleet %s runs as %s: %s", __version__, self.name, mode(self.config))
            return await self._until_stopped()
        finally:
            systemd.notify("STOPPING=1")
            await self._shut_down(manager)

    @property
    def _stores(self) -> bool:
        """Whether records end here."""
        return not self.config.server_destination and (self.duties.analyses or bool(self.config.server_bind))

    async def _until_stopped(self) -> int:
        waits = [asyncio.create_task(self._stop.wait())]
        if self.engine:
            waits.append(asyncio.create_task(self.engine.ended.wait()))
        done, _ = await asyncio.wait([*waits, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if self._stop.is_set():
            return 0
        for task in done.intersection(self._tasks):
            task.result()  # raises what ended it
        log.error("the capture process ended; ending too, so that the service manager starts both again")
        return 1

    async def _shut_down(self, manager: Manager) -> None:
        end = time.monotonic() + STOP_BY
        if self.begun:
            self.begun.close()

        def left() -> float:
            return max(0.1, min(LAST_DELIVERY, end - time.monotonic()))

        if self.engine:
            await self.engine.stop()  # its last records, open calls too, are put into the spool
        for listener in self.listeners:
            await listener.close()
        if self.spool:
            self.intake.end(come_again=self.duties.receives)
            await self.spool.flush()
            last = self.spool.state.next_seq - 1
            if self._tasks and (self.stored or (self.uplink and self.uplink.state == "connected")):
                try:
                    await asyncio.wait_for(self.spool.wait_acknowledged(last), left())
                except TimeoutError:
                    log.warning("%d records are not delivered yet; they wait in the outbox", self.spool.state.queued)
        if self.packets and self._tasks and not await self.packets.delivered(left()):
            log.warning("packets are not delivered yet; they wait in the buffer")
        if self.uplink:
            await self.uplink.close()
        if self.packets:
            await self.packets.close()
        await end_all(*self._tasks)
        if self.spool:
            await self.spool.close(self.room.drop_reserve)
        if self.stored:
            await self.stored.close()
        if self.pool:
            await asyncio.to_thread(self.pool.close)
        await self.counting.close()
        await manager.close()
        if self.audit:
            self.audit.write("stop")
            self.audit.close()

    def _reload(self) -> None:
        if self.ready and (self._reloading is None or self._reloading.done()):
            self._reloading = asyncio.create_task(settings.on_hangup(self))

    def _background(self, work) -> None:
        self._tasks.append(asyncio.create_task(work))

    # -- parts ---------------------------------------------------------------------------------------

    async def _open_outbox(self) -> None:
        """A check reads all of it, so it runs beside everything else."""
        folder = Path(self.config.spooldir)
        self.room = Room(folder, min_gb=self.config.autocleanmingb, min_percent=self.config.autocleanspoolminpercent)
        self.room.before_opening()
        opening = functools.partial(open_outbox, folder / "outbox.db", keep_acked_hours=self.config.keep_acked_hours)
        outbox = await systemd.patiently(asyncio.get_running_loop().run_in_executor(None, opening))
        if outbox.leftovers:
            log.warning("%d calls were up when this instance last ended without a word; they are recorded as partial",
                        outbox.leftovers)  # fmt: skip
        self.spool = Spool(outbox)
        self.spool.emergency = self.room.emergency
        self.intake = Intake(self.spool, self.name, self._clock_offset)
        self.board = Switchboard(self.spool.sensor_uuid, self.name, functools.partial(table.run_remote, self),
                                 functools.partial(connections.seen, self))  # fmt: skip
        await self.counting.start()
        self.audit = Audit(folder / "audit.log")
        self.audit.write("start", version=__version__, mode=mode(self.config), config=digest(self.config))

    async def _open_store(self) -> None:
        from voipfleet.central.store import Store, StoreUnavailable
        from voipfleet.central.stored import StoreThread
        from voipfleet.central.url import database_url

        self.stored = StoreThread(Store(database_url(self.config)), self.name)
        self.later, self.begun = Later(Path(self.config.spooldir)), Begun(Path(self.config.spooldir))
        try:
            await self.stored.prepare()
        except StoreUnavailable:
            # Who captures must capture, whatever the database does; who only stores says so and ends.
            if not self.config.interface:
                raise

    def tell_audit(self, event: str, **fields) -> None:
        """Into the audit log, once that is open."""
        if self.audit:
            self.audit.write(event, **fields)

    def _listen(self) -> None:
        self.live["filter"] = lambda config: settings.use_filter(self, config.filter or "")
        hub = self.packets.hub if self.packets else None
        self.engine.listen(
            on_record=self.intake.record, on_checkpoint=self.intake.checkpoint,
            on_packets=hub.own if hub else _nothing, on_heard=hub.own_heard if hub else _nothing,
            on_done=self._analysed)  # fmt: skip

    async def hand(self, handed) -> None:
        await self.engine.hand(handed)

    def _analysed(self, through: int) -> None:
        self.intake.analysed(through)
        if self.packets:
            self.packets.hub.analysed(through)
        else:
            self.intake.note({})

    @property
    def own_uuid(self) -> bytes:
        return self.spool.sensor_uuid

    def clock_offset_ms(self) -> float | None:
        """This host's clock minus its central's."""
        offset = 0.0 if self.stored else self._clock_offset()
        return None if offset is None else round(offset * 1000, 1)

    def _clock_offset(self) -> float | None:
        return self.uplink.clock_offset if self.uplink else None

    def _engine_is_heard(self) -> bool:
        return not self.engine or time.monotonic() - self.engine.heard < ENGINE_SILENT

    # -- what it says of itself ----------------------------------------------------------------------

    def own_status(self) -> Status:
        counters = itertools.islice((keeping.figures(self) | self._counters()).items(), MAX_COUNTERS)
        return Status(
            self.name[:MAX_TEXT], self.config.id_sensor or 0, __version__, mode(self.config),
            (self.config.site or "")[:MAX_TEXT], int(self.started * 1e9), dict(counters),
        )  # fmt: skip

    def _counters(self) -> dict[str, int]:
        return dict(self.engine.status) if self.engine else {}


def _nothing(_) -> None:
    """What this instance has no use for."""


def serve(config, config_path: str) -> int:
    """Run the instance until SIGTERM; the exit code."""

    memory.keep()
    if sys.version_info < (3, 12):  # later ones do so by themselves; the other way is a thread that keeps capabilities
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())

    async def main() -> int:
        return await Service(config, config_path).run()

    try:
        return asyncio.run(main())
    except BaseExceptionGroup as group:
        sentences = group.subgroup(VoipfleetError)
        raise (sentences or group).exceptions[0] from None
