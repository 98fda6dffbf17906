"""What could not be erased on hosts that were away: done when they are back, also after a restart of this instance."""

import asyncio
import json
import logging
import os
import time
from pathlib import Path

from voipfleet.asking.asker import no_data
from voipfleet.asking.messages import Unreached
from voipfleet.errors import VoipfleetError

log = logging.getLogger("voipfleet.manager")
FILE = "erase.json"
MAX_WAITING = 10_000  # of all hosts
LOOK = 5.0  # s between looks who is back
AGAIN = 60.0  # s until a host that did not answer is asked again


class Later:
    """In a file of the spool folder, readable by the daemon only: what is to be erased may be a number."""

    def __init__(self, spool: Path):
        self._path = spool / FILE
        self._tried: dict[str, float] = {}
        self.waiting: list[dict] = []
        try:
            self.waiting = list(json.loads(self._path.read_text("utf-8")))
        except FileNotFoundError:
            pass
        except (ValueError, TypeError):
            log.error("%s: is damaged; what was to be erased on hosts that were away is not known any more, order it"
                      " again (`voipfleet audit --event erase` has what failed)", self._path)  # fmt: skip

    def add(self, host: bytes, arguments: dict, who: str) -> bool:
        """Whether it is kept for then; False where too much waits already, or the disk refuses."""
        one = {"sensor": host.hex(), "arguments": arguments, "who": who}
        if one in self.waiting:
            return True
        return len(self.waiting) < MAX_WAITING and self._keep([*self.waiting, one])

    async def run(self, service) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK)
            for one in list(self.waiting):
                known, now = service.board.routes.get(bytes.fromhex(one["sensor"])), time.monotonic()
                if known and known.way() and now - self._tried.get(one["sensor"], -AGAIN) >= AGAIN:
                    await self._try(service, one, known)

    async def _try(self, service, one: dict, known) -> None:
        result = "ok"
        try:
            await service.board.ask(known.uuid, "erase", one["arguments"], one["who"], no_data)
        except Unreached:
            self._tried[one["sensor"]] = time.monotonic()
            return
        except VoipfleetError as error:  # it is back, and says why not
            result = "failed"
            log.warning("%s: what was to be erased there while it was away is not: %s", known.name, error)
        self._keep([other for other in self.waiting if other != one])
        service.tell_audit("erase", who=one["who"], sensor=known.name, call=one["arguments"].get("uuid", ""),
                           result=result)  # fmt: skip

    def _keep(self, waiting: list[dict]) -> bool:
        """Into the file first."""
        made = self._path.with_suffix(".new")
        try:
            made.unlink(missing_ok=True)
            with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump(waiting, file)
                file.flush()
                os.fsync(file.fileno())
            made.replace(self._path)
        except OSError as error:
            log.error("%s: cannot be written (%s); make room there", self._path, error.strerror)
            return False
        self.waiting = waiting
        return True
