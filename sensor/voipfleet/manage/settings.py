"""Commands that change how an instance runs: log level, capture filter, configuration."""

import asyncio
import logging
import time

from voipfleet import config, systemd
from voipfleet.asking.asker import no_data
from voipfleet.errors import VoipfleetError
from voipfleet.manage import filtering
from voipfleet.manage.request import ALL, Request
from voipfleet.options import OPTIONS

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
log = logging.getLogger("voipfleet.manager")


async def loglevel(service, request: Request) -> dict:
    """How much this process writes to the journal, until it is started again."""
    level = request.text("level").lower()
    if level not in LEVELS:
        raise VoipfleetError(f"level: is not one of {', '.join(LEVELS)}; give one of them")
    root = logging.getLogger()
    before, _ = logging.getLevelName(root.level).lower(), root.setLevel(LEVELS[level])
    return {"level": level, "before": before}


async def capture_filter(service, request: Request) -> dict:
    """Another capture filter on all interfaces, until the next start; without text, that of the configuration."""
    if not (service.engine and service.config.interface):
        raise VoipfleetError(f"{service.name}: does not capture; ask the host that does")
    text = request.text("text", service.config.filter or "")
    await use_filter(service, text)
    log.warning("the capture filter is %r now, by order of %s; the configuration's counts again from the next start",
                text, request.who)  # fmt: skip
    return {"filter": text}


async def use_filter(service, text: str) -> None:
    """On all interfaces or, with a VoipfleetError, on none."""
    await service.engine.filter(await filtering.compiled(text, service.config.snaplen))


async def reload(service, request: Request) -> dict:
    """Read the configuration file anew. Where it has faults nothing changes; what cannot change while the instance
    runs, and what should but did not, is named."""
    new = await asyncio.to_thread(config.load, service.config_path)
    changed = [option.key for option in OPTIONS
               if getattr(new, option.key) != getattr(service.config, option.key)]  # fmt: skip
    if "filter" in changed:
        await filtering.compiled(new.filter or "", service.config.snaplen)
    failed, why = [], []
    for apply in dict.fromkeys(service.live[key] for key in changed if key in service.live):
        keys = [key for key in changed if service.live.get(key) is apply]
        try:
            await apply(new)
        except VoipfleetError as error:
            failed, why = failed + keys, [*why, str(error)]
            continue
        service.config.values.update((key, getattr(new, key)) for key in keys)
    applied = [key for key in changed if key in service.live and key not in failed]
    waiting = [key for key in changed if key not in service.live]
    log.info("configuration read again by order of %s: %s", request.who, _said(applied, waiting))
    if failed:
        log.error("%s could not be changed: %s", ", ".join(failed), "; ".join(why))
    said = {"changed": changed, "applied": applied, "failed": failed, "needs_restart": waiting}
    return said | ({"why": "; ".join(why)} if failed else {})


async def on_hangup(service) -> None:
    """SIGHUP: the same, and the service manager is told."""
    from voipfleet.manage import table

    systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        await table.run(service, table.BY_NAME["reload"], Request({}, "SIGHUP", ALL, no_data))
    except VoipfleetError as error:
        log.error("nothing changes, the configuration has faults: %s", error)
    finally:
        systemd.notify("READY=1")


def _said(applied: list[str], waiting: list[str]) -> str:
    if not applied and not waiting:
        return "nothing has changed"
    parts = [f"{', '.join(applied)} changed"] if applied else []
    return "; ".join(parts + ([f"{', '.join(waiting)} from the next start on"] if waiting else []))
