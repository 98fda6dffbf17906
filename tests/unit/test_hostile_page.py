"""docs/hostile.md says of each limit what the code says, and where that stands."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "hostile.md").read_text("utf-8")
ROWS = re.findall(r"^\| [^|]+ \| (\d+)[^|]*\| `([\w/]+)\.py (\w+)` \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("limit", "module", "constant"), ROWS)
def test_a_limit(limit, module, constant):
    assert getattr(importlib.import_module("voipfleet." + module.replace("/", ".")), constant) == int(limit)


def test_all_rows_are_read():
    assert len(ROWS) == PAGE.count(".py ") >= 30
