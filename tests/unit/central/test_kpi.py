"""Key figures: what the server counts is what the calls say one by one; the formulas."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.records import EPOCH, NOON, call, row
from voipfleet import filters
from voipfleet.calls.record import StreamRecord
from voipfleet.central import kpi
from voipfleet.central.conditions import Query
from voipfleet.central.store import Peer
from voipfleet.errors import VoipfleetError
from voipfleet.filters import Filter
from voipfleet.records.messages import Batch

PEER = Peer(b"s" * 16, "branch1", "", "10.0.0.1")
HOUR = 3600 * 10**9


def keep(store, found):
    for number, one in enumerate(found):
        one.call_id = str(number)
        if one.method == "RTP":
            one.final_response = one.answer_time = 0
    store.ingest(PEER, Batch(EPOCH, [row(n, one) for n, one in enumerate(found, 1)]))


def stream(side="caller", **more):
    return StreamRecord(direction=side, src="192.0.2.9:4000", dst="192.0.2.8:4000", ssrc=1, **more)


_streams = st.lists(st.builds(stream, st.sampled_from(["caller", "callee"]), mos=st.sampled_from([None, 1.5, 3.6, 4.4]),
                              lost=st.integers(0, 9), expected=st.integers(9, 99)), max_size=3)  # fmt: skip
_ends = st.sampled_from(["192.0.2.7:5060", "192.0.2.8:5060", "[2001:db8::7]:5060", "x"])
_calls = st.builds(
    call, setup_time=st.integers(0, 60).map(lambda n: NOON + n * HOUR), site=st.sampled_from(["", "a", "b"]),
    final_response=st.sampled_from([0, 200, 404, 480, 486, 503]), answer_time=st.sampled_from([0, NOON]),
    connect_duration=st.floats(0, 900), pdd=st.one_of(st.none(), st.floats(0, 9)), one_way=st.booleans(), src=_ends,
    dst=_ends, streams=_streams,
    caller=st.sampled_from(["100", "1001", "100100", "+49100", "9" * 47 + "100", "9" * 60]),
    method=st.sampled_from(["INVITE", "INVITE", "RTP", "REGISTER"]),
)  # fmt: skip


@settings(max_examples=15, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(_calls, max_size=25), st.sampled_from(kpi.BY), st.sampled_from([None, "4xx", "none,2xx"]),
       st.sampled_from([None, "100", "*100", "100@*", "+49100", "*9100*", "9" * 55, "9" * 48 + "*"]))  # fmt: skip
def test_the_server_counts_as_one_does_by_hand(store, found, by, response, number):
    """Also of numbers that are longer than what is kept to look for."""
    with store._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM calls")
        connection.exec_driver_sql("DELETE FROM link_cursor")
    keep(store, found)
    query = Query(Filter(response=response and filters.response(response), since=NOON + 5 * HOUR,
                         number=number and filters.number(number)))  # fmt: skip
    with store._engine.connect() as connection:
        counted, read = kpi._counted(connection, query, by), kpi._read(connection, query, by)

    def said(groups):
        return {group and kpi._name(by, group): one.said("") for group, one in groups.items() if one.attempts}

    assert said(read).keys() == said(counted).keys()
    for group, one in said(read).items():
        assert one == pytest.approx(said(counted)[group], abs=0.0011)


def test_the_formulas(store):
    between = {"src": "192.0.2.7:5060", "dst": "192.0.2.8:5060"}
    made = [call(answer_time=NOON, connect_duration=60.0 * n, final_response=200, pdd=n / 10, **between,
                 streams=[stream(mos=4.0, lost=1, expected=100)]) for n in range(1, 5)]  # fmt: skip
    made += [
        call(final_response=code, streams=[], src="192.0.2.8:1", dst="192.0.2.8:2") for code in (486, 487, 503, 404)
    ]
    made += [call(method="RTP"), call(method="REGISTER")]
    made[0].one_way = True
    keep(store, made)
    figures = {one.pop("group"): one for one in store.figures(Query(), "peer")}
    assert figures["all"] == {
        "attempts": 8, "answered": 4, "asr": 50.0, "ner": 75.0, "acd": 150.0, "pdd_mean": 0.25, "pdd_p95": 0.4,
        "mos": 4.0, "loss": 1.0, "one_way": 1,
    }  # fmt: skip
    assert {name: one["attempts"] for name, one in figures.items()} == {"192.0.2.8": 8, "192.0.2.7": 4, "all": 8}
    (day, everything) = store.figures(Query(), "day")
    assert (day["group"], day["attempts"], everything["group"]) == ("2023-11-14", 8, "all")
    assert store.figures(Query(), "hour")[0]["group"] == "2023-11-14T22:00Z"


def test_nothing_is_no_figure(store):
    assert store.figures(Query(), "site") == [{
        "group": "all", "attempts": 0, "answered": 0, "asr": None, "ner": None, "acd": None, "pdd_mean": None,
        "pdd_p95": None, "mos": None, "loss": None, "one_way": 0,
    }]  # fmt: skip


def test_what_sql_cannot_hold_to_is_read_up_to_a_limit(store, monkeypatch):
    keep(store, [call(caller=str(n), caller_domain="hq" if n % 2 else "") for n in range(6)])
    query = Query(Filter(number=filters.number("@hq")))
    assert store.figures(query, "site")[-1]["attempts"] == 3
    monkeypatch.setattr(kpi, "REFINED", 2)
    with pytest.raises(VoipfleetError, match="more than 2 calls have to be read"):
        store.figures(query, "site")
