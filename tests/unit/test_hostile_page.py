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


def test_its_counters_are_counted():
    """Each is in the code as it stands here, or made of a word that is."""
    code = "".join(
        path.read_text("utf-8") for path in (Path(importlib.import_module("voipfleet").__file__).parent).rglob("*.py")
    )
    made = ("sip_error_", "rtcp_error_", "fragment_error_", "ignored_")
    named = re.findall(r"`([a-z]+_[a-z_]+)`", PAGE.partition("## The link")[0])
    assert len(named) > 15
    for name in named:
        word = next((name.removeprefix(start) for start in made if name.startswith(start)), name)
        assert f'"{word}"' in code, name
