"""Dialogs as they are spoken: what becomes of the record."""

import pytest
from support.packets import block_of
from support.scenario import START, A, B, C, Play, sdp
from voipfleet.calls.analyser import Analyser


def at(seconds: float) -> int:
    return START + round(seconds * 1e9)


def test_a_plain_call():
    play = Play()
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), 100, ssrc=1)
    play.rtp(0.3, (B, 5000), (A, 4000), 100, ssrc=2)
    play.bye(3)
    call = play.the_call()
    assert (call.caller, call.callee, call.final_response, call.hung_up_by, call.end_reason) == (
        "alice", "bob", 200, "caller", "bye")  # fmt: skip
    assert (call.setup_time, call.ring_time, call.answer_time, call.end_time) == (at(0), at(0.1), at(0.2), at(3))
    assert (call.pdd, call.connect_duration, call.transport, call.partial) == (0.1, 2.8, "udp", False)
    assert call.seen == ["caller_sip", "callee_sip", "caller_rtp", "callee_rtp"] and call.legs == 1
    assert [s.direction for s in call.streams] == ["caller", "callee"] and call.streams[0].ptime == 20


@pytest.mark.parametrize("challenge", ["401 Unauthorized", "407 Proxy Authentication Required"])
@pytest.mark.parametrize("tag", ["a", "other"])
def test_a_password_is_asked_for(challenge, tag):
    """One call; some phones take another From tag for the second attempt."""
    play = Play()
    play.sip(0, A, B, "INVITE", "1 INVITE", body=sdp(A, 4000))
    play.sip(0.05, B, A, challenge, "1 INVITE", to="x")
    play.sip(0.06, A, B, "ACK", "1 ACK", to="x")
    play.sip(0.1, A, B, "INVITE", "2 INVITE", body=sdp(A, 4000), sender=tag)
    play.sip(1, B, A, "200 OK", "2 INVITE", to="b", body=sdp(B, 5000), sender=tag)
    play.sip(5, B, A, "BYE", "7 BYE", to=tag, sender="b")
    play.sip(5.1, A, B, "200 OK", "7 BYE", to=tag, sender="b")
    call = play.the_call()
    assert (call.final_response, call.hung_up_by, call.setup_time, call.legs) == (200, "callee", at(0), 1)


def test_a_wrong_password_is_a_rejected_call():
    play = Play()
    for n in (1, 2):
        play.sip(n, A, B, "INVITE", f"{n} INVITE")
        play.sip(n + 0.05, B, A, "401 Unauthorized", f"{n} INVITE", to="x")
    call = play.the_call(until=70)
    assert (call.final_response, call.end_reason, call.partial) == (401, "rejected", False)


@pytest.mark.parametrize("failure", ["422 Session Interval Too Small", "302 Moved Temporarily", "491 Request Pending"])
def test_a_failure_that_is_tried_again(failure):
    play = Play()
    play.sip(0, A, B, "INVITE", "1 INVITE")
    play.sip(0.1, B, A, failure, "1 INVITE", to="x")
    play.sip(0.2, A, B, "INVITE", "2 INVITE", body=sdp(A, 4000))
    play.sip(1, B, A, "200 OK", "2 INVITE", to="b", body=sdp(B, 5000))
    play.bye(3)
    call = play.the_call()
    assert (call.final_response, call.end_reason, call.connect_duration) == (200, "bye", 2.0)


def test_tried_again_after_its_record_left_is_another_call():
    play = Play()
    play.sip(0, A, B, "INVITE", "1 INVITE")
    play.sip(0.1, B, A, "503 Service Unavailable", "1 INVITE", to="x")
    play.sip(5, A, B, "INVITE", "1 INVITE")  # late copy of the first: nothing new
    play.sip(9, A, B, "INVITE", "2 INVITE")
    play.sip(9.1, B, A, "486 Busy", "2 INVITE", to="x")
    counters = {}
    first, second = play.calls(until=20, counters=counters)
    assert (first.final_response, second.final_response, counters["sip_after_call"]) == (503, 486, 1)


