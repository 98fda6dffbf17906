"""What goes, and why: never more than needed, never the newer before the older, nothing by a clock that jumps."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.packetstore import catalogue, retention, segment
from voipfleet.packetstore.catalogue import Catalogue, Entry
from voipfleet.packetstore.retention import DAY_NS, DAYS, FILES, FLOOR, SIZE, Clock, Limits, Space, decide
from voipfleet.packetstore.segment import HOUR_NS, KINDS, Name

entries = st.builds(
    lambda written, kind, first, size, chance: Entry(written, segment.name_of(kind, first, first, 1, chance), size),
    st.integers(1, 1000), st.sampled_from(KINDS), st.integers(1, 1000), st.integers(1, 50), st.integers(0, 0xFFFF),
)  # fmt: skip
maybe = st.none() | st.integers(1, 400)
by_kind = st.dictionaries(st.sampled_from(KINDS), st.integers(1, 400))
limits = st.builds(Limits, size=maybe, age=maybe, sizes=by_kind, ages=by_kind, floor=st.integers(0, 300))


def made(found: list[Entry]) -> Catalogue:
    filled = Catalogue()
    filled.fill(found)
    return filled


def broken(left: list[Entry], limit: Limits, free: int, inodes: int, now: int, kind: str, coming: int) -> set[str]:
    """The limits that what is left does not keep, by the plain definition."""
    size = {one: sum(e.size for e in left if e.kind == one) + (coming if one == kind else 0) for one in KINDS}
    out = set()
    for one in KINDS:
        ages = [age for age in (limit.age, limit.ages.get(one)) if age is not None]
        if now and ages and any(now - e.written > min(ages) for e in left if e.kind == one):
            out.add(DAYS + one)
        if one in limit.sizes and size[one] > limit.sizes[one]:
            out.add(SIZE + one)
    if limit.size is not None and sum(size.values()) > limit.size:
        out.add(SIZE)
    if free < limit.floor or inodes < 0:
        out.add(FLOOR)
    return out


@settings(max_examples=300)
@given(st.lists(entries, max_size=25, unique=True), limits, st.integers(0, 500), st.integers(-4, 60),
       st.integers(0, 1500), st.sampled_from(KINDS), st.integers(0, 60))  # fmt: skip
def test_what_goes_is_the_oldest_and_no_more_than_needed(found, limit, free, inodes, now, kind, coming):
    goes, fits = decide(made(found), limit, Space(free, inodes), now=now, kind=kind, coming=coming)
    gone = [entry for entry, _ in goes]
    assert len(set(gone)) == len(gone) and set(gone) <= set(found)

    def after(some: list[Entry]) -> set[str]:
        left = [entry for entry in found if entry not in some]
        freed = sum(entry.size for entry in some)
        needs = FILES if coming else 0
        return broken(left, limit, free - coming + freed, inodes - needs + (FILES - 1) * len(some), now, kind, coming)

    still = after(gone)
    assert fits == (not any(why in (FLOOR, SIZE, SIZE + kind) for why in still))
    for why in still:  # what is broken even so is broken by what is not in the store
        if why in (FLOOR, SIZE):
            assert len(gone) == len(found)
        else:
            assert why.startswith(SIZE) and not [e for e in found if e.kind == why[4:] and e not in gone]
    for one in KINDS:  # the older ones of a class are gone before the newer
        order = sorted(entry for entry in found if entry.kind == one)
        assert [entry for entry in gone if entry.kind == one] == order[: sum(entry.kind == one for entry in gone)]
    for number, (entry, why) in enumerate(goes):  # each was needed when it went
        before = after(gone[:number])
        assert {SIZE: {SIZE, SIZE + entry.kind}, DAYS: {DAYS + entry.kind}, FLOOR: {FLOOR}}[why] & before
        if why == FLOOR or (why == SIZE and SIZE + entry.kind not in before):  # the oldest of all
            assert entry == min(e for e in found if e not in gone[:number])


def test_nothing_goes_for_its_age_while_nobody_knows_the_time():
    old = made([Entry(5, segment.name_of("sip", 1, 1, 1, 1), 10)])
    assert decide(old, Limits(age=1), Space(100), now=0) == ([], True)
    assert decide(old, Limits(age=1), Space(100), now=7).goes[0][1] == DAYS


class Clocks:
    """The time of the wall and of a clock that nobody sets, ns."""

    def __init__(self):
        self.wall, self.steady = 10**18, 5 * 10**12
        self.newest = self.wall - 60 * 10**9
        self.clock = Clock(lambda: self.wall, lambda: self.steady)

    def pass_by(self, ns: int) -> None:
        self.wall += ns
        self.steady += ns

    @property
    def ahead(self) -> int:
        """How far what is believed is ahead of the time that went by since."""
        return self.clock.now(self.newest) - self.steady - (10**18 - 5 * 10**12)


def test_a_clock_that_jumps_ahead_for_less_than_an_hour_makes_nothing_old():
    now = Clocks()
    now.pass_by(2 * HOUR_NS)
    assert now.ahead == 0 and now.clock.settled
    now.wall += DAY_NS
    for _ in range(59):
        assert now.ahead == 0
        now.pass_by(HOUR_NS // 60)
    now.wall -= DAY_NS
    assert now.ahead == 0


def test_a_clock_that_stays_where_it_was_set_is_believed_after_an_hour():
    now = Clocks()
    now.pass_by(2 * HOUR_NS)
    assert now.ahead == 0
    now.wall += DAY_NS
    assert now.ahead == 0
    now.pass_by(HOUR_NS)
    assert now.ahead == DAY_NS
    now.wall -= 2 * DAY_NS  # back at once: nothing is older than it says
    assert now.ahead == -DAY_NS


def test_at_the_start_time_goes_on_from_what_was_written_last():
    now = Clocks()
    now.newest -= 30 * DAY_NS
    assert now.clock.now(0) == 0
    assert now.ahead == -30 * DAY_NS - 60 * 10**9
    now.pass_by(HOUR_NS)
    assert now.ahead == 0
    slewed = Clocks()
    for _ in range(200):
        slewed.pass_by(HOUR_NS)
        slewed.wall += 2 * 10**9  # NTP takes it back little by little
        assert slewed.ahead >= 0 and slewed.clock.settled


def lay(folder: Path, count: int, size: int = 5000) -> list[Name]:
    """Segments of an hour each, in `folder`."""
    names = [segment.name_of("sip", n * HOUR_NS, n * HOUR_NS, 1, n) for n in range(count)]
    for name in names:
        path = catalogue.path_of(folder, name, segment.PCAP)
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(size))
        path.with_suffix(segment.IDX).write_bytes(b"")
    return names


def test_a_dry_run_touches_nothing(tmp_path):
    lay(tmp_path, 5)
    said = retention.dry_run(tmp_path, Limits(size=20_000), now=0)
    assert (said["segments"], said["bytes"], said["kept_bytes"]) == (3, 3 * 8192, 2 * 8192)
    assert said["by"]["size"] == {"sip": 3 * 8192, "rtp": 0, "audio": 0} and len(list(tmp_path.rglob("*.pcap"))) == 5


def test_room_is_given_back_from_the_oldest_on(tmp_path):
    names = lay(tmp_path, 5)
    (tmp_path / "holds").mkdir()
    assert retention.give_back(tmp_path, 0) == 0
    assert retention.give_back(tmp_path, 10_000) == 2 * 8192
    assert [entry.name for entry in catalogue.read(tmp_path)] == names[2:]
    assert retention.give_back(tmp_path, 1 << 40) == 3 * 8192
    assert [path.name for path in tmp_path.iterdir()] == ["holds"]
    assert retention.give_back(tmp_path / "none", 1) == 0
