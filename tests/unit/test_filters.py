"""Which calls are wanted: each rule, what may be written for it, and the sentence for what may not."""

import argparse
import datetime
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from voipfleet import filters
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.errors import UsageError
from voipfleet.filters import Filter

STREAM = StreamRecord(direction="caller", src="10.1.0.7:4000", dst="[2001:db8::5]:4002", ssrc=1, mos=3.2)
CALL = CallRecord(uuid=bytes(range(16)), call_id="abc-1@x", caller="+4930123", caller_domain="branch.example",
                  callee="*21#", callee_domain="hq", setup_time=1_769_864_400_000_000_000, final_response=486,
                  src="192.0.2.7:5060", dst="192.0.2.8:5061", streams=[STREAM])  # fmt: skip


def changed(**fields):
    return msgspec.structs.replace(CALL, **fields)


@pytest.mark.parametrize(("text", "fits"), [
    ("+4930", True), ("4930", True), ("004930", False), ("123", True), ("*30*", True), ("30", False), ("21#", True),
    ("4930123", True), ("04930", False), ("+", True), ("00", False), ("+49*", True), ("*123", True), ("0049", False),
    ("0049301", True), ("+0049301", True), ("+49", True), ("+4930 123", True), ("(+49) 30-12", False), ("30-123", True),
    ("tel:+49-30-123;x=y", True), ("sip:4930123@branch.example:5060", True), ("000", False),
    ("123*", False), ("*30*3", True), ("*3*3*", True), ("*1*0*", False),
    ("+4930123*", True), ("+4930123*3", False), ("*21", False), ("*21*", True), ("*2*#", True), ("branch", False),
    ("@BRANCH", True), ("@.example", True), ("@ranch", False), ("30123@branch", True), ("4930123@branch", True),
    ("4930123@hq", False), ("*@hq", True), ("*@h", False), ("123@*", False), ("+4930123@*", True), ("30123@*h", False),
    ("+49301234", False), (".", False),
])  # fmt: skip
def test_number(text, fits):
    assert Filter(number=filters.number(text))(CALL) is fits


@pytest.mark.parametrize(("text", "caller", "fits"), [
    ("+49301234", "0049301234", True), ("+49301234", "49301234", True), ("49301234", "00049301234", True),
    ("+49301234", "00049301234", True), ("0049301234", "949301234", True), ("+49", "149", False), ("49", "149", True),
    ("000", "0123", False), ("000", "000", True), ("112", "00112", True), ("00112", "112", False),
    ("100@*", "100", True), ("100@*", "1001", False), ("100@*", "100100", False),
    ("alice", "malice", True), ("030 1234", "0301234", True),
    ("john.doe", "john.doe", True), ("john-doe", "johndoe", False),
])  # fmt: skip
def test_how_numbers_are_written(text, caller, fits):
    assert Filter(number=filters.number(text))(changed(caller=caller, callee="x")) is fits


def test_a_port_that_is_none_is_no_fault():
    assert not Filter(address=filters.address("192.0.2.7:5"))(changed(src="192.0.2.7:\u00b2", dst="", streams=[]))


@given(st.lists(st.text("ab", max_size=3), min_size=2, max_size=4), st.lists(st.text("ab", max_size=3), max_size=4))
def test_a_pattern_fits_what_was_made_of_it(parts, fill):
    text = parts[0] + "".join((fill[n] if n < len(fill) else "") + part for n, part in enumerate(parts[1:]))
    if "*".join(parts).strip("*"):
        assert filters.number("*".join(parts)).fits(text, "")
        assert not filters.number("*".join(parts) + "c").fits(text, "")


@pytest.mark.parametrize(("text", "fits"), [
    ("192.0.2.7", True), ("192.0.2.9", False), ("192.0.2.0/24", True), ("192.0.2.77/24", True), ("10.0.0.0/8", True),
    ("2001:db8::/32", True), ("2001:db8::5", True), ("2001:db8::6", False), ("192.0.2.7:5060", True),
    ("192.0.2.7:5061", False), ("[2001:db8::5]:4002", True), ("[2001:db8::5]:4003", False), ("[2001:db8::5]", True),
])  # fmt: skip
def test_address(text, fits):
    assert Filter(address=filters.address(text))(CALL) is fits
    assert not Filter(address=filters.address(text))(changed(src="", dst="x", streams=[]))


