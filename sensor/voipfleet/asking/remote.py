"""Ask at a manager's port (role 3), as `voipfleet ctl --at` does: with this node's key and the fleet's password."""

import asyncio
import contextlib
import os
import socket
from pathlib import Path

import msgspec

from voipfleet.asking.asker import Asker, no_data
from voipfleet.link import client, keys, types
from voipfleet.link.session import LinkClosed
from voipfleet.records.messages import Welcome
from voipfleet.secrets import fleet_secrets
from voipfleet.tasks import end_all

SECONDS = 10.0  # until there is a connection


async def ask_at(config, host: str, port: int, command: str, arguments: dict, server_key: str | None) -> dict:
    """The result of one command; VoipfleetError with a sentence where there is none."""
    identity = keys.load_all(Path(config.key_file))[0]
    (psk,) = keys.psks(fleet_secrets(config)[:1], config.fleet_id)
    pins = (keys.decode(server_key, "--server-key"),) if server_key else keys.parse_pins(config.server_key, host)
    name = (config.name_sensor or socket.gethostname())[:64]
    session, body = await client.connect(
        host, port, identity=identity, psk=psk, role=types.ROLE_MANAGER, pins=pins, timeout=SECONDS,
        tofu_path=Path(config.spooldir) / "known_server",
        hello=client.Hello(sensor_uuid=os.urandom(16), name=name, spool_epoch=bytes(16), next_seq=0),
    )  # fmt: skip
    welcome = msgspec.msgpack.decode(body, type=Welcome)
    asker = Asker(session, welcome.central_name)
    reading = asyncio.create_task(_read(session, asker))
    try:
        return await asker.ask(welcome.central, command, arguments, name, no_data)
    finally:
        await session.close("done")
        await end_all(reading)


async def _read(session, asker: Asker) -> None:
    """Until the session ends or is none of ours; the asker then says that there is no answer."""
    try:
        with contextlib.suppress(LinkClosed, msgspec.MsgspecError, UnicodeDecodeError):
            async for kind, body in session:
                asker.take(kind, body)
    finally:
        asker.ended()
