"""Ask the running daemon who holds a call's packets, and fetch them from everyone, a few at a time.

A fetch that has begun and breaks is tried again for PATIENCE: a sensor whose link was lost comes back by itself, and
the fetch goes on where it stopped. What came is checked as a whole by its digest.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from voipfleet.calls.record import CallRecord, local_time
from voipfleet.errors import VoipfleetError
from voipfleet.fetching import answers
from voipfleet.fetching.answers import Holder, Served
from voipfleet.fetching.parts import Final, Part
from voipfleet.harmless import harmless
from voipfleet.manager import asking

AT_ONCE = 4  # holders
PATIENCE, PAUSE = 60.0, 1.0  # s since the last byte of a fetch that has begun; between two attempts
MAX_TOTAL = 4 << 30  # bytes of one call, of all holders together

Tell = Callable[[str, int], None]


@dataclass(slots=True)
class Outcome:
    """What became of one holder: a whole `part` with what it `served`, or a sentence."""

    holder: Holder
    part: Part | None = None
    served: Served | None = None
    fault: str = ""


async def find(socket: Path, wanted: str) -> tuple[CallRecord, list[Holder]]:
    """The call with this Call-ID or uuid. VoipfleetError with the daemon's sentence where there is none."""
    async with asking(socket, "find", call=wanted) as answer:
        found = await answer.whole()
    return answers.call(found), answers.holders(found)


class Fetching:
    """Of one call into `folder`, in files that begin with `name`; `close` it when they are not needed any more.

    `tell(holder, bytes so far)` shows how far it is.
    """

    def __init__(self, socket: Path, folder: Path, name: str, tell: Tell):
        self._socket, self._folder, self._name, self._tell = socket, folder, name, tell
        self._parts: list[Part] = []

    async def all(self, holders: list[Holder]) -> list[Outcome]:
        """One outcome a holder, in their order."""
        turn = asyncio.Semaphore(AT_ONCE)
        names = _names(holders)

        async def one(holder: Holder) -> Outcome:
            async with turn:
                return await self._one(holder, self._folder / f"{self._name}.{names[id(holder)]}.part")

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(holder)) for holder in holders]
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        return [task.result() for task in tasks]

    def close(self) -> None:
        """Until then nobody else may fetch into the same files."""
        for part in self._parts:
            part.close()

    async def _one(self, holder: Holder, path: Path) -> Outcome:
        if not holder.there:
            since = f" since {local_time(round(holder.since * 1e9))}" if holder.since else ""
            fault = f"{holder.name}: is offline{since}; ask again when it is back (voipfleet sensors)"
            return Outcome(holder, fault=fault)
        part = Part(path, holder)
        self._parts.append(part)
        try:
            return Outcome(holder, part, await self._whole(holder, part))
        except VoipfleetError as error:
            said = harmless(str(error))
            return Outcome(holder, part, fault=said if said.startswith(holder.name) else f"{holder.name}: {said}")

    async def _whole(self, holder: Holder, part: Part) -> Served:
        """Every byte that the holder has of it, and right ones."""
        anew = False
        heard: float | None = None  # when the last byte came in this run
        while True:
            before = part.size
            try:
                served = await self._attempt(holder, part)
            except Final:
                raise
            except VoipfleetError:
                if part.size > before:
                    heard = time.monotonic()
                if heard is None or time.monotonic() - heard > PATIENCE:
                    raise
                await asyncio.sleep(PAUSE)
                continue
            if (part.size, part.digest) == (served.bytes, served.digest):
                return served
            if anew:
                raise VoipfleetError("what came is not what it sent, twice; try again, and report it")
            anew = True  # it has changed there since a part of it came
            part.anew()

    async def _attempt(self, holder: Holder, part: Part) -> Served:
        async with asking(self._socket, "fetch", sensor=holder.sensor, uuid=holder.uuid, offset=part.size) as answer:
            async for data in answer:
                part.add(data)
                self._tell(holder.name, part.size)
                if self._total() > MAX_TOTAL:
                    raise Final(f"the call's packets are more than {MAX_TOTAL >> 30} GiB; that is no call, look at what"
                                " it is (voipfleet calls --full)")  # fmt: skip
            return answers.served(answer.result)

    def _total(self) -> int:
        return sum(part.size for part in self._parts)


def _names(holders: list[Holder]) -> dict[int, str]:
    """A name for the file of each, by id(): its own, and where several have one, more."""
    known = [holder.name for holder in holders]
    return {id(holder): holder.name if known.count(holder.name) == 1 else f"{holder.name}-{number}"
            for number, holder in enumerate(holders, 1)}  # fmt: skip
