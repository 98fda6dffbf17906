"""How far the clock at the other end of a link is off. No I/O."""

from collections import deque

SAMPLES = 8
WARN = 2.0  # s; from here on a person should look after the clock


class Offset:
    """The other end's clock minus ours, out of exchanges of time stamps as NTP has them (RFC 5905 section 8).

    Of the last few exchanges the quickest tells: it leaves least room for a difference between the two ways.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=SAMPLES)

    def sample(self, sent: int, theirs: int, received: int) -> None:
        """We sent at `sent`, they had it at `theirs`, we had the answer at `received`: µs, each by its own clock."""
        if received >= sent:
            self._samples.append(((received - sent) / 1e6, (theirs - (sent + received) / 2) / 1e6))

    @property
    def seconds(self) -> float | None:
        """None before the first exchange."""
        return min(self._samples)[1] if self._samples else None

    @property
    def round_trip(self) -> float | None:
        """Seconds of the exchange that tells."""
        return min(self._samples)[0] if self._samples else None
