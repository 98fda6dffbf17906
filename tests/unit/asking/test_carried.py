"""Asking beside records and packets on one session: frames find their part, older releases are not disturbed."""

import asyncio
import logging
from types import SimpleNamespace

import pytest
from support.joined import joined
from support.lines import board, client_line, server_line
from support.wires import pair
from voipfleet.asking import answerer as answering
from voipfleet.asking import messages
from voipfleet.asking.asker import no_data
from voipfleet.asking.messages import Ask, Behind, Data, End
from voipfleet.asking.switchboard import Switchboard
from voipfleet.central.ingest import serve_records
from voipfleet.central.store import Peer
from voipfleet.link import types
from voipfleet.records.messages import Ack, Batch, Row, Status, Welcome
from voipfleet.records_uplink import LinkTarget
from voipfleet.relay.receive import Receiver
from voipfleet.uplink import Malformed

CENTRAL, SENSOR = b"c" * 16, b"s" * 16
STATUS = Status("branch1", 1, "1", "client", "north", 5, {"packets": 1})
ASK = messages.encode(Ask(7, SENSOR, "version", b"{}", "root@hq"))


def answers(uuid=SENSOR, name="branch1"):
    async def run(command, arguments, who, send):
        return {"command": command, "who": who}

    return Switchboard(uuid, name, run, lambda *_: None)


async def test_a_sensor_answers_between_acknowledgements(caplog):
    near, far = pair()
    async with answers().client(near, CENTRAL) as line:
        target = LinkTarget(near, Welcome(b"", CENTRAL, "hq"), line)
        ack = Ack(b"e" * 16, 5, b"u" * 16)
        for kind, body in ((types.ASK, ASK), (99, b"later"), (99, b"later"), (types.ACK, messages.encode(ack))):
            await far.send(kind, body)
        with caplog.at_level(logging.WARNING):
            assert await target.recv_ack() == ack
        assert await asyncio.wait_for(anext(far), 5) == (types.DATA, messages.encode(Data(7, b"")))  # it has begun
        kind, body = await asyncio.wait_for(anext(far), 5)
        assert kind == types.END and messages.decoder(End)(body).body == b'{"command": "version", "who": "root@hq"}'
    assert caplog.text.count("a frame of type 99, which is not for a sensor; ignored") == 1


@pytest.mark.parametrize("kind", [types.ASK, types.MORE, types.CANCEL])
async def test_a_malformed_question_ends_the_connection_in_words(kind):
    near, far = pair()
    async with answers().client(near, CENTRAL) as line:
        await far.send(kind, b"\xc1")
        with pytest.raises(Malformed, match=f"sent a malformed frame of type {kind}"):
            await LinkTarget(near, Welcome(b"", CENTRAL, "hq"), line).recv_ack()


async def test_rows_that_were_not_sent_yet_go_before_answers(monkeypatch):
    monkeypatch.setattr(answering, "LOOK", 0.01)
    near, far = pair()
    spool = SimpleNamespace(state=SimpleNamespace(next_seq=4, acked_through=1))
    line = client_line(near)
    target = LinkTarget(near, Welcome(b"", CENTRAL, "hq"), line)
    target.goes_first(spool)
    assert line.busy()  # 2 and 3 wait
    await target.send_batch(Batch(b"e" * 16, [Row(2, b"u" * 16, 1, 1, b""), Row(3, b"v" * 16, 1, 1, b"")]))
    assert not line.busy()
    spool.state.next_seq = 5
    assert line.busy()
    spool.state.acked_through = 4  # by an earlier connection
    assert not line.busy()
    assert (await anext(far))[0] == types.BATCH


async def test_a_central_hears_answers_and_of_hosts_behind_a_sensor(caplog):
    near, far = pair()
    told = []
    center = Switchboard(CENTRAL, "hq", None, lambda behind, via: told.append((behind.name, via)))
    peer = SimpleNamespace(sensor_uuid=SENSOR, name="branch1", address="192.0.2.1", key=bytes(32))
    further = Behind(b"f" * 16, [SENSOR], "branch2", "192.0.2.2", "", 0, STATUS)
    with center.server(far, peer) as line, caplog.at_level(logging.WARNING):
        who = Peer(sensor_uuid=SENSOR, name="branch1", key="", address="")
        serving = asyncio.create_task(serve_records(far, who, None, line))
        asked = asyncio.create_task(center.ask(SENSOR, "version", {}, "root@hq", no_data))
        kind, body = await asyncio.wait_for(anext(near), 5)
        number = messages.decoder(Ask)(body).number
        assert kind == types.ASK
        await near.send(types.STATUS, messages.encode(STATUS))
        await near.send(types.BEHIND, messages.encode(further))
        for _ in range(3):
            await near.send(99, b"later")
        await near.send(types.END, messages.encode(End(number, "", b'{"ok": true}')))
        assert await asyncio.wait_for(asked, 5) == {"ok": True}
        assert told == [("branch1", ""), ("branch2", "branch1")]
        assert center.routes.find(b"f" * 16) is line.asker
        await near.send(types.BEHIND, b"\xc1")
        await asyncio.wait_for(serving, 5)
    assert caplog.text.count("branch1 sent a frame of type 99, which is not for a central; ignored") == 1
    assert "branch1 sent a malformed message" in caplog.text
    assert center.routes.find(b"f" * 16) is None


async def test_a_receiver_of_packets_does_too(caplog):
    near, far = pair()
    line = server_line(far, SENSOR, "branch1")
    receiver = Receiver(CENTRAL, None)
    with caplog.at_level(logging.WARNING):
        serving = asyncio.create_task(receiver.serve(far, SENSOR, "branch1", line))
        await near.send(types.STATUS, messages.encode(STATUS))
        for kind, body in ((99, b""), (99, b""), (98, b""), (types.DATA, b"\xc1")):
            await near.send(kind, body)
        await asyncio.wait_for(serving, 5)
    for kind in (98, 99):
        said = f"branch1 sent a frame of type {kind}, which is not for a receiver of packets; ignored"
        assert caplog.text.count(said) == 1
    assert "branch1 sent malformed packets" in caplog.text
    assert [behind.name for _, behind in line._board.heard()] == ["branch1"]


async def test_who_answers_is_gone_with_his_session():
    receiving = board(CENTRAL, "hq")
    sensor = answers()
    async with joined(sensor, receiving, uuid=SENSOR, name="branch1", central=CENTRAL):
        assert (await receiving.ask(SENSOR, "version", {}, "x", no_data))["command"] == "version"
    assert receiving.routes.find(SENSOR) is None and not receiving.routes.get(SENSOR).ways
