"""One call by its names, holds, erasure, and retention on SQLite."""

import datetime

import pytest
from support.halves import Sensors, media, signalling
from support.records import DAY, EPOCH, NOON, call, count, row
from voipfleet.central import retention, schema
from voipfleet.central.store import Peer
from voipfleet.errors import VoipfleetError
from voipfleet.records.messages import CALL, Batch, Row

PEER = Peer(b"s" * 16, "branch1", "", "10.0.0.1")
TODAY = datetime.date(2023, 11, 20)  # NOON is of 2023-11-14


@pytest.fixture
def joined(store):
    """A call of three parts: (near, far, media)."""
    sensors = Sensors()
    near, far, heard = signalling(0), signalling(0.02), media(1, 19)
    far.call_id = near.call_id
    for name, part in (("near", near), ("far", far), ("rtp", heard)):
        sensors.send(store, name, part)
    return near, far, heard


def ingest(store, *found, seq=1):
    store.ingest(PEER, Batch(EPOCH, [row(seq + n, one) for n, one in enumerate(found)]))


def test_a_call_is_found_by_its_uuid_and_the_newest_by_its_call_id(store):
    old, new = call(call_id="a@x", setup_time=NOON), call(call_id="a@x", setup_time=NOON + DAY)
    ingest(store, old, new)
    assert store.find_call("a@x") == (store.find_call(new.uuid.hex())[0], [(new.uuid, PEER.sensor_uuid)])
    assert store.find_call(str(old.uuid.hex()))[0].uuid == old.uuid
    assert store.find_call("b@x") is None and store.find_call("00" * 16) is None
    assert store.parts_of(new.uuid) == [(new.uuid, PEER.sensor_uuid)] and store.parts_of(bytes(16)) == []


def test_a_call_of_several_parts_says_who_sent_each(store, joined):
    found, parts = store.find_call(joined[0].call_id)
    assert found.views == 3 and {uuid for uuid, _ in parts} == {part.uuid for part in joined}
    assert len({origin for _, origin in parts}) == 3
    assert store.find_call(joined[2].uuid.hex())[0].uuid == found.uuid  # by the name of a part, too
    assert store.parts_of(joined[2].uuid) == store.parts_of(found.uuid) == parts


def test_what_is_erased_is_nowhere_and_does_not_come_back(store, joined):
    found, parts = store.find_call(joined[0].call_id)
    other = call(call_id="other")
    ingest(store, other)
    assert store.erase(found.uuid) == sorted(parts)
    assert count(store, schema.parts) == count(store, schema.joins) == 0
    assert count(store, schema.endpoints) == 2  # those of the other call
    sensors = Sensors()
    for name, part in zip(("near", "far", "rtp"), joined, strict=True):  # all of it comes again, revised
        part.revision = 2
        sensors.send(store, name, part)
    assert [one.call_id for one in store.calls()] == ["other"]
    assert count(store, schema.addresses) == 0 and count(store, schema.parts) == 0


def test_a_number_is_erased_wherever_it_is(store):
    bad = call(caller="+49555", call_id="bad")
    ingest(store, call(caller="+49555", call_id="1"), call(callee="+49555", call_id="2"),
           call(caller="+495556", call_id="3"), call(caller="+49555", method="REGISTER", call_id="4"))  # fmt: skip
    body = Row(9, bad.uuid, 1, CALL, b"\xc1 +49555")
    store.ingest(PEER, Batch(EPOCH, [body]))
    assert count(store, schema.quarantine) == 1
    assert len(store.erase(number="+49555")) == 3
    assert [one.call_id for one in store.calls()] == ["3"] and store.calls(method="REGISTER") == []
    assert count(store, schema.quarantine) == 0
    with pytest.raises(VoipfleetError, match="no number was given"):
        store.erase(number="")


def test_a_held_call_is_not_erased_until_it_is_released(store):
    one, other = call(caller="7", call_id="1"), call(caller="7", call_id="2")
    ingest(store, one, other)
    store.hold(one.uuid, "anna", "case 4711")
    with pytest.raises(VoipfleetError, match=f"1 of the calls to erase are held \\({one.uuid.hex()}\\); release them"):
        store.erase(number="7")
    assert len(store.calls()) == 2
    store.release(one.uuid)
    assert len(store.erase(number="7")) == 2 and store.calls() == []
    with pytest.raises(VoipfleetError, match="it is not held"):
        store.release(one.uuid)
    with pytest.raises(VoipfleetError, match="it is not in the database"):
        store.hold(b"u" * 16, "anna", "")


def test_days_go_and_what_is_held_stays(store, joined):
    old, kept, new = (call(call_id=name, setup_time=NOON + days * DAY) for name, days in
                      (("old", 0), ("kept", 0), ("new", 5)))  # fmt: skip
    ingest(store, old, kept, new)
    store.hold(kept.uuid, "anna", "")
    store.hold(joined[1].uuid, "anna", "")  # by the name of a part
    done = retention.maintain(store._engine, 3, 30, TODAY)
    assert done.held == 2 and done.removed["calls"] == 1 and done.removed["parts"] == 0
    assert {one.call_id for one in store.calls()} == {"kept", "new", joined[0].call_id}
    store.release(joined[1].uuid)
    assert retention.maintain(store._engine, 3, 30, TODAY).removed["parts"] == 3
    assert {one.call_id for one in store.calls()} == {"kept", "new"}
    assert (count(store, schema.joins), count(store, schema.endpoints)) == (0, 2)  # the latter of the new call
    assert "3 rows of parts" not in str(retention.maintain(store._engine, 3, 30, TODAY))


def test_without_days_nothing_goes(store):
    ingest(store, call())
    assert retention.maintain(store._engine, None, 30, TODAY).removed == {"sensor_history": 0}
    assert len(store.calls()) == 1
