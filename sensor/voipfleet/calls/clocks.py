"""Until when each sensor has told all that it captured. Times ns. No I/O."""

from collections.abc import Collection

MAX_SENSORS = 4_096  # a source names those whose packets it brings; beyond it the one that is furthest behind goes
SILENT = 3600 * 1_000_000_000  # after which nobody waits for a sensor's packets any more


class Clocks:
    """Sensors by name; "" is this instance."""

    def __init__(self):
        self._told: dict[str, int] = {"": 0}

    def __iter__(self):
        return iter(self._told)

    def told(self, sensor: str, now: int) -> str:
        """All that it captured before `now` is here. The name of the one that had to go for it, mostly ""."""
        self._told[sensor] = max(self._told.get(sensor, 0), now)
        if len(self._told) <= MAX_SENSORS:
            return ""
        gone = min((name for name in self._told if name), key=self._told.get)
        del self._told[gone]
        return gone

    def of(self, sensors: Collection[str], now: int) -> int:
        """Until when these have told all; who has been silent for long does not hold up anything."""
        told = min((self._told.get(sensor, 0) for sensor in sensors if sensor), default=now)
        return min(now, max(told, now - SILENT))
