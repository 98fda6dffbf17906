"""One call out of several parts: what is kept, what is filled in, what is computed anew."""

import itertools
import os

import msgspec
import pytest
from voipfleet.calls import emodel
from voipfleet.calls.record import CallRecord, MediaRecord, StreamRecord
from voipfleet.central.merging import merge

T, S = 1_700_000_000_000_000_000, 1_000_000_000
A, B = "10.0.0.1:4000", "10.0.0.2:5000"
CODECS = {96: ("opus", 48000), 8: ("PCMA", 8000), 101: ("telephone-event", 8000)}


def sip(**more) -> CallRecord:
    """A call that a SIP-only sensor saw."""
    media = [MediaRecord(side="caller", address=A, codecs=CODECS, ptime=20.0),
             MediaRecord(side="callee", address=B, codecs={8: ("PCMA", 8000)})]  # fmt: skip
    fields = {"call_id": "c1", "sensor": "sip", "setup_time": T, "answer_time": T + S, "end_time": T + 11 * S,
              "end_reason": "bye", "hung_up_by": "caller", "final_response": 200, "caller": "100", "callee": "200",
              "seen": ["caller_sip", "callee_sip"], "media": media, "duration": 11.0,
              "connect_duration": 10.0}  # fmt: skip
    return CallRecord(uuid=os.urandom(16), **(fields | more))


def stream(src: str, dst: str, ssrc: int = 1, **more) -> StreamRecord:
    fields = {"payload_types": [8], "first": T + 2 * S, "last": T + 10 * S, "expected": 400, "received": 392, "lost": 8,
              "loss_bursts": [8, *[0] * 9]}  # fmt: skip
    return StreamRecord(src=src, dst=dst, ssrc=ssrc, **({"direction": ""} | fields | more))


def rtp(*streams: StreamRecord, **more) -> CallRecord:
    fields = {"call_id": "", "method": "RTP", "sensor": "rtp", "end_reason": "silent",
              "setup_time": min(s.first for s in streams), "end_time": max(s.last for s in streams)}  # fmt: skip
    return CallRecord(uuid=os.urandom(16), streams=list(streams), **(fields | more))


def test_streams_get_side_codec_and_quality_from_the_sdp_that_another_sensor_saw():
    call = merge([sip(), rtp(stream(A, B, 1), stream(B, A, 2, payload_types=[96, 101]))])
    one, two = call.streams
    assert (one.direction, one.codec, one.sensor) == ("caller", "PCMA", "rtp")
    assert (one.r_factor, one.mos) == emodel.quality("PCMA", 400, 8, one.loss_bursts)
    assert (two.direction, two.codec, two.mos, two.ptime) == ("callee", "opus", None, 20.0)
    assert call.seen == ["caller_sip", "callee_sip", "caller_rtp", "callee_rtp"]
    assert (call.views, call.sensor, call.one_way, call.media) == (2, "sip", False, [])


@pytest.mark.parametrize("awaited", [True, False])
def test_a_side_that_stays_silent_is_one_way_where_it_had_agreed_to_send(awaited):
    half = sip()
    half.media[1].awaited = awaited
    call = merge([half, rtp(stream(B, A))])
    assert (call.one_way, call.seen[2:]) == (awaited, ["callee_rtp"])
    assert [media.address for media in call.media] == [B]


def test_behind_nat_the_named_receiver_says_whose_stream_it_is():
    call = merge([sip(), rtp(stream("192.0.2.9:777", B))])
    assert (call.streams[0].direction, call.streams[0].codec) == ("caller", "PCMA")


def test_from_a_side_to_itself_is_nobodys():
    half = sip(media=[MediaRecord(side="caller", address=A), MediaRecord(side="caller", address=B)])
    assert merge([half, rtp(stream(A, B))]).streams[0].direction == ""


def test_encrypted_streams_show_no_digits_and_no_rtcp():
    half = sip()
    half.media[1].secure = True
    found = merge([half, rtp(stream(A, B, dtmf="1", rtcp_lost=5))]).streams[0]
    assert (found.srtp, found.dtmf, found.rtcp_lost) == (True, "", None)


def test_two_sites_are_one_call_with_two_views_and_the_figures_of_one():
    near = sip(sensor="near", media=[], seen=["caller_sip", "callee_sip", "caller_rtp"],
               streams=[stream(A, B, direction="caller")])  # fmt: skip
    far = sip(sensor="far", setup_time=T + 1, callee_name="Bob", user_agent_callee="phone", media=[],
              streams=[stream(A, B, direction="caller", lost=10)])  # fmt: skip
    call = merge([far, near])
    assert (call.uuid, call.sensor, call.views, call.setup_time) == (near.uuid, "near", 2, T)
    assert [(s.sensor, s.lost) for s in call.streams] == [("near", 8), ("far", 10)]
    assert (call.callee_name, call.user_agent_callee) == ("Bob", "phone")


def test_the_view_that_saw_it_answered_speaks_for_the_call_that_was_forked():
    branch = sip(sensor="a", answer_time=0, final_response=487, end_reason="cancel", setup_time=T - 1)
    answered = sip(sensor="b", end_reason="rtp_timeout", partial=True, partial_reasons=["drops"])
    call = merge([branch, answered])
    assert (call.sensor, call.final_response, call.partial_reasons) == ("b", 200, ["drops"])


def test_what_one_missed_and_the_other_saw_is_not_missing():
    one = sip(sensor="a", seen=["caller_sip"], partial=True, partial_reasons=["sip_one_sided"])
    two = sip(sensor="b", seen=["callee_sip"], partial=True, partial_reasons=["sip_one_sided"])
    assert (merge([one]).partial, merge([one, two]).partial) == (True, False)
    opened = sip(sensor="c", end_reason="sensor_restart", partial=True, partial_reasons=["open"])
    assert merge([opened, sip()]).partial_reasons == []
    assert merge([opened]).partial_reasons == ["open"]


def test_without_an_end_it_ends_with_its_last_packet():
    call = merge([sip(end_reason="timeout", end_time=T + S, connect_duration=0.0), rtp(stream(A, B))])
    assert (call.end_time, call.duration, call.connect_duration) == (T + 10 * S, 10.0, 9.0)


def test_times_are_in_the_clock_of_the_primary_view():
    call = merge([sip(clock_offset_ms=500.0), rtp(stream(A, B), clock_offset_ms=-1500.0)])
    assert (call.streams[0].first, call.streams[0].last) == (T + 4 * S, T + 12 * S)


def test_a_stream_that_its_sensor_told_twice_is_one():
    full = sip(sensor="s", streams=[stream(A, B, direction="caller", sensor="s")])
    assert len(merge([full, rtp(stream(A, B), sensor="s")]).streams) == 1
    assert len(merge([full, rtp(stream(A, B), sensor="other")]).streams) == 2
    after_a_restart = rtp(stream(A, B, first=T + 10 * S + 1, last=T + 11 * S), sensor="s")
    assert len(merge([full, after_a_restart]).streams) == 2


def test_more_streams_than_are_kept_is_said():
    call = merge([sip(), rtp(*(stream(A, B, ssrc) for ssrc in range(70)))])
    assert (len(call.streams), call.partial_reasons) == (64, ["streams"])


def test_the_order_of_the_parts_does_not_matter():
    parts = [sip(sensor="a"), sip(sensor="b", setup_time=T + 5), rtp(stream(A, B)), rtp(stream(B, A, 2)),
             rtp(stream(A, B), sensor="other")]  # fmt: skip
    assert len({msgspec.msgpack.encode(merge(list(some))) for some in itertools.permutations(parts)}) == 1
