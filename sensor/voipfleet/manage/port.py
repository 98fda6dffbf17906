"""The manager's port: role 3 of the link, where listed keys ask and this instance answers."""

import functools
import logging
import os

import msgspec

from voipfleet.asking import messages
from voipfleet.asking.answerer import Answerer
from voipfleet.asking.messages import Ask
from voipfleet.errors import VoipfleetError
from voipfleet.link import keys, types
from voipfleet.link.strange import Strange
from voipfleet.listener import Listener
from voipfleet.manage import table
from voipfleet.records.messages import Welcome

log = logging.getLogger("voipfleet.manager")
SESSIONS = 16  # at once


def listener(service, identities, psks) -> Listener:
    """On `manager_port`. Only keys of `manager_keys` come in, whatever `auth` says of the other ports."""
    config, serving = service.config, set()

    async def welcome(peer) -> Welcome:
        if len(serving) >= SESSIONS:
            raise VoipfleetError(f"{SESSIONS} managers are connected already")  # the handshake ends without a word
        return Welcome(os.urandom(8), service.own_uuid, service.name[:64])

    async def serve(session, peer) -> None:
        serving.add(session)
        strange = Strange(log, peer.name, "which is not for a manager")
        answerer = Answerer(session, functools.partial(_answer, service, peer.name))
        try:
            async for kind, body in session:
                if not await answerer.take(kind, body):
                    strange.tell(kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("%s sent a malformed question (%s); the connection is closed", peer.name, error)
        finally:
            serving.discard(session)
            await answerer.close()

    return Listener(
        config, identities, psks, bind=config.manager_ip, port=config.manager_port,
        roles={types.ROLE_MANAGER: (welcome, serve)}, bind_key=_any_uuid, sensors={}, audit=service.tell_audit,
        auth="key", allowed=keys.parse_named(config.manager_keys, "manager_keys"),
    )  # fmt: skip


async def _any_uuid(uuid: bytes, key: bytes, may_replace) -> bool:
    """Who asks is known by his key; his uuid is made up for the connection."""
    return True


async def _answer(service, name: str, ask: Ask, send) -> dict:
    if ask.target not in (service.own_uuid, bytes(16)):
        raise VoipfleetError(f"{service.name}: this port answers for its own host only; ask at the central, with"
                             " `voipfleet ctl SENSOR`")  # fmt: skip
    return await table.run_manager(service, ask.command, messages.arguments(ask), name, send)
