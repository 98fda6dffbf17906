"""Calls of several records in the store: one row a call, whatever comes first, and halves that stay halves."""

import itertools
import os

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.halves import A, B, S, Sensors, T, media, signalling, told
from support.records import count
from voipfleet.central import schema
from voipfleet.central.store import Store

revised = msgspec.structs.replace
C, D = "10.0.0.3:4000", "10.0.0.4:5000"


@pytest.fixture
def store(tmp_path):
    made = open_store(tmp_path)
    yield made
    made.close()


@pytest.fixture
def sensors():
    return Sensors()


def open_store(folder) -> Store:
    made = Store(sa.make_url(f"sqlite:///{folder}/{os.urandom(8).hex()}.db"))
    made.prepare()
    return made


def check_complete(store, views=2):
    (call,) = store.calls()
    assert (call.method, call.views, len(call.streams), call.media) == ("INVITE", views, 2, [])
    assert [stream.direction for stream in call.streams] == ["caller", "callee"]
    assert call.seen == ["caller_sip", "callee_sip", "caller_rtp", "callee_rtp"]
    return call


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_sip_here_and_rtp_there_is_one_complete_call_whatever_comes_first(store, sensors, order):
    sip = signalling()
    parts = [("sip", sip), ("rtp", media(1, 19))]
    for index in order:
        sensors.send(store, *parts[index])
        assert [(call.method, call.uuid) for call in store.calls()] in (
            [("INVITE", sip.uuid)], [("RTP", parts[1][1].uuid)])  # fmt: skip
    call = check_complete(store)
    assert (call.uuid, call.streams[0].sensor, call.sensor) == (sip.uuid, "rtp", "sip")
    assert call.revision == 2
    with store._engine.connect() as connection:
        row = connection.execute(sa.select(schema.calls)).one()
    assert (row.caller_lost, row.callee_lost, row.one_way, row.caller_mos) == (1, 1, 0, call.streams[0].mos)


def test_what_is_sent_again_changes_nothing(store, sensors):
    parts = [("sip", signalling()), ("rtp", media(1, 19)), ("far", signalling(0.001)),
             ("far", signalling(500, ends=(C, D)))]  # fmt: skip
    parts[2][1].call_id = parts[0][1].call_id
    for part in parts:
        sensors.send(store, *part)
    before = store.calls()
    assert [call.views for call in before] == [3, 1]
    for part in [*parts, *reversed(parts)]:
        sensors.send(store, *part)
    assert store.calls() == before


def test_two_sites_see_one_call(store, sensors):
    near, far = signalling(), signalling(0.01)
    far.call_id = near.call_id
    sensors.send(store, "near", near)
    sensors.send(store, "far", far)
    (call,) = store.calls()
    assert (call.uuid, call.revision, call.views, call.sensor) == (near.uuid, 2, 2, "near")


def test_one_sensor_tells_its_own_calls_apart(store, sensors):
    """The same Call-ID once more, later: its analyser knows why."""
    sensors.send(store, "one", signalling(call_id="x"), signalling(3, call_id="x"))
    sensors.send(store, "two", signalling(call_id="x"))
    assert sorted(call.views for call in store.calls()) == [1, 2]


def test_the_same_call_id_at_another_time_is_another_call(store, sensors):
    sensors.send(store, "one", signalling(call_id="x"))
    sensors.send(store, "two", signalling(100, call_id="x"))
    sensors.send(store, "three", signalling(call_id="X"))
    assert [call.views for call in store.calls()] == [1, 1, 1]


