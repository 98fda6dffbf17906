"""The courier: the daemon's main process. It wires the parts that the configuration asks for.

    engine process -> records -> outbox -> central over the link, or the store of this instance
    sensors -> link server -> store

Nothing here may make the engine wait: it runs in its own process and is only listened to.
"""

import asyncio
import logging
import os
import signal
import socket
import time
from pathlib import Path

from voipfleet import __version__, systemd
from voipfleet.errors import VoipfleetError
from voipfleet.manager import Manager
from voipfleet.records.messages import CALL, PROBE, Status
from voipfleet.records.outbox import Outbox
from voipfleet.records.spool import Spool

log = logging.getLogger("voipfleet")
ENGINE_SILENT = 10.0  # seconds without a word from the engine before the watchdog is no longer fed
LAST_DELIVERY = 3.0  # seconds to deliver what is left at shutdown; the rest waits in the outbox
RETRY = 2.0


class Service:
    """One instance. `run()` returns the exit code."""

    def __init__(self, config, config_path: str):
        self.config, self.config_path = config, config_path
        self.name = config.name_sensor or socket.gethostname()
        self.started = time.time()
        self.engine = self.spool = self.uplink = self.listener = self.stored = None
        self.sensors: dict[bytes, dict] = {}
        self._tasks: list[asyncio.Task] = []
        self._stop = asyncio.Event()

    # -- life ----------------------------------------------------------------------------------------

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        config = self.config
        outbox = Outbox(Path(config.spooldir) / "outbox.db", keep_acked_hours=config.keep_acked_hours)
        self.spool = Spool(outbox)
        manager = Manager(Path(config.control_socket), {"status": self._status_command, "probe": self._probe_command})
        try:
            await manager.start()
            if not config.server_destination:
                await self._open_store()
            if config.server_bind or config.server_destination:
                await self._open_link()
            if config.interface:
                await self._start_engine()
            self._background(self.spool.run())
            self._background(self._watchdog())
            if config.server_destination:
                self._background(self.uplink.run())
            else:
                self._background(self._deliver_here())
            systemd.notify("READY=1")
            log.info("voipfleet %s runs as %s: %s", __version__, self.name, self.mode())
            return await self._until_stopped()
        finally:
            systemd.notify("STOPPING=1")
            await self._shut_down(manager)

    def mode(self) -> str:
        """What this instance does, in the field's words."""
        config = self.config
        parts = ["capture"] if config.interface else []
        parts += ["central"] if config.server_bind else []
        parts += ["client"] if config.server_destination else []
        return "+".join(parts)

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
        if self.engine:
            await self.engine.stop()  # its last records, open calls too, are put into the spool
        if self.spool:
            await self.spool.flush()
            last = self.spool.state.next_seq - 1
            if self._tasks and (self.stored or self.uplink.state == "connected"):
                try:
                    await asyncio.wait_for(self.spool.wait_acknowledged(last), LAST_DELIVERY)
                except TimeoutError:
                    log.warning("%d records are not delivered yet; they wait in the outbox", self.spool.state.queued)
        if self.uplink:
            await self.uplink.close()
        if self.listener:
            await self.listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.spool:
            await self.spool.close()
        if self.stored:
            await self.stored.close()
        await manager.close()

    def _background(self, work) -> None:
        self._tasks.append(asyncio.create_task(work))

    # -- parts ---------------------------------------------------------------------------------------

    async def _open_store(self) -> None:
        from voipfleet.central.store import Store, StoreUnavailable
        from voipfleet.central.stored import StoreThread
        from voipfleet.central.url import database_url

        self.stored = StoreThread(Store(database_url(self.config)), self.name)
        try:
            await self.stored.prepare()
        except StoreUnavailable:
            # Who captures must capture, whatever the database does; who only stores says so and ends.
            if not self.config.interface:
                raise

    async def _open_link(self) -> None:
        from voipfleet.link import keys
        from voipfleet.secrets import fleet_password

        config = self.config
        identity = keys.load(Path(config.key_file))
        password = fleet_password(config)
        psk = await asyncio.to_thread(keys.psk_from_password, password, config.fleet_id)
        if config.server_destination:
            self.uplink = self._records_uplink(identity, psk)
            return
        from voipfleet.listener import Listener

        self.listener = Listener(config, identity, psk, self.stored, self.sensors)
        await self.listener.start()

    def _records_uplink(self, identity, psk: bytes):
        from voipfleet.link import client, types
        from voipfleet.records.delivery import deliver
        from voipfleet.uplink import LinkTarget, Uplink

        def hello() -> client.Hello:
            state = self.spool.state
            return client.Hello(sensor_uuid=self.spool.sensor_uuid, name=self.name, spool_epoch=state.epoch,
                                next_seq=state.next_seq)  # fmt: skip

        async def serve(session, welcome) -> None:
            await deliver(self.spool, LinkTarget(session, welcome), self._status)

        return Uplink(self.config, identity, psk, role=types.ROLE_RECORDS, hosts=self.config.server_destination,
                      port=self.config.server_destination_port, hello=hello, serve=serve)  # fmt: skip

    async def _start_engine(self) -> None:
        from voipfleet.engine_process import EngineProcess

        self.engine = EngineProcess(self.config_path, self._on_record)
        await self.engine.start()

    def _on_record(self, body: bytes) -> None:
        from voipfleet.calls import record

        call = record.decode(body)
        self.spool.put(call.uuid, call.revision, CALL, body)

    async def _deliver_here(self) -> None:
        from voipfleet.central.store import Peer, StoreUnavailable
        from voipfleet.central.stored import LocalTarget
        from voipfleet.records.delivery import deliver

        peer = Peer(sensor_uuid=self.spool.sensor_uuid, name=self.name, key="", address="local")
        while True:
            try:
                welcome = await self.stored.welcome(self.spool.sensor_uuid)
                await deliver(self.spool, LocalTarget(self.stored, peer, welcome), self._status)
            except* StoreUnavailable:
                pass  # said once, by StoreThread
            await asyncio.sleep(RETRY)

    async def _watchdog(self) -> None:
        every = systemd.watchdog_seconds()
        while True:
            await asyncio.sleep((every or 60.0) / 3)
            if not self.engine or time.monotonic() - self.engine.heard < ENGINE_SILENT:
                systemd.notify("WATCHDOG=1")

    # -- what it says of itself ----------------------------------------------------------------------

    def _status(self) -> Status:
        counters = dict(self.engine.status) if self.engine else {}
        return Status(
            self.name, self.config.id_sensor or 0, __version__, self.mode(), self.config.site or "",
            int(self.started * 1e9), counters,
        )  # fmt: skip

    async def _status_command(self, request: dict) -> dict:
        state = self.spool.state
        report = {
            "name": self.name, "version": __version__, "mode": self.mode(), "pid": os.getpid(),
            "uptime_seconds": round(time.time() - self.started, 1),
            "records": {"created": state.created, "acknowledged": state.acknowledged, "queued": state.queued,
                        "gaps": state.gaps, "not_written": self.spool.dropped, "outbox_error": self.spool.failing},
        }  # fmt: skip
        if self.engine:
            report["capture"] = {"interfaces": list(self.config.interface), **self.engine.status}
        if self.uplink:
            report["link"] = {
                "state": self.uplink.state, "central": self.uplink.peer, "why": self.uplink.why,
                "seconds": round(time.time() - self.uplink.since, 1), "connections": self.uplink.connections,
            }  # fmt: skip
        if self.stored:
            report["store"] = {"ok": not self.stored.failing, "error": self.stored.failing}
        if self.listener:
            report["sensors"] = list(self.sensors.values())
        return report

    async def _probe_command(self, request: dict) -> dict:
        """A record of its own kind travels the whole way; never shown as a call."""
        seconds = min(float(request.get("timeout", 5.0)), 60.0)
        before = self.spool.state.next_seq - 1
        uuid = os.urandom(16)
        self.spool.put(uuid, 1, PROBE, b"")
        try:
            async with asyncio.timeout(seconds):
                while (seq := await self.spool.find(uuid, before)) is None:
                    await asyncio.sleep(0.05)
                await self.spool.wait_acknowledged(seq)
        except TimeoutError:
            return {"acknowledged": False}
        return {"acknowledged": True}


def serve(config, config_path: str) -> int:
    """Run the instance until SIGTERM; the exit code."""

    async def main() -> int:
        return await Service(config, config_path).run()

    try:
        return asyncio.run(main())
    except BaseExceptionGroup as group:
        sentences = group.subgroup(VoipfleetError)
        raise (sentences or group).exceptions[0] from None
