"""The packets that an instance (service.Service) keeps: its pool opened, told of records, and seen in its status."""

import asyncio

from voipfleet.calls import record
from voipfleet.config import Config
from voipfleet.options import OPTIONS
from voipfleet.packetstore.pool import Pool
from voipfleet.packetstore.writer import StoreSettings
from voipfleet.records.messages import CALL
from voipfleet.room import space

AGAIN = 2_000  # records of the time before the start that are put into the index once more: a kill may have cost some
LIMITS = ("maxpool", "autoclean")  # keys that begin so can change while the instance runs


def open_pool(service) -> None:
    """Where anything is kept; packets are the first to go when the disk is full."""
    chosen = StoreSettings.from_config(service.config)
    if not (service.duties.analyses and service.engine and chosen.saves):
        return

    async def limits(config: Config) -> None:
        await service.engine.order("keep", path=service.config_path)
        service.pool.limit(StoreSettings.from_config(config))

    service.pool = pool = Pool(chosen, service.engine.seal, service.spool.erase, late=service.duties.receives)
    service.intake.told = pool.put
    service.room.givers.insert(0, pool.give_back)
    service.live |= {option.key: limits for option in OPTIONS if option.key.startswith(LIMITS)}


async def remember(service) -> None:
    """The last records that were made before this start, into the index of calls. Runs for ever, as all that an
    instance does in the background."""
    after, last = max(0, service.spool.state.next_seq - 1 - AGAIN), service.spool.state.next_seq - 1
    while service.pool and after < last and (rows := await service.spool.read(after)):
        after = rows[-1].seq
        for row in rows:
            if row.kind == CALL:
                service.pool.put(record.decode(row.body))
    await asyncio.Event().wait()


def figures(service) -> dict[str, int]:
    """What a central shows of this host beside the engine's counters: what waits, and room."""
    offset = service.clock_offset_ms()
    said = {"records_queued": service.spool.state.queued}
    if offset is not None:
        said["clock_offset_us"] = round(offset * 1000)
    size, free = space(service.config.spooldir)
    if size:
        said |= {"disk_free_bytes": free, "disk_size_bytes": size}
    return said
