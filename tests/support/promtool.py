"""Prometheus' own checker, where it is installed or was unpacked by `make .build/promtool`.

In CI (VOIPFLEET_CI) its tests are never skipped.
"""

import os
import shutil
from pathlib import Path

import pytest

PROMTOOL = shutil.which("promtool") or str(Path(__file__).parents[2] / ".build" / "promtool")
needs_promtool = pytest.mark.skipif(
    not Path(PROMTOOL).exists() and not os.environ.get("VOIPFLEET_CI"),
    reason="needs promtool: `make .build/promtool`, or Debian's package prometheus",
)
