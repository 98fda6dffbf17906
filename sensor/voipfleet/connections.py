"""The connections of an instance (service.Service): to its central and receivers, and from those that send to it."""

import asyncio
import functools
import logging
import time
from pathlib import Path

from voipfleet.asking.messages import Behind
from voipfleet.asking.routes import MAX_KNOWN

RETRY = 10.0  # s between tries while the database is away
ANEW = 60.0  # s between looks which sensors the database knows
log = logging.getLogger("voipfleet")


async def open_links(service) -> None:
    """Uplinks, listeners and what waits for them, as the configuration asks for; nothing is connected yet."""
    config, todo = service.config, service.duties
    if not (config.server_destination or todo.sends or todo.receives or config.manager_port):
        return
    from voipfleet.link import keys
    from voipfleet.packets import left_behind
    from voipfleet.records_uplink import records_uplink
    from voipfleet.secrets import fleet_secrets

    identities = keys.load_all(Path(config.key_file))
    psks = await asyncio.to_thread(keys.psks, fleet_secrets(config), config.fleet_id)
    identity, psk = identities[0], psks[0]  # what this instance itself proves
    left = service.spool.state.queued  # records of the time before this instance became a packet sender
    if config.server_destination and (left or not config.packetbuffer_sender):
        service.uplink = records_uplink(config, identity, psk, spool=service.spool, name=service.name,
                                        status=service.own_status, board=service.board)  # fmt: skip
    elif left and not service.stored:
        log.warning("%d records of an earlier role wait in %s/outbox.db; they leave once this host has a"
                    " server_destination again, or a store", left, config.spooldir)  # fmt: skip
    if todo.sends or todo.receives or left_behind(config):
        await _open_packets(service, identities, psks)
    if config.manager_port:
        from voipfleet.manage import port

        service.listeners.append(port.listener(service, identities, psks))


async def remember(service) -> None:
    """Sensors that the database knows are called by their names, though they have not come since the start; and which
    of them came themselves, so that nobody else can speak for them until they are removed there. Runs for ever."""
    from voipfleet.central.store import StoreUnavailable

    routes = service.board.routes
    while True:
        began = time.time()
        try:
            found = await service.stored.call(service.stored.store.known)
        except StoreUnavailable:
            await asyncio.sleep(RETRY)
            continue
        for uuid, name, last, came in found[-MAX_KNOWN:]:
            routes.remember(uuid, name, last / 1e9, came)
        themselves = {uuid for uuid, _, _, came in found if came}
        routes.had_session = themselves.__contains__
        routes.keep(themselves, began)
        await asyncio.sleep(ANEW)


def seen(service, host: Behind, via: str) -> None:
    """A host that is connected here, or behind one that is, says something of itself."""
    if service.stored:
        from voipfleet.central.store import Peer

        peer = Peer(host.uuid, host.name, host.key, host.address)
        service.stored.seen(peer, host.status, via, host.connected / 1e9)


async def _open_packets(service, identities, psks: tuple[bytes, ...]) -> None:
    from voipfleet.link import types
    from voipfleet.listener import KeyBook, Listener
    from voipfleet.packets import Packets

    config, spool = service.config, Path(service.config.spooldir)
    service.packets = packets = await Packets.open(
        config, service.name, service.spool, service.duties, analyse=service.hand, note=service.intake.note,
        status=service.own_status, board=service.board, identity=identities[0], psk=psks[0])  # fmt: skip
    service.room.givers += packets.givers(spool)
    if service.stored:
        bind_key, service.board.routes.had_session = functools.partial(_bind_key, service), None  # see `remember`
    else:
        book = KeyBook(spool / "known_sources")
        bind_key, service.board.routes.had_session = book.bind_key, book.knows
    of_packets = {types.ROLE_PACKETS: (packets.welcome, packets.serve)}
    of_records = {types.ROLE_RECORDS: (functools.partial(_welcome, service), functools.partial(_serve, service))}
    for bind, port, roles in ((config.server_bind, config.server_bind_port, of_records | of_packets),
                              (config.mirror_bind, config.mirror_bind_port, of_packets)):  # fmt: skip
        if bind:
            service.listeners.append(Listener(config, identities, psks, bind=bind, port=port, roles=roles,
                                              bind_key=bind_key, sensors=service.sensors,
                                              audit=service.audit.write))  # fmt: skip


async def _bind_key(service, sensor_uuid: bytes, public: bytes, may_replace) -> bool:
    return await service.stored.call(service.stored.store.bind_key, sensor_uuid, public, may_replace)


async def _welcome(service, peer):
    return await service.stored.welcome(peer.sensor_uuid)


async def _serve(service, session, peer) -> None:
    """A sensor that sends records."""
    from voipfleet.central.ingest import serve_records
    from voipfleet.central.store import Peer
    from voipfleet.link import keys

    who = Peer(sensor_uuid=peer.sensor_uuid, name=peer.name, key=keys.fingerprint(peer.key), address=peer.address)
    with service.board.server(session, peer) as line:
        await serve_records(session, who, service.stored, line)
