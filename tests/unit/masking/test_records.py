"""With `number_keep_last` no whole number is in what leaves the analysis: records, checkpoints, registrations."""

import pytest
from support.packets import ip, udp
from support.scenario import START, A, B, Play
from voipfleet.calls.analyser import Analyser, AnalyserSettings
from voipfleet.calls.record import CallRecord, encode
from voipfleet.config import parse
from voipfleet.masking.records import mask_record

CALLER, CALLEE, THIRD = "4930777888", "4989123456", "4940555666"
CALL_ID = "12345678@10.0.0.1"


def say(play: Play, at: float, src: str, dst: str, line: str, cseq: str, *headers: str, call: str = CALL_ID) -> None:
    first = f"SIP/2.0 {line}" if line[0].isdigit() else f"{line} sip:+{CALLEE}@b SIP/2.0"
    tag = ";tag=2" if cseq != "1 INVITE" or line[0] == "2" else ""
    text = "\r\n".join([first, f"Via: SIP/2.0/UDP {src};branch=z9hG4bK{at}",
                        f'From: "Al {CALLER}" <sip:+{CALLER}@a;user=phone>;tag=1',
                        f'To: "{CALLEE}" <sip:%2B{CALLEE}@{CALLEE}>{tag}',
                        f"Call-ID: {call}", f"CSeq: {cseq}", "User-Agent: Phone 123456", *headers, "", ""])  # fmt: skip
    play.raw(at, ip(udp(text.encode(), 5060, 5060), src=src, dst=dst, ident=round(at * 1000) & 0xFFFF))


def a_call() -> Play:
    play = Play()
    say(play, 0.0, A, B, "INVITE", "1 INVITE")
    say(play, 0.2, B, A, "200 OK", "1 INVITE")
    say(play, 0.3, A, B, "ACK", "1 ACK")
    say(play, 1.0, A, B, "REFER", "2 REFER", f"Refer-To: <sip:+{THIRD}@c>")
    say(play, 2.0, A, B, "BYE", "3 BYE", f'Reason: Q.850;cause=16;text="to {THIRD}"')
    say(play, 2.1, B, A, "200 OK", "3 BYE")
    return play


def whole(calls: list[CallRecord]) -> list[str]:
    """The numbers that can be read in what would be written down or sent."""
    told = b"".join(map(encode, calls))
    return [number for number in (CALLER, CALLEE, THIRD) if number.encode() in told]


def test_without_it_all_numbers_are_there():
    assert whole(a_call().calls()) == [CALLER, CALLEE, THIRD]


@pytest.mark.parametrize("keep", [0, 3])
def test_a_record_has_none(keep):
    (call,) = a_call().calls(number_keep_last=keep)
    assert whole([call]) == []
    end = {0: ("xxx", "xxx", "xxx"), 3: ("888", "456", "666")}[keep]
    assert (call.caller, call.caller_name) == (f"+xxxxxxx{end[0]}", f"Al xxxxxxx{end[0]}")
    assert call.callee == f"%2Bxxxxxxx{end[1]}" and call.callee_domain == call.callee_name == f"xxxxxxx{end[1]}"
    assert (call.referred_to, call.reason) == (f"+xxxxxxx{end[2]}", f'Q.850;cause=16;text="to xxxxxxx{end[2]}"')
    assert (call.call_id, call.src, call.user_agent_caller) == (CALL_ID, f"{A}:5060", "Phone 123456")


def test_nor_has_an_open_call_or_one_that_comes_again():
    """Checkpoints, records at a stop, and the next revision of a record by late evidence."""
    play = a_call()
    end, play.packets = play.packets[-2:], play.packets[:-2]
    patience = {"rtptimeout": 1, "sipwithoutrtptimeout": 1}
    analyser = Analyser(AnalyserSettings(checkpoints=True, number_keep_last=3, **patience), "s")
    play.into(analyser)
    list(map(list, analyser.checkpoints(0.0)))
    begun, due = map(list, analyser.checkpoints(5.0))
    assert len(begun + due) == 1 and whole(begun + due) == []
    gone = analyser.tick(START + 10 * 10**9)
    play.packets = end
    again = play.into(analyser) + analyser.finish()
    assert [call.revision for call in gone + again] == [1, 2] and whole(gone + again) == []
    assert {call.call_id for call in gone + again} == {CALL_ID}


def test_nor_has_a_registration():
    play = Play()
    contact = f"Contact: <sip:+{CALLER}@10.0.0.1:50600;ob>"
    for at, cseq, expires in ((0.0, 1, 60), (5.0, 2, 0)):
        say(play, at, A, B, "REGISTER", f"{cseq} REGISTER", f"{contact};expires={expires}")
        say(play, at + 0.1, B, A, "200 OK", f"{cseq} REGISTER", f"{contact};expires={expires}")
    say(play, 6.0, A, B, "REGISTER", "3 REGISTER", contact, "Authorization: x")
    say(play, 6.1, B, A, "403 No", "3 REGISTER", f"Reason: {THIRD}")
    calls = play.calls(number_keep_last=3)
    assert [call.end_reason for call in calls] == ["registered", "unregistered", "rejected"]
    assert whole(calls) == [] and whole(play.calls()) == [CALLER, CALLEE, THIRD]
    assert calls[1].contact == "sip:+xxxxxxx888@10.0.0.1:50600;ob" and calls[1].caller == "%2Bxxxxxxx456"
    assert calls[0].uuid == calls[1].uuid and {call.call_id for call in calls} == {CALL_ID}


def test_the_digits_of_a_call_are_another_key():
    call = CallRecord(uuid=b"", call_id="1234567", setup_time=0, dtmf="123456", dtmf_callee="123456",
                      src="10.0.0.1:50600", replaces="7654321@h", user_agent_callee="X 1234567")  # fmt: skip
    before = encode(call)
    assert encode(mask_record(call, 0)) == before


def test_it_comes_from_the_configuration():
    for line, keep in (("number_keep_last = 4\n", 4), ("number_keep_last = 0\n", 0), ("", None)):
        config = parse(f"[general]\ninterface = a\n{line}")
        assert AnalyserSettings.from_config(config).number_keep_last == keep
