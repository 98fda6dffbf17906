"""Comma-separated values: one row a call, and nothing in it that a spreadsheet would compute."""

import csv
import io

import pytest
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.csvout import HEADINGS, write_csv


def rows(*calls):
    file = io.StringIO()
    write_csv(calls, file)
    return list(csv.DictReader(io.StringIO(file.getvalue()))), file.getvalue()


def call(**more):
    return CallRecord(uuid=bytes(16), call_id="c", setup_time=1_700_000_000_123_456_000, **more)


def test_a_row():
    heard = {"direction": "caller", "src": "a:1", "dst": "b:1"}
    streams = [StreamRecord(**heard, ssrc=1, codec="PCMU", expected=100, received=98, lost=2, mos=4.2),
               StreamRecord(**heard, ssrc=2, codec="PCMA", expected=10, received=10, mos=3.1)]  # fmt: skip
    (row,), text = rows(call(caller="100", final_response=200, one_way=True, streams=streams))
    assert row["setup_time"] == "2023-11-14T22:13:20.123456Z" and row["answer_time"] == ""
    assert (row["caller"], row["final_response"], row["one_way"], row["pdd"]) == ("100", "200", "true", "")
    assert (row["caller_codec"], row["caller_lost"], row["caller_mos"], row["callee_lost"]) == (
        "PCMU PCMA",
        "2",
        "3.1",
        "",
    )
    assert text.splitlines()[0] == ",".join(f'"{name}"' for name in HEADINGS)
    assert all(line.startswith('"') and line.endswith('"') for line in text.splitlines())


@pytest.mark.parametrize("value", ["=cmd|' /C calc'!A0", "+49301234", "-1+1", "@SUM(1)", "\tx", "\rx"])
def test_no_cell_is_a_formula(value):
    (row,), _ = rows(call(caller=value, callee_name=value))
    assert row["caller"].startswith("'") and row["callee_name"].startswith("'")


def test_line_ends_and_quotes_stay_within_their_cell():
    (row,), text = rows(call(caller='a"b,c\n\x1b[31m'))
    assert row["caller"] == 'a"b,c\\x0a\\x1b[31m' and len(text.splitlines()) == 2


def test_a_number_below_zero_stays_a_number():
    (row,), _ = rows(call(pdd=-0.5))
    assert row["pdd"] == "-0.5"
