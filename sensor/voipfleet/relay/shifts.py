"""By how much the times of other hosts' packets are shifted, their clocks being off. No I/O.

A measurement over a network is no better than the difference between the two ways: packets of clocks that agree within
DEADBAND keep the times that their kernel gave them. And a shift that follows every measurement would look like jitter.
"""

DEADBAND = 50_000  # µs


class Shifts:
    """What is taken off the times of each origin's packets."""

    def __init__(self) -> None:
        self._applied: dict[bytes, int] = {}  # µs

    def of(self, origin: bytes, offset: int) -> int:
        """`offset` as measured now, µs; the shift in ns."""
        applied = self._applied.get(origin, 0)
        if abs(offset - applied) > DEADBAND:
            applied = offset if abs(offset) > DEADBAND else 0
            self._applied[origin] = applied
        return applied * 1000
