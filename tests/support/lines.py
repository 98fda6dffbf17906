"""Sessions over which nothing is asked, for tests of what else they carry."""

from types import SimpleNamespace

from voipfleet.asking.switchboard import ClientLine, ServerLine, Switchboard
from voipfleet.errors import VoipfleetError


async def refuse(command, arguments, who, send) -> dict:
    raise VoipfleetError("nothing is answered here")


def board(own: bytes = b"o" * 16, name: str = "here") -> Switchboard:
    return Switchboard(own, name, refuse, lambda behind, via: None)


def client_line(session) -> ClientLine:
    return ClientLine(board(), session, b"c" * 16)


def server_line(session, uuid: bytes, name: str) -> ServerLine:
    peer = SimpleNamespace(sensor_uuid=uuid, name=name, address="192.0.2.1", key=bytes(32))
    return board().server(session, peer).__enter__()
