"""A call's packets as one: found, fetched, checked and merged; and what is to be said of it in the end."""

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voipfleet.calls.record import CallRecord, local_time
from voipfleet.errors import VoipfleetError
from voipfleet.fetching import fetch, stream
from voipfleet.fetching.answers import Holder
from voipfleet.fetching.merging import Merged, Source, merge
from voipfleet.fetching.parts import Part
from voipfleet.fetching.showing import Showing
from voipfleet.fetching.writing import LinkTypes, clock
from voipfleet.harmless import harmless


@dataclass(slots=True)
class Gathered:
    """`faults`: what is missing, a sentence each; none where everything that is kept anywhere came. `said`: what was
    left out on purpose."""

    call: CallRecord
    merged: Merged
    faults: list[str]
    said: list[str]

    @property
    def notes(self) -> list[str]:
        """What is to be known besides: sensors whose times were corrected, what was left out."""
        clocks = [f"{source.name}: {clock(source.offset_ms, source.shift)}" for source in self.merged.sources
                  if source.shift]  # fmt: skip
        return clocks + self.said

    def summary(self, what: str) -> str:
        """The one line at the end; `what` was made of it."""
        merged, names = self.merged, dict.fromkeys(source.name for source in self.merged.sources)
        first, last = int(merged.ts[0]), int(merged.ts[-1])
        copies = f", {merged.copies:,} that another sensor has too left out" if merged.copies else ""
        count = f"{len(merged):,} packet{'s' * (len(merged) != 1)}"
        span = f"{(last - first) / 1e9:.3f} s from {local_time(first)} on"
        said = f"{what}: {count} from {', '.join(names)}, {span}{copies}"
        return "; ".join([said, *(f"missing: {fault}" for fault in self.faults)])


def found(socket: Path, wanted: str) -> tuple[CallRecord, list[Holder]]:
    """The call and who has packets of it; VoipfleetError where nobody has."""
    call, holders = asyncio.run(fetch.find(socket, wanted))
    if not holders:
        raise VoipfleetError(f"{harmless(wanted)}: no sensor that saw this call is known to keep packets (savesip,"
                             " savertp); look at voipfleet sensors")  # fmt: skip
    return call, holders


@contextlib.contextmanager
def gathered(socket: Path, call: CallRecord, holders: list[Holder], path: Path | None) -> Iterator[Gathered]:
    """All packets that can be had. What comes lies beside `path` while this runs, and goes when it ends well; where it
    is interrupted, the next run with that `path` goes on. Without a path it is in a folder of its own that always goes.
    """
    with contextlib.ExitStack() as stack:
        if path is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voipfleet-")))
            path = folder / "call"
        with Showing() as shown:
            fetching = fetch.Fetching(socket, path.parent, path.name, shown.tell)
            stack.callback(fetching.close)
            outcomes = asyncio.run(fetching.all(holders))
        sources, faults, said = [], [], []
        for outcome in outcomes:
            if outcome.served is None:
                faults.append(outcome.fault)
                continue
            holder, served = outcome.holder, outcome.served
            offset = served.clock_offset_ms if holder.clock_offset_ms is None else holder.clock_offset_ms
            try:
                captures = stream.parse(_bytes(outcome.part), holder.name)
                sources.append(Source(holder.name, captures, offset))
            except VoipfleetError as error:
                outcome.served = None
                outcome.part.remove()  # to go on with it would be of no use
                faults.append(str(error))
            if served.note:
                said.append(_of(holder.name, served.note))
            if served.missing:
                faults.append(_of(holder.name, served.missing))
        merged = merge(sources)
        if not len(merged):
            _clean(outcomes)
            raise VoipfleetError("\n".join(faults) or f"{call.uuid.hex()}: none of its packets is kept any more; how"
                                 " long they are is a matter of maxpoolsize and maxpooldays")  # fmt: skip
        try:
            yield Gathered(call, merged, faults, said)
        except LinkTypes:  # another run with another name has no use for what came
            _clean(outcomes)
            raise
        _clean(outcomes)


def _clean(outcomes: list[fetch.Outcome]) -> None:
    """What came whole is not needed any more; nor is what nothing came of."""
    for outcome in outcomes:
        if outcome.part is not None and (outcome.served is not None or not outcome.part.size):
            outcome.part.remove()


def _bytes(part: Part) -> np.ndarray:
    """As a view of the file: a call of some hundred MB needs no memory of that size."""
    return np.memmap(part.path, np.uint8, "r") if part.size else np.zeros(0, np.uint8)


def _of(name: str, sentence: str) -> str:
    return sentence if sentence.startswith(name) else f"{name}: {sentence}"
