"""Searches give the calls that the filter takes, in order, page by page."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.records import EPOCH, NOON, call, row
from voipfleet import filters
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.central import conditions, facts, search, ways
from voipfleet.central.conditions import Query
from voipfleet.central.store import Peer, Store
from voipfleet.errors import UsageError
from voipfleet.filters import Filter
from voipfleet.records.messages import Batch

PEER = Peer(b"s" * 16, "branch1", "", "10.0.0.1")
HOUR = 3600 * 10**9


def keep(store: Store, found: list[CallRecord], epoch: bytes = EPOCH) -> None:
    for at in range(0, len(found), 400):
        store.ingest(PEER, Batch(epoch, [row(at + n, one) for n, one in enumerate(found[at : at + 400], 1)]))


# Few values each, so that they meet; times so near that many are the same.
_numbers = st.one_of(st.text("+490ß", max_size=4), st.just("9" * 60), st.just("9" * 46 + "+4"))
_hosts = st.sampled_from(["192.0.2.7", "192.0.2.8", "10.1.0.7", "[2001:db8::7]", "[::ffff:192.0.2.7]", "x", ""])
_ends = st.builds("{}:{}".format, _hosts, st.sampled_from(["5060", "4000", ""]))
_mos = st.one_of(st.none(), st.sampled_from([1.0, 3.5, 3.5999999999999996, 3.6, 3.65, 4.41]))
_sides = st.sampled_from(["caller", "callee", ""])
_stream = st.builds(StreamRecord, direction=_sides, src=_ends, dst=_ends, ssrc=st.just(1), mos=_mos,
                    lost=st.integers(0, 2), expected=st.just(9))  # fmt: skip
_streams = st.lists(_stream, max_size=3)
_calls = st.builds(
    call, caller=_numbers, callee=_numbers, caller_domain=st.sampled_from(["", "hq", "HQ.example"]),
    setup_time=st.integers(NOON, NOON + 3), final_response=st.sampled_from([0, 200, 404, 486, 503, 2000]),
    one_way=st.booleans(), answer_time=st.sampled_from([0, NOON]), src=_ends, dst=_ends, streams=_streams,
    method=st.sampled_from(["INVITE", "INVITE", "RTP", "REGISTER"]), site=st.sampled_from(["", "n", "s"]),
)  # fmt: skip
_patterns = st.lists(st.text("+490ßs", max_size=2), min_size=1, max_size=4).map("*".join).filter(lambda t: t.strip("*"))
_wanted = st.builds(
    dict, number=st.one_of(st.none(), _patterns, st.sampled_from(["@hq", "9*@hq", "*9@HQ*", "9@hq", "9@*", "00", "+",
                                                                   "9" * 47 + "*", "*+4"])),
    address=st.one_of(st.none(), st.sampled_from(["192.0.2.7", "192.0.2.0/24", "192.0.2.7:4000", "2001:db8::/32",
                                                  "10.1.0.7", "::/0", "::ffff:192.0.2.7"])),
    response=st.one_of(st.none(), st.sampled_from(["none", "4xx", "486,503", "none,2xx"])),
    mos=st.one_of(st.none(), st.sampled_from(["3.6", "3.65", "4.5", "1.1"])),
    one_way=st.sampled_from([None, True, False]), site=st.sampled_from(["", "", "n", "branch1"]),
    since=st.sampled_from([None, NOON, NOON + 1]), until=st.sampled_from([None, NOON + 2, NOON + 9]),
)  # fmt: skip


def filtered(said: dict) -> Filter:
    made = {name: said[name] and getattr(filters, name)(said[name]) for name in ("number", "address", "response")}
    return Filter(mos_below=said["mos"] and filters.mos(said["mos"]), one_way=said["one_way"], since=said["since"],
                  until=said["until"], **made)  # fmt: skip


@settings(
    max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(found=st.lists(_calls, max_size=25), asked=st.lists(_wanted, min_size=3, max_size=3), limit=st.integers(1, 7),
       many=st.sampled_from([2, 100_000]), near=st.sampled_from([0, 4, 20_000]))  # fmt: skip
def test_the_search_finds_what_the_filter_takes(store, monkeypatch, found, asked, limit, many, near):
    """Also where every way has more calls than are counted. In any order, page by page."""
    monkeypatch.setattr(ways, "MANY", many)
    monkeypatch.setattr(search, "NEAR", near)
    with store._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM calls")
        connection.exec_driver_sql("DELETE FROM link_cursor")
        connection.exec_driver_sql("DELETE FROM addresses")
    for one in found:
        one.call_id = one.uuid.hex()
    keep(store, found)
    alive = {one.uuid: one for one in store.calls()} | {one.uuid: one for one in store.calls(method="REGISTER")}
    for said in asked:
        wanted, site = filtered(said), said["site"]
        for kind, methods in ((facts.INVITES, ("INVITE", "RTP")), (facts.REGISTRATIONS, ("REGISTER",))):
            fitting = sorted((one for one in alive.values()
                              if one.method in methods and wanted(one) and site in ("", one.site, one.sensor)),
                             key=lambda one: one.setup_time)  # fmt: skip
            for sort in ("setup_time-desc", "setup_time", "lost-desc"):
                pages = list(all_pages(store, Query(wanted, site, kind=kind), sort, limit))
                got = [one for page in pages for one in page]
                assert sorted(one.uuid for one in got) == sorted(one.uuid for one in fitting)
                assert all(len(page) == limit for page in pages[:-1])
                if sort.startswith("setup_time"):
                    times = [one.setup_time for one in got]
                    assert times == sorted(times, reverse=sort.endswith("-desc"))


def all_pages(store, query, sort, limit):
    after = ""
    for _ in range(200):
        page = store.search(query, search.order(sort, after), limit)
        assert not page.note
        yield page.calls
        if not (after := page.more):
            return
    raise AssertionError("the pages have no end")


def test_orders(store):
    made = [call(setup_time=NOON + n, duration=float(n * 7 % 5), call_id=str(n), pdd=None if n == 3 else n / 8)
            for n in range(9)]  # fmt: skip
    keep(store, made)

    def names(sort, limit=100):
        return [[one.call_id for one in page] for page in all_pages(store, Query(), sort, limit)]

    assert names("setup_time-desc") == [list("876543210")]
    assert names("setup_time", 4) == [list("0123"), list("4567"), list("8")]
    assert names("duration", 2) == [["0", "5"], ["3", "8"], ["1", "6"], ["4", "2"], ["7"]]
    assert names("pdd")[0][-1] == "3" == names("pdd-desc")[0][-1]
    assert names("pdd-desc")[0][0] == "8"


def test_what_is_not_looked_at_is_said_and_can_be_gone_on_with(store, monkeypatch):
    keep(store, [call(setup_time=NOON - n * HOUR, caller=str(n), call_id=str(n)) for n in range(60)])
    query = Query(Filter(number=filters.number("*5*9*")))
    page = store.search(query, search.order("setup_time-desc"), 5, seconds=-1)
    assert page.calls == [] and "were not looked at, which would take longer; go on with --after" in page.note
    found, tries = [], 0
    while page.more:
        page, tries = store.search(query, search.order("setup_time-desc", page.more), 5, seconds=-1), tries + 1
        found += page.calls
    assert [one.caller for one in found] == ["59"] and tries <= 60
    assert not store.search(query, search.order("setup_time-desc"), 0, seconds=-1).note  # all means all


@pytest.mark.parametrize(("sort", "after", "sentence"), [
    ("size", "", "--sort: 'size' is no order; give setup_time, duration, mos, lost, pdd, each with -desc"),
    ("mos-up", "", "--sort: 'mos-up' is no order"), ("mos", "x", "--after: it is no token"),
    ("mos", "mos:1:b", "--after: it is no token"), ("mos", "mos-desc:1.5:7", "it is of the order mos-desc"),
])  # fmt: skip
def test_what_may_not_be_written(sort, after, sentence):
    with pytest.raises(UsageError) as error:
        search.order(sort, after)
    assert sentence in str(error.value)


def test_places(store):
    keep(store, [call(site=site, sensor=sensor, call_id=f"{site}{sensor}") for site, sensor in
                 (("a", "1"), ("a", "2"), ("b", "a"))])  # fmt: skip

    def names(**said):
        return sorted(one.call_id for one in store.search(Query(**said), search.order("setup_time")).calls)

    assert names(site="a") == ["a1", "a2", "ba"]
    assert names(sensor="a") == ["ba"] and names(site="a", sensor="2") == ["a2"]
    assert names(call_id="a1") == ["a1"] and names(call_id="a") == []


def test_one_by_its_uuid(store):
    made = [call(call_id=str(n)) for n in range(3)]
    keep(store, made)
    found = store.search(Query(uuid=made[1].uuid), search.order("setup_time"))
    assert [one.call_id for one in found.calls] == ["1"]
    assert search.order("mos-desc", "mos-desc:1.5:7") == search.Order("mos", True, (1.5, 7))


def test_registrations_are_not_looked_for_among_the_media_of_all_calls_at_once(store, monkeypatch):
    """Where a host has many, its calls are taken bit by bit, and the search ends in time."""
    monkeypatch.setattr(ways, "MANY", 3)
    media = StreamRecord(direction="caller", src="192.0.2.9:4000", dst="192.0.2.9:4002", ssrc=1)
    keep(store, [call(setup_time=NOON + n * HOUR, call_id=str(n), streams=[media] if n < 9 else [],
                      method="REGISTER" if n in (0, 20, 21, 22) else "INVITE") for n in range(25)])  # fmt: skip
    query = Query(Filter(address=filters.address("192.0.2.9")), kind=facts.REGISTRATIONS)
    page = store.search(query, search.order("setup_time-desc"), 5, seconds=-1)
    assert page.calls == [] and page.note
    found = [one for page in all_pages(store, query, "setup_time-desc", 5) for one in page]
    assert [one.call_id for one in found] == ["0"]


@pytest.mark.parametrize(("number", "advice"), [("*5*9*", True), ("59", False), ("@hq", True), (None, False)])
def test_the_note_advises_what_helps(store, number, advice):
    keep(store, [call(setup_time=NOON - n * HOUR, call_id=str(n)) for n in range(9)])
    query = Query(Filter(number=number and filters.number(number), one_way=None if number else True), site="branch1")
    note = search.Search.__new__(search.Search)
    note._by, note._down, note._query = "setup_time", True, query
    assert ("how the number begins or ends" in note._far(NOON)) is advice


@pytest.mark.parametrize(("said", "near"), [
    ({"uuid": b"x" * 16}, False), ({"call_id": "5"}, False), ({"site": "n"}, True), ({"site": "s"}, False),
    ({"wanted": Filter(number=filters.number("100"))}, True), ({"wanted": Filter(number=filters.number("@hq"))}, False),
    ({"wanted": Filter(address=filters.address("192.0.2.7"))}, True), ({}, False),
    ({"wanted": Filter(address=filters.address("192.0.2.7:5060"))}, False),
])  # fmt: skip
def test_the_newest_calls_are_a_page_only_where_an_index_says_all_that_is_asked(store, said, near):
    keep(store, [call(setup_time=NOON + n, call_id=str(n), site="n", caller="100", src="192.0.2.7:5060", streams=[])
                 for n in range(9)])  # fmt: skip
    with store._engine.connect() as connection:
        assert search.Search(connection, Query(**said), search.Order(), 3)._is_near(None, 4) is near


@pytest.mark.parametrize(("many", "near"), [(1, 0), (100_000, 0), (1, 20_000)])
@pytest.mark.parametrize("text", ["200", "*0*0", "*200", "200@*", "20*", "*00*"])
def test_a_number_is_that_of_either_side_by_whatever_way(store, monkeypatch, many, near, text):
    monkeypatch.setattr(ways, "MANY", many)
    monkeypatch.setattr(search, "NEAR", near)
    ends = [("200", "1"), ("1", "200"), ("1", "2"), ("200", "200")]
    keep(store, [call(setup_time=NOON + n, call_id=str(n), caller=caller, callee=callee)
                 for n, (caller, callee) in enumerate(ends)])  # fmt: skip
    query = Query(Filter(number=filters.number(text)))
    for sort in ("setup_time-desc", "mos"):
        for limit in (1, 100):
            found = [one.call_id for page in all_pages(store, query, sort, limit) for one in page]
            assert sorted(found) == ["0", "1", "3"]


@settings(max_examples=25, deadline=None)
@given(_wanted)
def test_the_next_verdict_that_fits_is_the_next_one(said):
    query = Query(filtered(said))
    fitting = [verdict for verdict in range(400 << 8, 520 << 8) if conditions.fits(query, verdict)][:3000]
    at, found = conditions.next_fit(query, 400 << 8), []
    while at is not None and at < 520 << 8 and len(found) < 3000:
        found.append(at)
        at = conditions.next_fit(query, at + 1)
    assert found == fitting
