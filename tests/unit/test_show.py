"""The table of calls: what stands in it, and that nothing from the wire can disturb a terminal."""

import io
import json
import re

import msgspec
import pytest
from rich.cells import cell_len
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.show import print_calls


def stream(direction, **more):
    return StreamRecord(direction=direction, **({"src": "a:1", "dst": "b:2", "ssrc": 1, "codec": "PCMU"} | more))


def shown(*calls, **options) -> str:
    out = io.StringIO()
    print_calls(calls, file=out, **options)
    return out.getvalue()


S = 1_700_000_000_000_000_000
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


def on_a_terminal(monkeypatch, columns: int, *calls: CallRecord) -> list[str]:
    """The lines of the table, without what makes them bold."""
    monkeypatch.setenv("COLUMNS", str(columns))
    out = Terminal()
    print_calls(calls, file=out)
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()


def test_a_wide_terminal_gets_every_figure(monkeypatch):
    row = on_a_terminal(monkeypatch, 200, CALL)[2]
    assert row.startswith("2023-11-1")
    for cell in ("Lisbon", "100", "200", "61.2", "callee", "PCMU", "5 (2.5 %)", "1.3", "3.91 4.41"):
        assert cell in row


@pytest.mark.parametrize("columns", [40, 80, 100])
def test_a_narrow_terminal_gets_a_short_table_and_no_figure_is_cut(monkeypatch, columns):
    header, row, note = on_a_terminal(monkeypatch, columns, CALL)
    assert max(len(header), len(row), len(note)) <= max(columns, 80)
    assert " ".join(header.split()) == "time site caller callee s SIP by codec loss% jit MOS > <"
    assert " ".join(row.split()[1:]) == "Lisbon 100 200 61.2 200 callee PCMU 2.5 0.0 1.3 3.9 4.4"
    assert re.fullmatch(r"[0-9:]{8}", row.split()[0])
    assert "2023-11-1" in note


def test_long_texts_are_folded_and_never_the_figures(monkeypatch):
    long = msgspec.structs.replace(
        CALL, site="s" * 40, caller="1" * 30, callee="\u96fb" * 15, hung_up_by=None, partial=True
    )
    lines = on_a_terminal(monkeypatch, 80, CALL, long)
    assert max(map(cell_len, lines)) <= 80
    assert "".join(lines).count("1" * 4) >= 5
    assert all("3.9 4.4" in line for line in lines if "61.2" in line)
    assert sum("61.2" in line for line in lines) == 2


def test_calls_of_several_days_have_their_date(monkeypatch):
    later = msgspec.structs.replace(CALL, setup_time=CALL.setup_time + 86_400 * 1_000_000_000)
    lines = on_a_terminal(monkeypatch, 80, CALL, later)
    assert [bool(re.match(r"11-1[3-6] [0-9:]{5} ", line)) for line in lines] == [False, True, True, False]


def test_a_long_number_goes_on_in_the_next_line():
    long = CallRecord(uuid=b"u" * 16, revision=1, call_id="", setup_time=0, caller="1" * 60, callee="2")
    text = shown(long)
    assert max(len(line) for line in text.splitlines()) < 150
    assert text.count("1" * 24) == 2


def test_a_text_of_64_kilobytes_does_not_fill_the_screen():
    text = shown(CallRecord(uuid=b"u" * 16, revision=1, call_id="", setup_time=0, caller="1" * 65_000))
    assert len(text.splitlines()) < 12
    assert "..." in text


def test_no_calls_and_one_object_a_line():
    assert shown() == "No calls.\n"
    assert [json.loads(line)["caller"] for line in shown(CALL, CALL, json=True).splitlines()] == ["100", "100"]
    assert shown(json=True) == ""


def test_halves_say_what_is_missing():
    sip = msgspec.structs.replace(CALL, streams=[], answer_time=1, views=1)
    rtp = CallRecord(uuid=b"v" * 16, call_id="", method="RTP", sensor="ear", setup_time=S, duration=9.5,
                     streams=[stream("", src="a:1", dst="b:2", lost=3), stream("", src="b:2", dst="a:1", lost=7),
                              stream("", src="a:1", dst="b:2", lost=4)])  # fmt: skip
    sip_row, rtp_row = [line for line in shown(sip, rtp).splitlines() if line.strip()][2:4]
    assert "no RTP seen" in sip_row
    for cell in ("ear", "a:1", "b:2", "9.5", "RTP without a call", " 7 ", "7"):
        assert cell in rtp_row
    assert "no RTP seen" not in shown(msgspec.structs.replace(sip, t38=True))


def test_a_call_of_two_views_counts_its_packets_once():
    both = [msgspec.structs.replace(one, sensor=name) for name in ("branch2", "branch1") for one in CALL.streams]
    text = shown(msgspec.structs.replace(CALL, streams=both, views=2))
    assert "Lisbon +1" in text
    assert "5 (2.5 %)" in text
    assert "+1: one more sensor saw it" in text
    assert "+1" not in shown(CALL)
