"""One call in full: every figure is there, in words, within the width, and harmless."""

import io
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from voipfleet import words
from voipfleet.calls.record import END_REASONS, CallRecord, StreamRecord
from voipfleet.ladder import Step
from voipfleet.show_call import print_call, related

S = 1_000_000_000
STREAM = StreamRecord(
    direction="caller", src="10.0.0.1:4000", dst="10.0.0.2:5000", ssrc=0xABC, codec="PCMU", payload_types=[0, 101],
    ptime=20.0,
    first=102 * S, last=110 * S, expected=400, received=390, lost=10, discarded=8, duplicates=3, reordered=4,
    loss_bursts=[4, 0, 2, 0, 0, 0, 0, 0, 0, 0], jitter_mean_ms=1.5, jitter_max_ms=9.25, delta_max_ms=81.0, markers=7,
    mos=3.21, r_factor=61.4, rtcp_lost=12, rtcp_jitter_ms=2.5, rtcp_mos=3.9, rtcp_rtt_ms=33.5, rtcp_delay_ms=41,
    dtmf="12#",
)  # fmt: skip
CALL = CallRecord(
    uuid=b"u" * 16,
    call_id="x@y",
    sensor="branch1",
    site="Lisbon",
    caller="100",
    caller_name="Al",
    caller_domain="a.example",
    callee="200",
    setup_time=100 * S,
    ring_time=101 * S,
    answer_time=int(101.5 * S),
    end_time=111 * S,
    duration=11.0,
    connect_duration=9.5,
    pdd=0.75,
    final_response=200,
    reason="Q.850;cause=16",
    hung_up_by="callee",
    end_reason="bye",
    retransmissions=2,
    user_agent_caller="Phone/1",
    src="10.0.0.1:5060",
    dst="10.0.0.2:5060",
    dtmf="5",
    drops=6,
    seen=["caller_sip", "callee_sip", "caller_rtp"],
    partial=True,
    partial_reasons=["drops"],
    one_way=True,
    holds=2,
    t38=True,
    referred_to="300",
    replaces="old@y",
    legs=2,
    clock_offset_ms=12.5,
    views=2,
    streams=[STREAM],
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(call, steps=(), file=None, **how) -> str:
    file = file or io.StringIO()
    print_call(call, list(steps), file=file, **how)
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())


def figure(text, name):
    return re.search(rf"^  {re.escape(f'{name:<15}')}(?! )(.*)$", text, re.M)[1].strip()


def test_every_figure_of_a_stream():
    text = shown(CALL)
    for name, value in {
        "from": "10.0.0.1:4000", "to": "10.0.0.2:5000", "SSRC": "0x00000abc", "codec": "PCMU",
        "payload types": "0, 101", "ptime": "20 ms", "first": "+2.000 s", "last": "+10.000 s",
        "expected": "400", "received": "390", "lost": "10 (2.50 %)", "discarded": "8 (2.00 %)",
        "duplicates": "3", "reordered": "4", "loss bursts": "1 ×4, 3 ×2",
        "jitter mean": "1.500 ms", "jitter max": "9.250 ms", "delta max": "81.000 ms", "MOS": "3.21", "R": "61.4",
        "round trip": "33.500 ms", "talk spurts": "7",
    }.items():  # fmt: skip
        assert figure(text, name) == value, name
    assert re.findall(r"by RTCP(?: XR)?\s+(\S+)", text) == ["12", "2.500", "3.9", "41"]


def test_who_when_and_how():
    text = shown(CALL)
    assert text.startswith("100 called 200: the callee hung up (BYE)\n")
    for name, value in {
        "Call-ID": "x@y", "caller": '"Al" 100@a.example, Phone/1', "callee": "200", "seen by": "Lisbon, branch1",
        "first INVITE": "10.0.0.1:5060 to 10.0.0.2:5060 by UDP", "progress": "after 0.750 s (post-dial delay)",
        "lasted": "11.000 s, 9.500 s of them answered", "response": "200 OK", "reason": "Q.850;cause=16",
        "hung up by": "callee", "end reason": "bye", "seen": "SIP of the caller, SIP of the callee, RTP of the caller",
    }.items():  # fmt: skip
        assert figure(text, name) == value, name
    for name, offset in {"rang": "+1.000", "answered": "+1.500", "ended": "+11.000"}.items():
        assert figure(text, name).endswith(f"  ({offset} s)"), name


def test_what_to_look_at():
    text = " ".join(shown(CALL).split())
    for sentence in (
        "one-way audio: no audio of the callee was seen; look at NAT, firewall and the address in that side's SDP",
        "the caller's audio was poor (MOS 3.21)",
        "the caller's audio: 10 of 400 packets lost (2.5 %), up to 3 in a row",
        "the caller's audio: 8 packets came too late to be played; look at jitter",
        "the caller's audio: 3 packets came twice",
        "this record is partial: the kernel dropped packets while it was up",
        "6 packets were dropped by the kernel of the sensor during the call",
        "2 SIP messages were sent again", "the sensor's clock was +12.5 ms from the central's",
        "put on hold 2 times", "fax over IP (T.38)", "transferred to 300 (REFER)", "took over the call old@y",
        "seen by 2 sensors", "responses came from 2 ends",
    ):  # fmt: skip
        assert sentence in text, sentence


def test_nothing_to_look_at():
    good = CallRecord(uuid=bytes(16), call_id="c", setup_time=S, end_reason="bye", hung_up_by="caller", answer_time=S)
    text = shown(good)
    assert "look at" not in text and "also" not in text and "no RTP of this call was seen" in text


