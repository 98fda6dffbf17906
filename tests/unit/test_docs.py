"""What the pages promise is what tests assert."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
ROW = re.compile(r"\bB\d\d\b")


def test_every_row_of_what_is_lost_when_is_asserted_by_a_test_or_said_not_to_be():
    page = (PROJECT / "docs" / "buffering.md").read_text("utf-8")
    rows = set(re.findall(r"^\| (B\d\d) \|", page, re.MULTILINE))
    untested = set(ROW.findall(re.search(r"^Not tested: (.*)$", page, re.MULTILINE)[1]))
    named = {found for path in (PROJECT / "tests").rglob("test_*.py") for text in
             re.findall(r'"""(.*?)"""', path.read_text("utf-8"), re.DOTALL) for found in ROW.findall(text)}  # fmt: skip
    assert len(rows) >= 20 and untested < rows
    assert named == rows - untested
