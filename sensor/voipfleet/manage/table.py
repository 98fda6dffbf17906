"""The closed table of commands: what each does, who may give it, and whether it may come over the link.

docs/manager.md has it as a table; a test holds the two together.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from voipfleet.asking.messages import Unreached
from voipfleet.errors import VoipfleetError
from voipfleet.manage import hosts, own, packets, settings
from voipfleet.manage.request import ALL, FETCHERS, OPERATORS, ROOT, Request, Send, refusal

AT_ANY_TIME = ("status", "version")  # also while the instance is starting
SAME_REFUSAL = 60.0  # s in which the same refusal of the same user stands in the audit log once


@dataclass(frozen=True, slots=True)
class Command:
    """`group`: the Unix group that may give it on this host (request.ROOT: root only). `over_link`: whether it may come
    from a central. `reference`: what the incumbent's manager has for it. `changes`: it is told to the audit log."""

    name: str
    run: Callable[[object, Request], Awaitable[dict]]
    group: str
    over_link: bool
    help: str
    arguments: str = ""
    reference: str = ""
    changes: bool = False


TABLE = (
    Command("status", own.status, OPERATORS, True, "everything that the instance says of itself",
            reference="`sensorinfo`, `get_sensor_information`, `pcapstat`"),
    Command("version", own.version, OPERATORS, True, "release, and the versions of the link that it speaks",
            reference="`getversion`"),
    Command("probe", own.probe, OPERATORS, True, "send a record and an empty block all the way; whether they arrived",
            "seconds=5"),
    Command("active", own.active, OPERATORS, True, "the calls that are up", "limit=200",
            reference="`listcalls`, `active`, `totalcalls`"),
    Command("call", own.call, OPERATORS, True, "one call that is up, as its record would be now",
            "call=CALL-ID or uuid", reference="`getcall`"),
    Command("pool", own.pool, OPERATORS, True, "what the packet store holds; with dry_run what retention would remove",
            "dry_run=no", reference="`printspool`, `get_oldest_spooldir_date`"),
    Command("sensors", hosts.sensors, OPERATORS, True, "hosts that are connected, and those behind them"),
    Command("loglevel", settings.loglevel, OPERATORS, True, "what is written to the journal, until the next start",
            "level=debug, info or warning", reference="`setverbparam`", changes=True),
    Command("filter", settings.capture_filter, OPERATORS, True, "another capture filter, until the next start",
            "text=FILTER", changes=True),
    Command("reload", settings.reload, OPERATORS, True, "read the configuration file again", reference="`reload`",
            changes=True),
    Command("ctl", hosts.ctl, OPERATORS, False, "one of the commands above on another host",
            "sensor=NAME or uuid, run=COMMAND, arguments={...}", reference="a connection to that sensor itself"),
    Command("find", packets.find, FETCHERS, False, "a call's record, and which hosts have packets of it",
            "call=CALL-ID or uuid"),
    Command("fetch", packets.fetch, FETCHERS, True, "the packets of a call that one host has",
            "uuid=UUID, sensor=UUID, offset=0, audio=yes", reference="`getfile`, `getfile_in_tar`, `file_exists`"),
    Command("hold", packets.hold, FETCHERS, True, "keep a call's packets against retention", "uuid=UUID, why=TEXT"),
    Command("release", packets.release, FETCHERS, True, "give a held call back to retention", "uuid=UUID"),
    Command("erase", packets.erase, ROOT, True, "erase a call, or the calls of a number, wherever they are",
            "uuid=UUID or number=NUMBER"),
)  # fmt: skip
BY_NAME = {command.name: command for command in TABLE}


async def run_local(service, name: str, request: Request) -> dict:
    """A command that a user of this host gives; VoipfleetError with a sentence where he may not."""
    command = _known(service, name, TABLE, request.who)
    if command.group not in request.groups:
        _refused(service, command, request.who)
        raise VoipfleetError(refusal(request.who, command.group))
    _ready(service, command)
    return await run(service, command, request)


async def run_remote(service, name: str, arguments: dict, who: str, send: Send) -> dict:
    """A command that has come over this instance's own connection to its central, which has looked who may give it."""
    command = _known(service, name, [each for each in TABLE if each.over_link], who)
    _ready(service, command)
    return await run(service, command, Request(arguments, who or "a central", ALL, send))


async def run_manager(service, name: str, arguments: dict, who: str, send: Send) -> dict:
    """A command that has come to the manager's port from a listed key: nothing about packets of calls."""
    command = _known(service, name, [each for each in TABLE if each.over_link and each.group == OPERATORS], who)
    _ready(service, command)
    return await run(service, command, Request(arguments, who, frozenset({OPERATORS}), send))


async def run(service, command: Command, request: Request) -> dict:
    """The command's result; what changes something is in the audit log."""
    if not command.changes:
        return await command.run(service, request)
    result = "failed"
    try:
        said = await command.run(service, request)
        result = "failed" if said.get("failed") else "ok"
        return said
    finally:
        service.tell_audit(command.name, who=request.who, result=result)


def _known(service, name: str, commands, who: str) -> Command:
    found = next((command for command in commands if command.name == name), None)
    if found is None:
        if name in BY_NAME:
            _refused(service, BY_NAME[name], who)
        raise VoipfleetError(f"not a command; known are {', '.join(sorted(each.name for each in commands))}")
    return found


def _ready(service, command: Command) -> None:
    """Before its parts are there an instance can only say how far it is; who has asked over others comes again."""
    if not service.ready and command.name not in AT_ANY_TIME:
        raise Unreached(f"{service.name}: is still starting; ask again in some seconds")


def _refused(service, command: Command, who: str) -> None:
    """Told once a minute: whoever is refused must not fill the audit log."""
    now, key = time.monotonic(), (who, command.name)
    said = service.refusals
    if key in said and now - said[key] < SAME_REFUSAL:
        return
    if len(said) >= 1024:
        said.clear()
    said[key] = now
    event = "refused" if command.group == OPERATORS else "pcap_refused"
    service.tell_audit(event, who=who, command=command.name)
