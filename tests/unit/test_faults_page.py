"""docs/faults.md says of every row of the fault matrix what was seen, or why nothing was."""

import json

from faults.report import DOCS, NOTE, page, table
from faults.rows import CANNOT, ELSEWHERE, ROWS

WRITTEN = json.loads((DOCS / "faults.json").read_text("utf-8"))
RESULTS = {name: entry for name, entry in WRITTEN.items() if name != NOTE}


def test_every_row_was_run_or_says_why_not():
    assert list(ROWS) == list(range(1, 41))
    run = {entry["row"] for entry in RESULTS.values()}
    assert set(ROWS) == run | set(CANNOT) | set(ELSEWHERE)
    assert not run & set(CANNOT)


def test_the_page_is_that_of_the_results():
    assert (DOCS / "faults.md").read_text("utf-8") == page(WRITTEN)


def test_nothing_failed_and_what_passed_says_what_was_seen():
    for name, entry in RESULTS.items():
        assert entry["outcome"] in ("passed", "expected to fail"), name
        assert entry["outcome"] != "passed" or {"injected", "seen"} <= set(entry), name


def test_failures_and_bars_are_shown():
    results = {"test_row01_x": {"row": 1, "file": "f", "outcome": "failed", "injected": "a|b", "why": "no"}}
    assert "| a\\|b | **failed**: no |" in page(results)
    assert "1 failed" in table(results)[0] and "elsewhere" in table(results)[38]
