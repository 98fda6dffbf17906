"""Prometheus' own checker, where it is installed or was unpacked by `make .build/promtool`."""

import shutil
from pathlib import Path

import pytest

PROMTOOL = shutil.which("promtool") or str(Path(__file__).parents[2] / ".build" / "promtool")
needs_promtool = pytest.mark.skipif(
    not Path(PROMTOOL).exists(), reason="needs promtool: `make .build/promtool`, or Debian's package prometheus"
)
