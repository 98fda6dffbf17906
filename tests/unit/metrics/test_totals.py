"""Counters over restarts."""

import os
from pathlib import Path

import pytest
from voipfleet.metrics.totals import Totals


def test_counters_go_on_where_the_last_process_was(tmp_path):
    path = tmp_path / "counters.json"
    first = Totals(path)
    assert first.with_present({"sip": 3, "calls_active": 2}) == {"sip": 3}
    first.save({"sip": 3})
    first.save({"sip": 5})
    second = Totals(path)
    assert (second.starts, second.since) == (2, first.since)
    assert second.with_present({}) == {"sip": 5}
    second.save({"sip": 1, "rtp": 7})
    assert Totals(path).with_present({"rtp": 1}) == {"rtp": 8, "sip": 6}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"counters": 3}',
        '{"counters": {"a": "x"}, "since": 1, "starts": 1}',
        '{"counters": {"a": 1e999}}',
    ],
)
def test_a_damaged_file_begins_anew_and_that_is_told(tmp_path, text, caplog):
    path = tmp_path / "counters.json"
    path.write_text(text)
    totals = Totals(path)
    assert (totals.starts, totals.with_present({"sip": 1})) == (1, {"sip": 1})
    assert "cannot be read; the counters begin anew" in caplog.text


def test_a_host_that_begins_has_nothing_to_tell(tmp_path, caplog):
    assert Totals(tmp_path / "counters.json").starts == 1 and not caplog.text


def test_what_has_the_name_is_on_the_disk(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(os.fstat(handle).st_size))
    plain = Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, to: (seen.append("named"), plain(path, to)))
    Totals(tmp_path / "counters.json").save({"sip": 5})
    assert seen == [(tmp_path / "counters.json").stat().st_size, "named"]


def test_a_file_that_is_half_written_is_not_taken(tmp_path):
    path = tmp_path / "counters.json"
    Totals(path).save({"sip": 5})
    path.with_name("counters.json.part").write_text('{"coun')
    assert Totals(path).with_present({}) == {"sip": 5}
