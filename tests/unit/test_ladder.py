"""The ladder: arrows from host to host within the width, whatever was on the wire, and what is kept of a call."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.decode import sip
from voipfleet.ladder import FIRST, LAST, Log, Step, draw, rtp

A, B, C = "10.0.0.1:5060", "10.0.0.2:5060", "10.0.0.3:5061"
SDP = "SDP 10.0.0.1:4000 PCMU"


def drawn(steps, width=80):
    return [line for line, _ in draw(steps, width)]


def test_two_hosts():
    stream = StreamRecord(direction="caller", src="10.0.0.1:4000", dst="10.0.0.2:5000", ssrc=1, codec="PCMU",
                          first=3_000_000_000, received=50, lost=2)  # fmt: skip
    lines = drawn([Step(2_500_000, B, A, "180 Ringing"), Step(0, A, B, "INVITE (1)", SDP), rtp(stream)])
    assert lines[0].split() == [A, B]
    assert [line[:9].strip() for line in lines[1:]] == ["+0.000", "+0.003", "+3.000"]
    assert lines[1].endswith("▶│") and f" INVITE (1)  {SDP} ─" in lines[1] and lines[1][18] == "├"
    assert lines[2].endswith("─┤") and "│◀─" in lines[2]
    assert lines[3].endswith("═▶│") and " RTP PCMU 50 packets, 2 lost  :4000 to :5000 " in lines[3]


def test_an_arrow_passes_those_between_and_what_has_no_room_stands_over_it():
    lines = drawn(
        [Step(0, A, B, "INVITE (1)", SDP), Step(1, B, C, "INVITE (1)", SDP), Step(2, C, A, "200 OK (1 INVITE)")]
    )
    assert "│ " + SDP in lines[1] and "├─────── INVITE (1) ──────▶│" in lines[2] and SDP not in lines[2]
    assert lines[-1].count("│") == 1 and " 200 OK (1 INVITE) " in lines[-1]


def test_one_host_with_two_ports_has_two_columns_and_its_media_is_at_the_first():
    steps = [
        Step(0, "127.0.0.1:5060", "127.0.0.1:5070", "INVITE"),
        Step(1, "127.0.0.1:1", "127.0.0.1:2", "RTP", packets=5),
    ]
    lines = drawn(steps)
    assert lines[0].split() == ["127.0.0.1:5060", "127.0.0.1:5070"] and "INVITE ─" in lines[1] and "↺ RTP" in lines[2]


def test_media_of_a_host_that_has_no_signalling_has_a_column():
    lines = drawn([Step(0, A, B, "INVITE"), Step(1, "10.9.9.9:4000", "10.0.0.2:5000", "RTP", packets=5)])
    assert lines[0].split() == [A, B, "10.9.9.9"] and "│◀" in lines[2]


@pytest.mark.parametrize(
    ("hosts", "width", "first"), [(3, 80, "10.0.0.0:5000"), (12, 80, "   +0.000 10.0.0.0:5000 ─▶")]
)
def test_more_hosts_than_there_is_room_for_are_a_list(hosts, width, first):
    ends = [f"10.0.0.{n}:5000" for n in range(hosts)]
    lines = drawn([Step(n, a, b, "INVITE") for n, (a, b) in enumerate(itertools.pairwise(ends))], width)
    assert lines[0].strip().startswith(first.strip()) and max(map(len, lines)) <= width


def test_ports_are_left_out_before_the_columns_are():
    steps = [Step(n, f"10.0.0.1:{n}", "10.0.0.2:5060", "INVITE") for n in range(20)]
    assert drawn(steps)[0].split() == ["10.0.0.1", "10.0.0.2"]


def test_to_itself_and_nothing():
    assert "↺ OPTIONS" in drawn([Step(0, A, A, "OPTIONS"), Step(1, A, B, "INVITE")])[1]
    assert draw([], 80) == []


ENDS = st.sampled_from(
    [A, B, C, "[2001:db8::1]:5060", "10.0.0.1:4000", "[2001:db8:1111:2222:3333:4444:5555:6666]:5060"]
)


@given(st.lists(st.builds(Step, st.integers(0, 10**13), ENDS, ENDS, st.text(max_size=60), st.text(max_size=60),
                          st.booleans(), st.sampled_from([0, 0, 9])), max_size=12), st.integers(60, 200))  # fmt: skip
def test_any_message_is_within_its_lines(steps, width):
    lines = draw(steps, width)
    assert all(len(line) <= width for line, _ in lines)
    assert {id(step) for _, step in lines if step} == set(map(id, steps))


def message(first, cseq="1 INVITE", call="c@x", tag="", body=""):
    lines = [first, f"CSeq: {cseq}", "Via: SIP/2.0/UDP h;branch=z", "From: <sip:a@x>;tag=f", f"To: <sip:b@x>{tag}",
             f"Call-ID: {call}", *(["Content-Type: application/sdp"] if body else []), "", body]  # fmt: skip
    return sip.parse("\r\n".join(lines).encode())


INVITE = "INVITE sip:b@x SIP/2.0"
CALL = CallRecord(uuid=bytes(16), call_id="c@x", setup_time=1)


def test_what_is_kept():
    log = Log("c@")
    body = (
        "v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendonly\r\n"
    )
    log(message(INVITE, body=body), 1, A, B, "udp")
    log(message(INVITE, body=body), 2, A, B, "udp")
    log(message(INVITE, body=body), 3, B, C, "tcp")
    log(message("SIP/2.0 486 Nobody", tag=";tag=t"), 4, B, A, "udp")
    log(message(INVITE, call="other@x"), 5, A, B, "udp")
    log(message("OPTIONS sip:b@x SIP/2.0", "1 OPTIONS", call="c@other"), 6, A, B, "udp")
    assert [(step.text, step.media, step.again, step.failed) for step in log.of(CALL)] == [
        ("INVITE (1)", "SDP 10.0.0.1:4000 PCMA sendonly", False, False),
        ("INVITE (1)", "SDP 10.0.0.1:4000 PCMA sendonly", True, False),
        ("INVITE (1) TCP", "SDP 10.0.0.1:4000 PCMA sendonly", False, False),
        ("486 Busy Here (1 INVITE)", "", False, True)]  # fmt: skip
    earlier, later, others = (CallRecord(uuid=bytes(16), call_id=name, setup_time=at)
                              for name, at in (("c@x", 0), ("c@x", 3), ("d@x", 2)))  # fmt: skip
    assert [step.ts for step in log.of(CALL, [later, CALL, earlier, others])] == [1, 2]
    assert log.of(CallRecord(uuid=bytes(16), call_id="other@x", setup_time=1)) == []


def test_a_body_that_cannot_be_read_is_said():
    log = Log()
    log(message(INVITE, body="v=0\r\nc=IN IP4 nonsense\r\nm=audio 1 RTP/AVP 0\r\n"), 1, A, B, "udp")
    assert log.of(CALL)[0].media == "SDP damaged (sdp_address)"


def test_the_first_and_the_last_messages_are_kept():
    log, many = Log(), 3 * (FIRST + LAST)
    for n in range(many):
        log(message(INVITE, f"{n} INVITE"), n + 1, A, B, "udp")
    times = [step.ts for step in log.of(CALL)]
    assert times == [*range(1, FIRST + 1), *range(many - LAST + 1, many + 1)]
    assert log.left_out == {"c@x": many - FIRST - LAST}


def test_what_all_calls_together_may_keep_is_bounded(monkeypatch):
    monkeypatch.setattr("voipfleet.ladder.MAX_KEPT", 1000)
    monkeypatch.setattr("voipfleet.ladder.MAX_CALLS", 300)
    log = Log()
    for n in range(4_000):
        log(message(INVITE, f"{n} INVITE", call=f"{n % 400}@x"), n + 1, A, B, "udp")
    kept = sum(len(log.of(CallRecord(uuid=bytes(16), call_id=f"{n}@x", setup_time=0))) for n in range(400))
    assert kept == 1000 and sum(log.left_out.values()) == 300 * 10 - 1000 and len(log._marks) == 300
