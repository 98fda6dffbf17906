"""Until when sensors have told all."""

from voipfleet.calls.clocks import MAX_SENSORS, SILENT, Clocks


def test_the_slowest_counts_and_who_is_silent_for_an_hour_does_not():
    clocks = Clocks()
    clocks.told("a", 10 * SILENT)
    clocks.told("b", 10 * SILENT - 5)
    assert clocks.of({"a", "b"}, 10 * SILENT) == 10 * SILENT - 5
    assert clocks.of({"a", "never heard of"}, 10 * SILENT) == 9 * SILENT
    assert clocks.of({""}, 7) == clocks.of(set(), 7) == 7


def test_names_are_bounded_and_those_furthest_behind_go():
    clocks = Clocks()
    for number in range(MAX_SENSORS + 50):
        clocks.told(f"s{number}", number + 1)
    names = set(clocks)
    assert len(names) == MAX_SENSORS and "" in names and f"s{MAX_SENSORS + 49}" in names and "s0" not in names
