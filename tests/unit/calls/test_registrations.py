"""Registrations: when a record leaves, and what it says."""

import pytest
from support.scenario import START, A, B, Play
from voipfleet.calls import registrations

CONTACT = 'Contact: "Al" <sip:alice@10.0.0.1:5060;ob>;q=1'


def register(play, at, cseq, *headers, status="200 OK", answer=(), call="reg", src=A):
    play.sip(at, src, B, "REGISTER", f"{cseq} REGISTER", *headers, call=call)
    if status:
        play.sip(at + 0.05, B, src, status, f"{cseq} REGISTER", *answer, call=call, to="r")


def records(play, until=0.0, counters=None):
    found = [play.calls(until=until, counters=counters, block=size) for size in (1000, 1)]
    said = [[(r.method, r.caller, r.end_reason, r.revision, r.expires, r.final_response, r.end_time and round(
            (r.end_time - START) / 1e9, 2)) for r in calls] for calls in found]  # fmt: skip
    assert said[0] == said[1]
    assert len({r.uuid for r in found[0]}) <= len(found[0])
    return said[0]


def test_registered_refreshed_and_taken_back():
    play, counters = Play(), {}
    register(play, 0, 1, CONTACT, "Expires: 600", status="401 Unauthorized")
    register(play, 1, 2, CONTACT, "Expires: 600", "Authorization: x", answer=(CONTACT + ";expires=120",))
    register(play, 60, 3, CONTACT, "Authorization: x", answer=(CONTACT + ";expires=120",))
    register(play, 100, 4, CONTACT + ";expires=0", answer=("Expires: 0",))
    assert records(play, counters=counters) == [
        ("REGISTER", "bob", "registered", 1, 120, 200, 0),
        ("REGISTER", "bob", "unregistered", 2, 120, 200, 100.05)]  # fmt: skip
    assert (counters["registrations"], counters["registrations_refreshed"], counters["sip_register"]) == (1, 1, 4)
    assert counters["calls"] == 0


@pytest.mark.parametrize(("expires", "granted"), [(("Expires: 90",), 90), ((), 3600), (("Expires: x",), 3600)])
def test_one_that_is_not_renewed_expires(expires, granted):
    play = Play()
    register(play, 0, 1, CONTACT, *expires)
    assert records(play, until=granted + 5)[-1][2] == "registered"
    assert records(play, until=granted + 15) == [
        ("REGISTER", "bob", "registered", 1, granted, 200, 0),
        ("REGISTER", "bob", "expired", 2, granted, 200, granted + 0.05)]  # fmt: skip


def test_star_takes_all_back():
    play = Play()
    register(play, 0, 1, CONTACT)
    register(play, 1, 1, CONTACT.replace("10.0.0.1", "10.0.0.9"), call="other")
    register(play, 2, 2, "Contact: *", "Expires: 0")
    assert [r[2] for r in records(play)] == ["registered", "unregistered", "registered", "unregistered"]


def test_failures_are_recorded_once_a_minute_and_counted_all():
    play, counters = Play(), {}
    for n in range(8):
        register(play, n * 10, n, CONTACT, "Authorization: wrong", status="403 Forbidden")
    assert [r[2:6] for r in records(play, counters=counters)] == [("rejected", 1, 0, 403)] * 2
    assert counters["registrations_failed"] == 8


def test_a_wrong_password_is_a_failure_and_a_stale_one_is_not():
    play = Play()
    register(
        play, 0, 1, CONTACT, "Authorization: x", status="401 Unauthorized", answer=("WWW-Authenticate: a stale=true",)
    )
    assert records(play) == []
    register(play, 1, 2, CONTACT, "Authorization: x", status="401 Unauthorized")
    assert [r[2] for r in records(play)] == ["rejected"]


def test_no_answer_at_all():
    play = Play()
    register(play, 0, 1, CONTACT, status="")
    assert records(play, until=30) == []
    assert [(r[2], r[5]) for r in records(play, until=40)] == [("timeout", 0)]


def test_a_question_is_no_registration():
    play = Play()
    register(play, 0, 1, answer=(CONTACT + ";expires=50",))
    assert records(play) == []


def test_the_state_is_bounded(monkeypatch):
    monkeypatch.setattr(registrations, "MAX_BINDINGS", 5)
    monkeypatch.setattr(registrations, "MAX_PENDING", 5)
    play, counters = Play(), {}
    for n in range(9):
        register(play, n, 1, CONTACT.replace("10.0.0.1", f"10.0.0.{n}"), call=f"r{n}")
    for n in range(9):
        register(play, 20, 1, CONTACT, call=f"x{n}", status="")
    assert [r[2] for r in records(play, counters=counters)].count("evicted") == 4
    assert counters["registrations_evicted"] == 4 and counters["registers_evicted"] == 4
