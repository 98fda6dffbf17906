"""Frames of asking, any bytes in any order, at both ends of a session. Whatever comes, few commands run, little waits,
and when the session ends nothing of it is left."""

import asyncio
import contextlib
from types import SimpleNamespace

import msgspec
from voipfleet.asking import messages
from voipfleet.asking.asker import no_data
from voipfleet.asking.messages import Ask, Behind, Cancel, Data, End, More
from voipfleet.asking.switchboard import Switchboard
from voipfleet.errors import VoipfleetError
from voipfleet.link import types
from voipfleet.records.messages import Status

OWN, SENSOR, FURTHER = b"o" * 16, b"s" * 16, b"f" * 16
KINDS = (types.ASK, types.DATA, types.END, types.MORE, types.CANCEL, types.BEHIND)


def _frame(kind: int, message) -> bytes:
    body = messages.encode(message)
    return bytes((KINDS.index(kind),)) + len(body).to_bytes(2, "big") + body


SEEDS = [
    _frame(types.ASK, Ask(1, OWN, "stream", b'{"x": 1}', "root@hq")) + _frame(types.MORE, More(1, 9000))
    + _frame(types.CANCEL, Cancel(1)),
    b"".join(_frame(types.ASK, Ask(number, OWN, "result", b"{}", "x")) for number in range(8)),
    _frame(types.ASK, Ask(3, FURTHER, "result", b"{}", "x", 7)),
    _frame(types.DATA, Data(1, b"d" * 500)) + _frame(types.END, End(1, "", b'{"bytes": 500}')),
    _frame(types.END, End(1, "gone; come back\x1b[2J")),
    _frame(types.BEHIND, Behind(FURTHER, [SENSOR], "x", "192.0.2.1", "ab", 5, Status("x", 1, "", "", "", 0, {"p": 1}))),
]  # fmt: skip


class _Session:
    """Takes what is sent."""

    async def send(self, kind: int, body: bytes = b"") -> None:
        assert len(body) < 1 << 20


async def _answers(command, arguments, who, send) -> dict:
    assert isinstance(arguments, dict)
    if command == "stream":
        while True:
            await send(bytes(50_000))
    if command == "result":
        return {"heard": len(arguments)}
    raise VoipfleetError("not a command")


async def _talk(frames: list[tuple[int, bytes]]) -> None:
    before, board = asyncio.all_tasks(), Switchboard(OWN, "hq", _answers, lambda *_: None)
    peer = SimpleNamespace(sensor_uuid=SENSOR, name="branch1", address="", key=bytes(32))
    with board.server(_Session(), peer) as asks:
        async with board.client(_Session(), b"c" * 16) as answers:
            asking = asyncio.create_task(board.ask(SENSOR, "fetch", {}, "x", no_data))
            await asyncio.sleep(0)
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                for at, body in frames:
                    kind = KINDS[at % len(KINDS)]
                    assert await answers.take(kind, body) or asks.take(kind, body)
                    await asyncio.sleep(0)
                    assert len(answers._answerer._running) <= messages.AT_ONCE
                    for answer in asks.asker._open.values():
                        waiting = (len(one.body) for one in answer.waiting if isinstance(one, Data))
                        assert sum(waiting) <= messages.WINDOW
    try:
        async with asyncio.timeout(1):
            assert isinstance(await asking, dict)
    except VoipfleetError as error:
        assert str(error).isprintable()
    assert asyncio.all_tasks() == before


def run(frames: list[tuple[int, bytes]]) -> None:
    asyncio.run(_talk(frames))