def test_forked_with_two_answers():
    """Two phones answer; the caller drops the second. The call goes on with the first."""
    play = Play()
    play.sip(0, A, B, "INVITE", "1 INVITE", body=sdp(A, 4000))
    play.sip(0.1, B, A, "180 Ringing", "1 INVITE", to="b")
    play.sip(0.1, C, A, "180 Ringing", "1 INVITE", to="c")
    play.sip(1, B, A, "200 OK", "1 INVITE", to="b", body=sdp(B, 5000))
    play.sip(1.01, C, A, "200 OK", "1 INVITE", to="c", body=sdp(C, 6000))
    play.sip(1.02, A, C, "BYE", "2 BYE", to="c")
    play.sip(1.03, C, A, "200 OK", "2 BYE", to="c")
    play.sip(8, B, A, "BYE", "1 BYE", to="a", sender="b")
    play.sip(8.1, A, B, "200 OK", "1 BYE", to="a", sender="b")
    call = play.the_call()
    assert (call.legs, call.hung_up_by, call.end_time, call.answer_time) == (2, "callee", at(8), at(1))


def test_early_media_cancelled():
    play = Play()
    play.sip(0, A, B, "INVITE", "1 INVITE", body=sdp(A, 4000))
    play.sip(0.5, B, A, "183 Session Progress", "1 INVITE", to="b", body=sdp(B, 5000))
    play.rtp(0.6, (B, 5000), (A, 4000), 50)
    play.sip(2, A, B, "CANCEL", "1 CANCEL", branch="c")
    play.sip(2.01, B, A, "200 OK", "1 CANCEL", branch="c", to="b")
    play.sip(2.02, B, A, "487 Request Terminated", "1 INVITE", to="b")
    call = play.the_call()
    assert (call.final_response, call.end_reason, call.hung_up_by, call.pdd) == (487, "cancel", "caller", 0.5)
    assert call.connect_duration == 0 and call.streams[0].received == 50 and not call.one_way


def test_the_answer_was_faster_than_the_cancel():
    play = Play()
    play.sip(0, A, B, "INVITE", "1 INVITE", body=sdp(A, 4000))
    play.sip(1, A, B, "CANCEL", "1 CANCEL")
    play.sip(1.001, B, A, "200 OK", "1 INVITE", to="b", body=sdp(B, 5000))
    play.bye(1.5)
    call = play.the_call()
    assert (call.final_response, call.end_reason, call.hung_up_by, call.connect_duration) == (
        200,
        "bye",
        "caller",
        0.499,
    )


def test_reliable_provisional_and_update():
    """SDP in PRACK and UPDATE moves the media like any other (RFC 3262, 3311)."""
    play = Play()
    play.sip(0, A, B, "INVITE", "1 INVITE", body=sdp(A, 4000))
    play.sip(0.2, B, A, "183 Session Progress", "1 INVITE", "RSeq: 1", "Require: 100rel", to="b", body=sdp(B, 5000))
    play.sip(0.3, A, B, "PRACK", "2 PRACK", "RAck: 1 1 INVITE", to="b")
    play.sip(0.4, B, A, "200 OK", "2 PRACK", to="b")
    play.sip(0.5, A, B, "UPDATE", "3 UPDATE", to="b", body=sdp(A, 4100))
    play.sip(0.6, B, A, "200 OK", "3 UPDATE", to="b", body=sdp(B, 5100))
    play.rtp(0.7, (B, 5100), (A, 4100), 20)
    play.sip(1, B, A, "200 OK", "1 INVITE", to="b")
    play.bye(2)
    call = play.the_call()
    assert (call.final_response, call.pdd, len(call.streams)) == (200, 0.2, 1)


