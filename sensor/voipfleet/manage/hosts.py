"""Other hosts: how they are called, whether they are connected, and what is asked of them."""

import time

from voipfleet.asking.asker import no_data
from voipfleet.config import nearest
from voipfleet.errors import VoipfleetError
from voipfleet.harmless import harmless
from voipfleet.manage.request import OPERATORS, Request, Send, as_uuid

MAX_NAMED = 5  # candidates in a sentence


async def ask(service, request: Request, uuid: bytes, command: str, arguments: dict, send: Send = no_data) -> dict:
    """A command on another host, whose audit log says who asked and where."""
    return await service.board.ask(uuid, command, arguments, asker(service, request), send)


def asker(service, request: Request) -> str:
    """Who asks, as other hosts write it down."""
    return request.who if "@" in request.who else f"{request.who}@{service.name}"


async def ctl(service, request: Request) -> dict:
    """One of the commands on another host."""
    from voipfleet.manage import table

    uuid, name = _named(service, request.text("sensor")), request.text("run")
    command, arguments = table.BY_NAME.get(name), request.arguments.get("arguments", {})
    if command is None or not command.over_link or command.group != OPERATORS:
        known = ", ".join(sorted(each.name for each in table.TABLE if each.over_link and each.group == OPERATORS))
        raise VoipfleetError(f"{harmless(name[:32])}: is no command for another host; known are {known}")
    if not isinstance(arguments, dict):
        raise VoipfleetError("arguments: give them as an object, `key=value` on the command line")
    result = "failed"
    try:
        if uuid == service.own_uuid:
            said = await table.run(service, command, Request(arguments, request.who, request.groups, request.send))
        else:
            said = await ask(service, request, uuid, name, arguments)
        result = "ok"
        return said
    finally:
        service.tell_audit("ctl", who=request.who, sensor=called(service, uuid), command=name, result=result)


async def sensors(service, request: Request) -> dict:
    """The hosts that are connected here or were, and those behind them."""
    heard = {behind.uuid: behind for _, behind in service.board.heard()}
    found = []
    for known in service.board.routes:
        way, said = known.way(), heard.get(known.uuid)
        one = {"uuid": known.uuid.hex(), "name": known.name, "state": state(service, known.uuid),
               "since": round(known.since, 1), "hops": way.hops if way else None,
               "via": way.asker.name if way and way.hops else ""}  # fmt: skip
        if said:
            one |= {"address": said.address, "key": said.key, "version": said.status.version, "mode": said.status.mode,
                    "site": said.status.site}  # fmt: skip
        found.append(one)
    return {"sensors": sorted(found, key=lambda one: (one["name"], one["uuid"]))}


def called(service, uuid: bytes) -> str:
    """The name of a host that is known here."""
    if uuid in (b"", service.own_uuid):
        return service.name
    known = service.board.routes.get(uuid)
    return known.name if known else uuid.hex()[:8]


def state(service, uuid: bytes) -> str:
    """here, connected, offline"""
    if uuid == service.own_uuid:
        return "here"
    known = service.board.routes.get(uuid)
    return "connected" if known and known.way() else "offline"


def since(service, uuid: bytes) -> float | None:
    """Since when it is in that state, s since the epoch; None where that is not known."""
    known = service.board.routes.get(uuid)
    return round(known.since, 1) if known else None


def offset_ms(service, uuid: bytes) -> float | None:
    """Its clock minus ours, where it is connected here."""
    clocks = [entry["clock"].seconds for (host, *_), entry in service.sensors.items() if host == uuid]
    known = next((seconds for seconds in clocks if seconds is not None), None)
    return None if known is None else round(known * 1000, 1)


def _named(service, name: str) -> bytes:
    """The host of that name, or whose uuid is or begins so; VoipfleetError naming candidates."""
    hosts = [(known.uuid, known.name) for known in service.board.routes] + [(service.own_uuid, service.name)]
    if uuid := as_uuid(name):
        return uuid
    found = [uuid for uuid, called in hosts if called == name]
    if not found and len(name) >= 4:
        found = [uuid for uuid, _ in hosts if uuid.hex().startswith(name.lower())]
    if len(found) == 1:
        return found[0]
    shown = harmless(name[:64])
    if found:
        several = ", ".join(uuid.hex() for uuid in found[:MAX_NAMED])
        raise VoipfleetError(f"{shown}: {len(found)} hosts are called so; give one of their uuids: {several}")
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(service.started))
    raise VoipfleetError(f"{shown}: no host of that name has been connected since {since}"
                         f"{nearest(name, [called for _, called in hosts])}; `voipfleet ctl sensors` lists those that"
                         " have")  # fmt: skip