@pytest.mark.parametrize(("fields", "sentence"), [
    ({"end_reason": "bye", "hung_up_by": "caller", "answer_time": 1}, "the caller hung up (BYE)"),
    ({"end_reason": "cancel", "hung_up_by": "caller"}, "the caller gave up before it was answered (CANCEL)"),
    ({"end_reason": "rejected", "final_response": 486}, "it was refused with 486 Busy Here"),
    ({"end_reason": "rejected", "final_response": 407},
     "it was refused with 407 Proxy Authentication Required: the password was not sent, or was wrong"),
    ({"end_reason": "timeout"}, "nothing responded to the INVITE"),
    ({"end_reason": "timeout", "ring_time": 1}, "it was never answered, and nothing more was seen of it"),
    ({"end_reason": "timeout", "answer_time": 1}, "no BYE was seen, and nothing more of it"),
    ({"end_reason": "rtp_timeout", "answer_time": 1}, "no BYE was seen: its RTP stopped, and it was taken to be over"),
    ({"end_reason": "end_of_capture", "answer_time": 1}, "it was still up at the end of the capture"),
    ({"end_reason": "end_of_capture"}, "nothing had come of it at the end of the capture"),
])  # fmt: skip
def test_how_it_ended(fields, sentence):
    assert words.ending(CallRecord(uuid=bytes(16), call_id="c", setup_time=0, **fields)) == sentence


def test_every_reason_has_words():
    calls = [CallRecord(uuid=bytes(16), call_id="c", setup_time=0, end_reason=why) for why in END_REASONS[:8]]
    assert all(" " in words.ending(call) for call in calls)


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
def test_streams_side_by_side_as_many_as_fit(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    streams = [
        msgspec.structs.replace(STREAM, ssrc=n, direction=side) for n, side in enumerate(["caller", "callee", ""])
    ]
    text = shown(msgspec.structs.replace(CALL, streams=streams), file=Terminal())
    beside = {60: 1, 80: 2, 100: 2, 160: 3}[columns]
    assert max(map(len, text.splitlines())) <= columns
    assert text.count("loss bursts") == -(-3 // beside)
    assert sorted(re.findall(r"0x0000000\d", text)) == ["0x00000000", "0x00000001", "0x00000002"]


TEXT = st.text(max_size=200)


@settings(max_examples=60, deadline=None)
@given(st.builds(CallRecord, uuid=st.just(bytes(16)), call_id=TEXT, setup_time=st.integers(0, 2**62), caller=TEXT,
                 callee=TEXT, caller_name=TEXT, reason=TEXT, user_agent_caller=TEXT, end_reason=TEXT, referred_to=TEXT,
                 partial_reasons=st.lists(TEXT, max_size=2), dtmf=TEXT, streams=st.lists(st.builds(
                     StreamRecord, direction=st.sampled_from(["caller", ""]), src=TEXT, dst=TEXT, codec=TEXT, dtmf=TEXT,
                     ssrc=st.just(1)), max_size=3)), st.sampled_from([60, 80, 130]))  # fmt: skip
def test_whatever_was_on_the_wire_is_harmless_and_within_the_width(call, columns):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        text = shown(call, file=Terminal())
    assert all(line.isprintable() for line in text.splitlines())
    plain = [line for line in text.splitlines() if line.isascii()]
    assert max(map(cell_len, plain)) <= columns


def test_a_terminal_without_lines_gets_ascii():
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="backslashreplace")
    print_call(CALL, [Step(S, "a:1", "b:2", "INVITE"), Step(S, "b:2", "a:1", "486 Busy", again=True)], file=out)
    out.flush()
    text = out.buffer.getvalue().decode("latin-1")
    assert text.isascii() and "- INVITE -" in text and ">|" in text and "|<-" in text and "1 x4" in text


def test_other_legs_are_named():
    other = msgspec.structs.replace(
        CALL, uuid=b"v" * 16, call_id="leg2", caller="7", setup_time=CALL.setup_time + S // 100
    )
    far = msgspec.structs.replace(other, uuid=b"w" * 16, setup_time=CALL.setup_time + 60 * S)
    apart = msgspec.structs.replace(other, uuid=b"z" * 16, callee="9", streams=[])
    said = related(CALL, [CALL, far, apart, other])
    assert said == ["#4 may be another leg (it has the same media, +0.010 s): 7 to 200, Call-ID leg2"]
    assert "to the same number" in related(CALL, [msgspec.structs.replace(other, streams=[])])[0]
    assert "#4 may be" in shown(CALL, related=said)


def test_which_sensors_saw_it_and_who_analysed_it():
    other = msgspec.structs.replace(STREAM, sensor="branch2")
    text = shown(msgspec.structs.replace(CALL, analysed_by="hq", streams=[STREAM, other]))
    assert figure(text, "analysed by") == "hq"
    assert figure(text, "seen by") == "Lisbon, branch1, branch2"
    assert re.search(r"^  seen by +branch1 +branch2$", text, re.M)
    assert "analysed by hq" in " ".join(text.split())


def test_streams_without_a_call():
    found = CallRecord(uuid=bytes(16), call_id="", method="RTP", sensor="ear", setup_time=S, end_time=2 * S,
                       duration=1.0, end_reason="silent", streams=[STREAM])  # fmt: skip
    text = shown(found)
    assert text.startswith("10.0.0.1:4000 to 10.0.0.2:5000: RTP without a call: no SIP that was seen named these")
    assert "answered" not in text and "unknown" not in text.split("audio")[0]
