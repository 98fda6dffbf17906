"""How far the clock at the other end of a link is off."""

import asyncio
import logging
from collections import deque

log = logging.getLogger("voipfleet.link")
SAMPLES = 8
SETTLE, EVERY = 5.0, 30.0  # s until the first look, and between looks
STEP = 0.1  # s between two samples that no delay explains: one of the clocks was set
WARN = 2.0  # s; from here on a person should look after the clock


class Offset:
    """The other end's clock minus ours, out of exchanges of time stamps as NTP has them (RFC 5905 section 8).

    Of the last few exchanges the quickest tells: it leaves least room for a difference between the two ways.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=SAMPLES)

    def sample(self, sent: int, theirs: int, received: int) -> None:
        """We sent at `sent`, they had it at `theirs`, we had the answer at `received`: µs, each by its own clock."""
        if received < sent:
            return
        trip, seconds = (received - sent) / 1e6, (theirs - (sent + received) / 2) / 1e6
        if self._samples and abs(seconds - self.seconds) > (trip + self.round_trip) / 2 + STEP:
            self._samples.clear()
        self._samples.append((trip, seconds))

    @property
    def seconds(self) -> float | None:
        """None before the first exchange."""
        return min(self._samples)[1] if self._samples else None

    @property
    def round_trip(self) -> float | None:
        """Seconds of the exchange that tells."""
        return min(self._samples)[0] if self._samples else None


async def watch(clock: Offset, name: str) -> None:
    """Warn where the peer's clock is off, once for each time that it is; runs beside a session."""
    warned = False
    await asyncio.sleep(SETTLE)
    while True:
        seconds = clock.seconds
        off = seconds is not None and abs(seconds) > WARN
        if off and not warned:
            way = "ahead of" if seconds > 0 else "behind"
            log.warning("the clock of %s is %.1f s %s ours; let both follow NTP (times of its calls are taken as they"
                        " are, with this offset beside them)", name, abs(seconds), way)  # fmt: skip
        warned = off
        await asyncio.sleep(EVERY)
