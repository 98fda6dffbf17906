"""A sensor's session at the central: a message that is none ends it with a sentence, not with a traceback."""

import asyncio
import logging

import msgspec
import pytest
from support.lines import server_line
from voipfleet.central.ingest import serve_records
from voipfleet.central.store import Peer
from voipfleet.link import types
from voipfleet.records.messages import Status

PEER = Peer(sensor_uuid=b"s" * 16, name="branch1", key="ab", address="127.0.0.1")
STATUS = msgspec.msgpack.encode(Status("AAAA", 1, "1", "sensor", "site", 1, {}))


class Session:
    """Gives the frames, then waits as a sensor does that has nothing to say."""

    def __init__(self, *frames):
        self._frames = frames

    async def __aiter__(self):
        for frame in self._frames:
            yield frame
        await asyncio.sleep(60)


@pytest.mark.parametrize("body", [STATUS.replace(b"AAAA", b"\xff\xffAA"), STATUS[:-2], b"", b"\xc1"])
@pytest.mark.parametrize("kind", [types.STATUS, types.BATCH])
def test_what_is_no_message_ends_the_session(kind, body, caplog):
    with caplog.at_level(logging.WARNING):
        serving = serve_records(Session((kind, body)), PEER, None, server_line(None, b"s" * 16, "branch1"))
        asyncio.run(asyncio.wait_for(serving, 5))
    assert "branch1 sent a malformed message" in caplog.text