def test_hold_and_resume_and_a_move():
    play = Play()
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), 50, ssrc=1)
    play.rtp(0.3, (B, 5000), (A, 4000), 50, ssrc=2)
    play.sip(2, A, B, "INVITE", "2 INVITE", to="b", body=sdp(A, 4000, "a=sendonly"))
    play.sip(2.1, B, A, "200 OK", "2 INVITE", to="b", body=sdp(B, 5000, "a=recvonly"))
    play.sip(6, A, B, "INVITE", "3 INVITE", to="b", body=sdp(C, 4500, "a=sendrecv"))
    play.sip(6.1, B, A, "200 OK", "3 INVITE", to="b", body=sdp(B, 5000))
    play.rtp(6.3, (C, 4500), (B, 5000), 50, ssrc=3)
    play.rtp(6.3, (B, 5000), (C, 4500), 50, ssrc=2, seq=150, stamp=300 * 160)
    play.sip(9, B, A, "BYE", "1 BYE", to="a", sender="b")
    play.sip(9.1, A, B, "200 OK", "1 BYE", to="a", sender="b")
    call = play.the_call()
    assert (call.holds, call.one_way, call.hung_up_by, call.legs) == (1, False, "callee", 1)
    assert sorted((s.direction, s.dst, s.lost) for s in call.streams) == [
        ("callee", f"{A}:4000", 0), ("callee", f"{C}:4500", 0),
        ("caller", f"{B}:5000", 0), ("caller", f"{B}:5000", 0)]  # fmt: skip


def test_a_refused_change_changes_nothing():
    play = Play()
    play.answered()
    play.sip(2, A, B, "INVITE", "2 INVITE", to="b", body=sdp(A, 4100))
    play.sip(2.1, B, A, "488 Not Acceptable Here", "2 INVITE", to="b")
    play.sip(3, B, A, "INVITE", "1 INVITE", to="a", sender="b", body=sdp(B, 5000))  # the callee counts for itself
    play.sip(3.1, A, B, "491 Request Pending", "1 INVITE", to="a", sender="b")
    play.bye(5, call="call-1")
    call = play.the_call()
    assert (call.final_response, call.end_reason, call.end_time) == (200, "bye", at(5))


def test_transfer_and_replaces_are_marked():
    play = Play()
    play.answered()
    play.sip(2, B, A, "REFER", "1 REFER", "Refer-To: <sip:carol@c?Replaces=x>", to="a", sender="b")
    play.bye(3)
    play.sip(4, A, C, "INVITE", "1 INVITE", "Replaces: call-1;to-tag=b;from-tag=a", call="call-2")
    play.sip(4.1, C, A, "486 Busy", "1 INVITE", call="call-2", to="c")
    first, second = play.calls()
    assert (first.referred_to, first.replaces, second.replaces) == ("carol", "", "call-1")


def test_session_timer_ends_a_call_that_nobody_refreshes():
    timer = "Session-Expires: 90;refresher=uac"
    play = Play()
    play.sip(0, A, B, "INVITE", "1 INVITE", timer)
    play.sip(1, B, A, "200 OK", "1 INVITE", timer, to="b")
    play.sip(50, A, B, "UPDATE", "2 UPDATE", timer, to="b")
    play.sip(50.1, B, A, "200 OK", "2 UPDATE", timer, to="b")
    assert play.the_call(until=130).end_reason == "end_of_capture"
    assert play.the_call(until=145).end_reason == "timeout"


@pytest.mark.parametrize("end", [("timeout", 3700, 0), ("rtp_timeout", 400, 50)])
def test_a_late_bye_revises_the_record(end):
    reason, late, packets = end
    play = Play()
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), packets)
    play.sip(late, A, B, "OPTIONS", "1 OPTIONS", call="clock")
    play.sip(late + 1, B, A, "BYE", "1 BYE", to="a", sender="b")
    play.sip(late + 1.5, B, A, "BYE", "1 BYE", to="a", sender="b")
    first, second = play.calls()
    assert (first.end_reason, first.revision, second.revision, second.uuid == first.uuid) == (reason, 1, 2, True)
    assert (second.end_reason, second.hung_up_by, second.end_time) == ("bye", "callee", at(late + 1))
    assert second.connect_duration == late + 0.8


