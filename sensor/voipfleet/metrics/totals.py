"""Counters over restarts: what earlier processes of this host have counted, in a small file, and what this one does."""

import json
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from voipfleet.metrics.laws import LEFT, unread
from voipfleet.whole import put

log = logging.getLogger("voipfleet.metrics")
_CLASSES = ("", "sip_", "rtp_", "audio_")
# Of the engine's status: what is no counter.
GAUGES = frozenset(("calls_active", "pool_staged_packets", "pool_waiting_packets", "pool_damaged_segments",
                    *(f"pool_{one}{what}" for one in _CLASSES for what in ("bytes", "oldest_ns"))))  # fmt: skip


class Totals:
    """`counters` of all lives together; a life that was killed is counted up to its last `save`. `since` (s since the
    epoch) is when counting began, `starts` how many processes there were. A file that is damaged begins anew."""

    def __init__(self, path: Path):
        self._path, self._lock = path, threading.Lock()
        self.since, self.starts, self._before = time.time(), 0, {}
        try:
            kept = json.loads(path.read_text())
            before = {str(name): int(number) for name, number in kept["counters"].items()}
            self.since, self.starts, self._before = float(kept["since"]), int(kept["starts"]), before
        except FileNotFoundError:
            pass
        except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError):
            log.warning("%s: cannot be read; the counters begin anew", path)
        self.starts += 1
        if (left := unread(self._before)) > 0:  # that ring is gone
            self._before[LEFT] = self._before.get(LEFT, 0) + left

    def with_present(self, present: Mapping[str, int]) -> dict[str, int]:
        """Of all lives, this one included. Never less than before."""
        names = self._before.keys() | present.keys()
        return {name: self._before.get(name, 0) + present.get(name, 0) for name in sorted(names - GAUGES)}

    def save(self, present: Mapping[str, int]) -> None:
        """Keep them; raises OSError. Written whole or not at all, by any thread."""
        with self._lock:
            kept = {"since": self.since, "starts": self.starts, "counters": self.with_present(present)}
            put(self._path, json.dumps(kept).encode())
