"""The part of an instance that counts: totals over restarts, and the endpoint for machines."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from voipfleet.metrics.totals import Totals

log = logging.getLogger("voipfleet.metrics")
EVERY = 10.0  # s between what a kill can lose of the totals
FILE = "counters.json"


class Counting:
    """`present()` gives the engine's counters now, `report()` what `voipfleet status` says."""

    def __init__(self, config, present: Callable[[], Mapping[str, int]], report: Callable[[], Awaitable[Mapping]]):
        self._config, self._present, self._report = config, present, report
        self._totals: Totals | None = None
        self._web = None
        self._failing = False

    async def start(self) -> None:
        self._totals = Totals(Path(self._config.spooldir) / FILE)
        if self._config.metrics_port:
            from voipfleet.metrics.web import Web

            self._web = Web(self._report)
            await self._web.start(self._config.metrics_bind, self._config.metrics_port)

    async def run(self) -> None:
        """Keeps the totals, for ever."""
        while True:
            await asyncio.to_thread(self.save)  # a disk may hold still
            await asyncio.sleep(EVERY)

    def save(self) -> None:
        if not self._totals:
            return
        try:
            self._totals.save(self._present())
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.error("%s/%s: counters cannot be kept (%s); make room there", self._config.spooldir, FILE,
                          error.strerror)  # fmt: skip
            self._failing = True

    def report(self) -> dict | None:
        """The part `totals` of the status."""
        if not self._totals:
            return None
        counters = self._totals.with_present(self._present())
        return {"since": self._totals.since, "starts": self._totals.starts, "counters": counters,
                "seconds": round(time.time() - self._totals.since, 1)}  # fmt: skip

    async def close(self) -> None:
        self.save()
        if self._web:
            await self._web.close()