def test_a_bye_after_a_restart_makes_no_call():
    play, counters = Play(), {}
    play.bye(1)
    assert play.calls(counters=counters) == [] and counters["sip_without_call"] == 2
    assert counters["sip_errors"] == 0


def test_retransmissions_are_counted_once_and_copies_of_a_mirror_port_not_at_all():
    play, counters = Play(), {}
    play.sip(0, A, B, "INVITE", "1 INVITE", body=sdp(A, 4000), branch="i", copies=(0.0001,))
    play.sip(0.5, A, B, "INVITE", "1 INVITE", body=sdp(A, 4000), branch="i")
    play.sip(1, B, A, "200 OK", "1 INVITE", to="b", branch="i", copies=(0.001,))
    play.sip(1.5, B, A, "200 OK", "1 INVITE", to="b", branch="i")
    play.bye(3)
    call = play.the_call(counters=counters)
    assert (call.retransmissions, counters["span_duplicates"]) == (2, 2)
    assert play.the_call(deduplicate=False).retransmissions == 4


def test_digits_by_info():
    play = Play()
    play.answered()
    relay, plain = "application/dtmf-relay", "application/dtmf"
    bodies = [("Signal=5\r\nDuration=160\r\n", relay), ("#", plain), ("Signal= 7", relay), ("55", plain)]
    for n, (body, kind) in enumerate(bodies):
        play.sip(1 + n, A, B, "INFO", f"{n + 2} INFO", to="b", body=body, content=kind)
    play.bye(9)
    assert play.the_call().dtmf == "5#7"


def test_methods_are_counted():
    play, counters = Play(), {}
    for n, method in enumerate(["OPTIONS", "SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH", "NEWMETHOD"]):
        play.sip(n, A, B, method, f"1 {method}", call=f"m{n}")
        play.sip(n + 0.1, B, A, "200 OK", f"1 {method}", call=f"m{n}", to="t")
    assert play.calls(counters=counters) == []
    wanted = {"sip_options", "sip_subscribe", "sip_notify", "sip_message", "sip_publish", "sip_other_method"}
    assert {name: counters[name] for name in wanted} == dict.fromkeys(wanted, 1) and counters["sip_responses"] == 6


def test_one_side_of_the_signalling_only():
    play = Play()
    play.sip(0, A, B, "INVITE", "1 INVITE", body=sdp(A, 4000))
    play.sip(1, A, B, "ACK", "1 ACK", to="b")
    play.sip(5, A, B, "BYE", "2 BYE", to="b")
    call = play.the_call(until=1300)
    assert call.partial_reasons == ["sip_one_sided"] and call.seen == ["caller_sip"] and call.hung_up_by == "caller"


def test_nobody_answers_an_invite():
    play = Play()
    for when in (0, 0.5, 1.5, 3.5):
        play.sip(when, A, B, "INVITE", "1 INVITE", branch="same")
    call = play.the_call(until=40)
    assert (call.end_reason, call.final_response, call.retransmissions, call.partial) == ("timeout", 0, 3, False)


def test_drops_during_a_call_are_on_its_record():
    play = Play()
    play.answered()
    play.bye(3)
    analyser = Analyser()
    first, *others = [block_of([packet], start=ts) for ts, packet in play.packets]
    others[1].drops = 7
    calls = [call for block in (first, *others) for call in analyser.feed(block)] + analyser.finish()
    assert [(call.drops, call.partial, call.partial_reasons) for call in calls] == [(7, True, ["drops"])]
    assert analyser.counters["drops"] == 7
