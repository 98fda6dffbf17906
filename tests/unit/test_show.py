"""The table of calls: what stands in it, and that nothing from the wire can disturb a terminal."""

import io
import json

from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.show import print_calls


def stream(direction, **more):
    return StreamRecord(direction=direction, src="a:1", dst="b:2", ssrc=1, **({"codec": "PCMU"} | more))


def shown(*calls, **options) -> str:
    out = io.StringIO()
    print_calls(calls, file=out, **options)
    return out.getvalue()


CALL = CallRecord(
    uuid=b"u" * 16, revision=1, call_id="x@y", sensor="branch1", site="Lisbon", caller="100", callee="200",
    setup_time=1_700_000_000_123_456_789, connect_duration=61.25, final_response=200, hung_up_by="callee",
    end_reason="bye", streams=[stream("caller", expected=200, lost=5, jitter_mean_ms=1.26, mos=3.91),
                               stream("callee", expected=100, lost=0, jitter_mean_ms=0.2, mos=4.41)],
)  # fmt: skip


def test_a_row_has_what_a_person_asks_for():
    header, _, row = [line for line in shown(CALL).splitlines() if line.strip()][:3]
    assert header.split("   ")[0].strip() == "time"
    for cell in (".123", "Lisbon", "100", "200", "61.2", "callee", "PCMU", "5 (2.5 %)", "1.3", "3.91 4.41"):
        assert cell in row


def test_what_is_not_known_is_a_dash():
    empty = CallRecord(uuid=b"u" * 16, revision=1, call_id="", setup_time=0, end_reason="timeout", partial=True)
    row = [line for line in shown(empty).splitlines() if line.strip()][2]
    assert "timeout (partial)" in row
    assert row.count(" - ") >= 5


def test_control_characters_are_shown_not_obeyed():
    evil = CallRecord(
        uuid=b"u" * 16, revision=1, call_id="", setup_time=0, caller="\x1b[2J\x07[b]x[/b]", callee="a\nb\u202ec"
    )
    text = shown(evil)
    assert not any(c in text for c in "\x1b\x07\u202e")
    assert r"\x1b[2J\x07[b]x[/b]" in "".join(text.split())
    assert json.loads(shown(evil, json=True))["caller"] == evil.caller


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_narrow_terminal_gets_a_short_table_and_no_value_is_cut(monkeypatch):
    for columns, time in (("200", "2023-11-"), ("90", " ")):
        monkeypatch.setenv("COLUMNS", columns)
        out = Terminal()
        print_calls([CALL], file=out)
        row = [line for line in out.getvalue().splitlines() if line.strip()][2]
        assert (time == "2023-11-") == ("2023-11-" in row)
        for cell in ("Lisbon", "100", "200", "61.2", "callee", "PCMU", "5", "1.3", "3.91 4.41"):
            assert cell in row


def test_a_long_number_goes_on_in_the_next_line():
    long = CallRecord(uuid=b"u" * 16, revision=1, call_id="", setup_time=0, caller="1" * 60, callee="2")
    text = shown(long)
    assert max(len(line) for line in text.splitlines()) < 150
    assert text.count("1" * 24) == 2


def test_no_calls_and_one_object_a_line():
    assert shown() == "No calls.\n"
    assert [json.loads(line)["caller"] for line in shown(CALL, CALL, json=True).splitlines()] == ["100", "100"]
    assert shown(json=True) == ""