def test_a_clock_that_is_known_to_be_wrong_is_corrected(store, sensors):
    sensors.send(store, "rtp", media(3601, 3619, clock_offset_ms=3_600_000.0))
    sensors.send(store, "sip", signalling(clock_offset_ms=-30_000.0))
    assert len(store.calls()) == 2
    sensors.send(store, "rtp", media(91, 109, ssrc=70, clock_offset_ms=60_000.0))
    assert len(store.calls()) == 2
    late = {call.method: call for call in store.calls()}["INVITE"]
    assert [stream.first for stream in late.streams] == [T + S] * 2


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_ports_that_are_used_again_take_no_streams_from_each_other(store, sensors, order):
    """Even where the second call begins a second after the first ended."""
    parts = [("sip", signalling(0, 20)), ("sip", signalling(21, 20)), ("rtp", media(22, 40))]
    for index in order:
        sensors.send(store, *parts[index])
    assert [(call.call_id, len(call.streams)) for call in store.calls()] == [("0@sip", 0), ("21@sip", 2)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_legs_of_a_b2bua_that_share_their_media_both_have_the_streams(store, sensors, order):
    parts = [("sip", signalling(0, 20)), ("sip", signalling(0.05, 19.9)), ("rtp", media(1, 19))]
    for index in order:
        sensors.send(store, *parts[index])
    assert [(call.call_id, len(call.streams)) for call in store.calls()] == [("0@sip", 2), ("0.05@sip", 2)]


def test_streams_that_go_on_come_again_and_the_call_has_all_of_them(store, sensors):
    part = media(1, 9)
    sensors.send(store, "rtp", part)
    sensors.send(store, "sip", signalling())
    longer = revised(media(1, 19), uuid=part.uuid, revision=2)
    sensors.send(store, "rtp", longer)
    sensors.send(store, "rtp", part)
    call = check_complete(store)
    assert call.streams[0].last == T + 19 * S


def test_a_call_that_goes_on_takes_the_streams_of_its_new_revision(store, sensors):
    short = signalling(0, 2, end_reason="timeout", media=[])
    sensors.send(store, "rtp", media(60, 70))
    sensors.send(store, "sip", short)
    assert len(store.calls()) == 2
    sensors.send(store, "sip", revised(signalling(0, 100), uuid=short.uuid, revision=2, call_id=short.call_id))
    assert check_complete(store).end_time == T + 100 * S


def test_a_call_that_is_revised_after_the_join_is_joined_still(store, sensors):
    sip = signalling(0, 20, end_reason="timeout")
    sensors.send(store, "sip", sip)
    sensors.send(store, "rtp", media(1, 19))
    sensors.send(store, "sip", revised(sip, revision=2, end_reason="bye", end_time=T + 25 * S, duration=25.0))
    call = check_complete(store)
    assert (call.end_reason, call.duration, call.revision) == ("bye", 25.0, 3)


def test_a_complete_call_and_a_third_who_heard_it_too(store, sensors):
    """The first streams without a call that ever come find calls of before."""
    full = signalling(streams=[*media(1, 19).streams], media=[])
    for stream, side in zip(full.streams, ("caller", "callee"), strict=True):
        stream.direction = side
    sensors.send(store, "full", full)
    sensors.send(store, "rtp", media(1, 19))
    (call,) = store.calls()
    assert (call.views, len(call.streams)) == (2, 4)
    with store._engine.connect() as connection:
        assert connection.execute(sa.select(schema.calls.c.caller_lost)).scalar_one() == 1  # once, not twice


def test_streams_from_two_sensors_one_a_direction(store, sensors):
    sensors.send(store, "a", media(1, 19, both=False))
    sensors.send(store, "sip", signalling())
    assert store.calls()[0].one_way
    sensors.send(store, "b", media(1, 19, ends=(B, A), both=False))
    assert not check_complete(store, views=3).one_way


def test_halves_stay_halves(store, sensors):
    sensors.send(store, "rtp", media(1, 19, ends=(C, D)))
    sensors.send(store, "sip", signalling())
    assert [(call.method, len(call.streams)) for call in store.calls()] == [("INVITE", 0), ("RTP", 2)]


def test_nobody_replaces_what_another_sensor_sent(store, sensors):
    sip, rtp, far = signalling(), media(1, 19), signalling(0.01)
    far.call_id = sip.call_id
    for name, part in (("sip", sip), ("rtp", rtp), ("far", far)):
        sensors.send(store, name, part)
    before = store.calls()
    for part in (sip, rtp, far):
        sensors.send(store, "evil", revised(part, revision=99, caller="evil"))
    assert store.calls() == before
    assert count(store, schema.quarantine) == 3
    alone = signalling(500)
    sensors.send(store, "sip", alone)
    sensors.send(store, "evil", revised(alone, revision=2, callee="evil"))
    assert [call.callee for call in store.calls()] == ["200", "200"]


def test_a_part_that_no_row_holds_does_not_spoil_the_others(store, sensors):
    """Its own figures fit; those of all together do not."""
    big = [revised(stream, lost=2**62) for stream in media(1, 19, both=False).streams]
    sensors.send(store, "sip", signalling(), signalling(100))
    sensors.send(store, "rtp", media(1, 19, both=False, ssrc=1, streams=big),
                 media(101, 119), media(1, 18, both=False, ssrc=2, streams=[revised(big[0], ssrc=9)]))  # fmt: skip
    found = {call.call_id: call for call in store.calls()}
    assert len(found["100@sip"].streams) == 2
    assert store.cursor(Sensors.peer("rtp").sensor_uuid)[1] > 0


def test_a_sensor_that_sends_too_many_parts_of_one_call_makes_no_row_beyond_measure(store, sensors):
    sensors.send(store, "sip", signalling())
    for first in range(0, 100, 20):
        sensors.send(store, "rtp", *(media(1, 19, ssrc=10 * n + 1) for n in range(first, first + 20)))
    call = next(call for call in store.calls() if call.method == "INVITE")
    assert (len(call.streams), call.partial_reasons) == (64, ["streams"])
    assert count(store, schema.joins) <= 65
    assert len(store.calls()) > 30


def scene() -> list[tuple[str, object]]:
    """Calls of every kind, in parts; some are revised."""
    near, far, other = signalling(), signalling(0.02, 20.1), signalling(3000, end_reason="timeout", length=2)
    far.call_id = near.call_id
    short = media(3001, 3005)
    return [
        ("near", near), ("far", far), ("rtp", media(1, 19)), ("more", media(2, 18, both=False)),
        ("near", signalling(3600)), ("rtp", media(3601, 3612)), ("rtp", media(3614, 3619, ssrc=50)),  # an hour later
        ("near", signalling(5000, ends=(C, D))), ("near", signalling(5000.1, ends=(C, D))),
        ("rtp", media(5001, 5019, (D, C))),
        ("near", other), ("near", revised(other, revision=2, end_reason="bye", end_time=T + 3010 * S)), ("rtp", short),
        ("rtp", revised(media(3001, 3009), uuid=short.uuid, revision=2)),
        ("rtp", media(7000, 7010)), ("near", signalling(8000)),
    ]  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_and_grouping_of_arrival_gives_the_same_calls(tmp_path_factory, data):
    parts = scene()
    shuffled = data.draw(st.permutations(parts))
    cuts = data.draw(st.lists(st.booleans(), min_size=len(parts), max_size=len(parts)))
    expected = told(filled(tmp_path_factory, [[part] for part in parts]))
    batches: list[list] = []
    for part, cut in zip(shuffled, cuts, strict=True):
        if batches and not cut and batches[-1][0][0] == part[0]:
            batches[-1].append(part)
        else:
            batches.append([part])
    together = data.draw(st.integers(1, len(batches)))  # how many the store takes in one transaction
    assert told(filled(tmp_path_factory, batches, together)) == expected
    assert [len(call["streams"]) for call in sorted(expected, key=lambda c: c["setup_time"])] == [3, 2, 4, 2, 2, 2, 0]


def filled(factory, batches: list[list], together: int = 1) -> Store:
    store, sensors = open_store(factory.mktemp("db")), Sensors()
    sent = [sensors.batch(batch[0][0], *(part for _, part in batch)) for batch in batches]
    for at in range(0, len(sent), together):
        store.ingest_all(sent[at : at + together])
    return store
