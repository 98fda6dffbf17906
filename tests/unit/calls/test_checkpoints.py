"""Open calls are written down: soon, spread, bounded, with what is known and the uuid that their record will have."""

import dataclasses
import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from support.scenario import START, A, B, Play, plain
from voipfleet.calls.analyser import Analyser
from voipfleet.calls.checkpoints import BURST, EVERY, FIRST, RATE, Checkpoints
from voipfleet.calls.settings import AnalyserSettings


@dataclasses.dataclass
class Call:
    uuid: bytes
    sensor: str = ""
    news: int = 1


class Table:
    """Calls, and a clock; `taken` is what was given with when."""

    def __init__(self):
        self.calls: dict[bytes, Call] = {}
        self.taken: list[tuple[float, bytes]] = []
        self.due = Checkpoints(self.calls.get, lambda key, call: (call.news,))

    def open(self, key: bytes, sensor: str = "", uuid: bytes = b"u") -> None:
        self.calls[key] = Call(uuid, sensor)
        self.due.opened(key, self.calls[key])

    def turn(self, now: float) -> list[bytes]:
        found = [key for key, _ in [*self.due.begun(now), *self.due.due()]]
        self.taken += [(now, key) for key in found]
        return found


def test_first_within_a_second_and_then_every_ten():
    table = Table()
    table.turn(100.0)
    table.open(b"a")
    for step in range(1, 1000):
        table.turn(100 + step / 20)
        table.calls[b"a"].news += 1
    times = [now - 100 for now, _ in table.taken]
    assert times[0] <= 1 and len(times) == 5
    assert all(abs(b - a - EVERY) < 0.2 for a, b in itertools.pairwise(times))


def test_a_call_without_news_is_not_written_again_and_one_that_left_never():
    table = Table()
    table.open(b"a")
    table.open(b"b")
    table.turn(1.0)
    assert table.turn(2.0) == [b"a", b"b"]
    table.calls[b"b"].news = 2
    assert table.turn(2.0 + EVERY) == [b"b"]
    table.calls[b"a"].news = 2
    del table.calls[b"b"]
    table.open(b"b", uuid=b"another call of the same Call-ID")
    assert table.turn(3 + 2 * EVERY) == [b"a"]
    assert table.turn(4 + 2 * EVERY) == [b"b"]


def test_a_call_of_another_host_at_once():
    table = Table()
    table.turn(1.0)
    table.open(b"own")
    table.open(b"other", sensor="branch1")
    assert [key for key, _ in table.due.begun(1.1)] == [b"other"]
    assert table.turn(1.1 + FIRST + 0.1) == [b"own"]


def test_never_all_in_one_turn_and_each_in_its_time():
    table = Table()
    table.turn(0.0)
    for number in range(2000):
        table.open(b"%d" % number)
    for step in range(1, 30 * 25):
        assert len(table.turn(step / 25)) <= BURST
        for call in table.calls.values():
            call.news += 1
    often = Counter(key for _, key in table.taken)
    assert len(often) == 2000 and min(often.values()) >= 2
    assert max(Counter(int(now) for now, _ in table.taken).values()) <= RATE + BURST


def test_a_flood_of_new_calls_does_not_starve_those_that_talk():
    table = Table()
    table.turn(0.0)
    table.open(b"talks")
    for step in range(1, 25 * 25):
        for number in range(200):
            table.open(b"%d-%d" % (step, number))
        table.turn(step / 25)
        table.calls[b"talks"].news += 1
    assert [key for _, key in table.taken].count(b"talks") >= 2


@given(st.lists(st.tuples(st.sampled_from("onrt"), st.integers(0, 30), st.floats(0, 5)), max_size=60))
def test_only_open_calls_with_news_whatever_happens(steps):
    table, now, known = Table(), 0.0, {}
    for at, (what, number, more) in enumerate(steps):
        key, now = b"%d" % number, now + more
        if what == "o":
            table.open(key, uuid=b"%d" % at)
            known.pop(key, None)
        elif what == "n" and key in table.calls:
            table.calls[key].news += 1
        elif what == "r":
            table.calls.pop(key, None)
        else:
            for found in table.turn(now):
                assert known.get(found) != table.calls[found]
                known[found] = dataclasses.replace(table.calls[found])


def up(**settings):
    """A call that has been up for 2 s, in an analyser."""
    play = Play()
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), 80, lost=(5, 6))
    play.rtp(0.3, (B, 5000), (A, 4000), 80, ssrc=2)
    analyser = Analyser(AnalyserSettings(checkpoints=True, **settings), sensor="s")
    play.into(analyser)
    return play, analyser


def test_it_says_what_the_record_would_say_and_has_its_uuid():
    _, analyser = up()
    assert [list(found) for found in analyser.checkpoints(0.0)] == [[], []]
    ((), (found,)) = map(list, analyser.checkpoints(1.0))
    assert (found.end_reason, found.partial, found.partial_reasons) == ("sensor_restart", True, ["open"])
    assert {stream.direction: (stream.received, stream.lost) for stream in found.streams} == {
        "caller": (78, 2), "callee": (80, 0)}  # fmt: skip
    (record,) = analyser.finish("sensor_restart")
    assert found == record


def test_making_one_changes_nothing():
    play, analyser = up()
    for now in range(40):
        for _ in map(list, analyser.checkpoints(now * 11.0)):
            pass
    play.packets.clear()
    play.bye(3.0)
    play.into(analyser)
    (record,) = [*analyser.tick(START + 10 * 10**9), *analyser.finish()]
    other, fresh = up()
    other.packets.clear()
    other.bye(3.0)
    other.into(fresh)
    (expected,) = [*fresh.tick(START + 10 * 10**9), *fresh.finish()]
    assert plain(record) == plain(expected) and record.end_reason == "bye"


def test_one_that_has_ended_is_whole_and_its_record_has_left_under_the_same_uuid():
    play, analyser = up()
    list(map(list, analyser.checkpoints(0.0)))
    play.packets.clear()
    play.bye(3.0)
    play.into(analyser)
    (_, (found,)) = map(list, analyser.checkpoints(1.0))
    assert (found.end_reason, found.partial) == ("bye", False)
    (record,) = analyser.tick(START + 10 * 10**9)
    assert record.uuid == found.uuid
    assert [list(found) for found in analyser.checkpoints(60.0)] == [[], []]