def test_times(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        at = CALL.setup_time  # 2026-01-31T13:00:00Z
        for text in ("2026-01-31T13:00:00Z", "2026-01-31 14:00", "2026-01-31 14:00:00", "2026-01-31T15:00:00+02:00",
                     "2026-01-31T13:00:00.000Z"):  # fmt: skip
            assert filters.since(text) == filters.until(text) == at
        assert filters.since("2026-01-31") == at - 14 * 3600 * 10**9
        assert filters.until("2026-01-31") == at + 10 * 3600 * 10**9
        assert filters.since("2026-01-31 14:00:00.000123") == at + 123_000
    finally:
        monkeypatch.undo()
        time.tzset()
    assert Filter(since=at)(CALL) and not Filter(until=at)(CALL) and Filter(until=at + 1)(CALL)
    assert not Filter(since=at + 1)(CALL)
    now = datetime.datetime.fromtimestamp(at // 10**9, datetime.UTC)
    assert [filters.since(text, now) for text in ("30m", "2h", "1d")] == [at - n * 10**9 for n in (1800, 7200, 86400)]


@pytest.mark.parametrize(("text", "fits"), [
    ("486", True), ("487", False), ("4xx", True), ("5XX", False), ("5xx, 486", True), ("480-489", True),
    ("none", False),
])  # fmt: skip
def test_response(text, fits):
    assert Filter(response=filters.response(text))(CALL) is fits


def test_the_others_and_all_together():
    assert Filter()(CALL) and not Filter()
    assert Filter(mos_below=3.3)(CALL) and not Filter(mos_below=3.2)(CALL)
    assert not Filter(mos_below=5)(changed(streams=[]))
    assert Filter(one_way=True)(changed(one_way=True)) and not Filter(one_way=True)(CALL)
    assert Filter(response=filters.response("none"))(changed(final_response=0))
    both = Filter(number=filters.number("+4930"), response=filters.response("5xx"))
    assert not both(CALL) and both(changed(final_response=503)) and str(both) == "--number, --response"


@pytest.mark.parametrize(("option", "text", "sentence"), [
    ("number", "*", "'*' is every number; give how it begins or ends (555), or a pattern ('*30*', '+49*')"),
    ("number", "", "'' is every number; give how it begins or ends (555), or a pattern ('*30*', '+49*')"),
    ("number", "*@*", "'*@*' is every number; give how it begins or ends (555), or a pattern ('*30*', '+49*')"),
    ("address", "host.example", "'host.example' is no address; give 192.0.2.7, 192.0.2.0/24, 192.0.2.7:5060 or "
     "[2001:db8::7]:5060"),
    ("address", "192.0.2.0/33", "'192.0.2.0/33' is no address; give "),
    ("since", "yesterday", "'yesterday' is no time; give 2026-01-31, 2026-01-31 14:00[:30] (local time), "
     "2026-01-31T14:00:30Z, or 30m, 12h, 7d ago"),
    ("since", "999999d", "'999999d' is no time; give "),
    ("since", "14:00", "'14:00' is no time; give "), ("until", "2026-13-01", "'2026-13-01' is no time; give "),
    ("since", "20260131", "'20260131' is no time; give "), ("since", "2026-01-31X14", "'2026-01-31X14' is no time; "),
    ("response", "9xx", "'9xx' is no response; give 486, 4xx, 500-599, none, or several as in 486,5xx"),
    ("response", "486,", "'' is no response; give "), ("response", "4863", "'4863' is no response; give "),
    ("mos-below", "0.5", "'0.5' is no MOS; give a number above 1 and up to 5, as in 3.6"),
    ("mos-below", "nan", "'nan' is no MOS; "), ("mos-below", "3,6", "'3,6' is no MOS; "),
])  # fmt: skip
def test_what_may_not_be_written(option, text, sentence, capsys):
    parser = argparse.ArgumentParser()
    filters.add_arguments(parser)
    with pytest.raises(SystemExit) as end:
        parser.parse_args([f"--{option}", text])
    assert end.value.code == 2
    assert f"argument --{option}: {sentence}" in capsys.readouterr().err


def test_options_become_a_filter():
    parser = argparse.ArgumentParser()
    filters.add_arguments(parser)
    assert not filters.from_arguments(parser.parse_args([]))
    given = parser.parse_args(["--number", "4930", "--address", "192.0.2.7", "--mos-below", "4", "--one-way"])
    assert filters.from_arguments(given)(changed(one_way=True)) and not filters.from_arguments(given)(CALL)
    with pytest.raises(UsageError, match="--since: it is not before --until; no call can begin between them"):
        filters.from_arguments(parser.parse_args(["--since", "2026-01-31", "--until", "2026-01-30"]))


def test_one_call_by_its_names():
    other = changed(uuid=bytes(16), call_id="abc-12@x")
    calls = [CALL, other]
    assert filters.find(calls, "abc-1@x") == [CALL] and filters.find(calls, "abc-1") == calls
    assert filters.find(calls, "00010203") == [CALL] and filters.find(calls, str("00" * 16)) == [other]
    assert filters.find(calls, "00010203-0405-0607-0809-0A0B0C0D0E0F") == [CALL]
    assert filters.find(calls, "nothing") == [] and filters.find(calls, "-") == []
    assert filters.find(calls, "0001020") == [] == filters.find(calls, "00010203", uuids=False)
