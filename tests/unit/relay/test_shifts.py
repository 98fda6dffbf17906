"""The correction of times: none within what a network can measure, and no step for every measurement."""

from hypothesis import given
from hypothesis import strategies as st
from voipfleet.relay.shifts import DEADBAND, Shifts


def test_a_shift_follows_only_where_the_clock_has_moved():
    shifts = Shifts()
    said = [(0, 0), (DEADBAND, 0), (3_000_000, 3_000_000), (3_040_000, 3_000_000), (2_960_000, 3_000_000),
            (3_060_000, 3_060_000), (10_000, 0), (-600_000_000, -600_000_000)]  # fmt: skip
    assert [(offset, shifts.of(b"a", offset) // 1000) for offset, _ in said] == said
    assert shifts.of(b"b", 0) == 0


@given(st.lists(st.integers(-(10**7), 10**7)))
def test_what_is_left_is_within_the_deadband(offsets):
    shifts = Shifts()
    for offset in offsets:
        assert abs(offset - shifts.of(b"a", offset) // 1000) <= DEADBAND
