"""What a running instance (service.Service) says of itself when `voipfleet status` asks."""

import asyncio
import os
import time

from voipfleet import __version__
from voipfleet.duties import mode
from voipfleet.metrics.laws import laws
from voipfleet.records.messages import PROBE
from voipfleet.room import space


async def status(service) -> dict:
    """Everything that can be told without asking another process or host."""
    state = service.spool.state
    report = {
        "name": service.name, "version": __version__, "mode": mode(service.config), "pid": os.getpid(),
        "ready": service.ready,
        "uptime_seconds": round(time.time() - service.started, 1),
        "records": {"created": state.created, "acknowledged": state.acknowledged, "queued": state.queued,
                    "gaps": state.gaps, "not_written": service.spool.dropped, "outbox_error": service.spool.failing,
                    **await service.spool.waiting()},
    }  # fmt: skip
    if totals := service.counting.report():
        report["totals"] = totals
    if service.engine:
        report["capture"] = {"interfaces": list(service.config.interface or ()), **service.engine.status}
    if service.pool:
        report["pool"] = service.pool.report()
    if service.uplink:
        report["link"] = service.uplink.report()
    if service.packets:
        report["packets"] = service.packets.report()
    if service.stored:
        report["store"] = {"ok": not service.stored.failing, "error": service.stored.failing,
                           **service.stored.counters, **service.stored.store.counters}  # fmt: skip
    if service.listeners:
        report["listeners"] = [listener.report() for listener in service.listeners]
        report["told"] = {"hosts": len(service.board.routes), "refused": service.board.routes.refused}
        report["sensors"] = [_shown(service, *one) for one in service.sensors.items()]
    size, free = space(service.config.spooldir)
    if size:
        report["disk"] = {"free": free, "size": size}
    report["laws"] = [{"law": law.name, "missing": law.missing, "holds": law.holds, "text": str(law),
                       "total": law.total, "terms": law.terms}
                      for law in laws(report)]  # fmt: skip
    return report


async def probe(service, seconds: float) -> dict:
    """A record of its own kind travels the whole way, never shown as a call; and an empty block of packets."""
    try:
        async with asyncio.timeout(seconds):
            if service.packets:
                await service.packets.probe()
            if service.uplink or service.stored:
                await _probe_record(service.spool)
    except TimeoutError:
        return {"acknowledged": False}
    return {"acknowledged": True}


async def _probe_record(spool) -> None:
    before = spool.state.next_seq - 1
    uuid = os.urandom(16)
    spool.put(uuid, 1, PROBE, b"")
    while (seq := await spool.find(uuid, before)) is None:
        await asyncio.sleep(0.05)
    await spool.wait_acknowledged(seq)


def _shown(service, name: tuple, entry: dict) -> dict:
    """A connection as `voipfleet status` has it."""
    if service.stored and entry["sends"] == "records":
        entry = entry | {"records": service.stored.of_sensors[name[0]]}
    seconds = entry["clock"].seconds
    return entry | {"clock": None, "clock_offset_ms": round(seconds * 1000, 1) if seconds is not None else None}
