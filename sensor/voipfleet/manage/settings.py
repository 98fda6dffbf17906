"""Commands that change how an instance runs: log level, capture filter, configuration."""

import asyncio
import logging
import time

from voipfleet import config, systemd
from voipfleet.asking.asker import no_data
from voipfleet.capture.bpf import compile_filter
from voipfleet.errors import ConfigError, VoipfleetError
from voipfleet.manage.request import ALL, Request
from voipfleet.options import OPTIONS

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_ETHERNET = 1
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
    check_filter(text, service.config.snaplen)
    await service.engine.filter(text)
    log.warning("the capture filter is %r now, by order of %s; the configuration's counts again from the next start",
                text, request.who)  # fmt: skip
    return {"filter": text}


def check_filter(text: str, snaplen: int) -> None:
    """VoipfleetError, with what libpcap says, for text that is no filter."""
    try:
        compile_filter(text, linktype=_ETHERNET, snaplen=snaplen)
    except ConfigError as error:
        raise VoipfleetError("; ".join(f"filter: {fault.reason}" for fault in error.faults)) from None


async def reload(service, request: Request) -> dict:
    """Read the configuration file anew. Where it has faults nothing changes; what cannot change while the instance runs
    is named."""
    new = await asyncio.to_thread(config.load, service.config_path)
    changed = [option.key for option in OPTIONS
               if getattr(new, option.key) != getattr(service.config, option.key)]  # fmt: skip
    if "filter" in changed:
        check_filter(new.filter or "", new.snaplen)
    applied = [key for key in changed if key in service.live]
    for apply in dict.fromkeys(service.live[key] for key in applied):
        await apply(new)
    for key in applied:
        service.config.values[key] = getattr(new, key)
    waiting = [key for key in changed if key not in applied]
    log.info("configuration read again by order of %s: %s", request.who, _said(applied, waiting))
    return {"changed": changed, "applied": applied, "needs_restart": waiting}


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
