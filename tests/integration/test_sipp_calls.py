"""Real calls by sipp between two namespaces; the caller's sensor has each as it was injected."""

import os
import shutil
import time

import pytest
from support import calls
from support.calls import Call, Side
from support.daemon import Daemon
from support.netns import linked_namespaces

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, ("ip", "sipp"))), reason="needs root, iproute2 and sipp"
    ),
]


@pytest.fixture
def sides(tmp_path):
    """The caller's and the callee's side, and the sensor that captures at the caller's."""
    with linked_namespaces() as names:
        caller, callee = (Side(("ip", "netns", "exec", name), f"10.0.0.{n}") for n, name in enumerate(names, 1))
        sensor = Daemon(
            tmp_path, prefix=caller.run, name_sensor="s1", interface="v0", ringbuffer=8, sipport="5060-5069"
        )
        sensor.start()
        yield caller, callee, sensor
        sensor.kill()


def test_the_records_say_what_was_injected(sides):
    caller, callee, sensor = sides
    wanted = [
        Call("answered", "1001", "2001", packets=100),
        Call("lossy", "1002", "2002", packets=120, lost=9, codec="PCMA"),
        Call("busy", "1003", "2003"),
        Call("cancelled", "1004", "2004"),
    ]
    placed = calls.place_all([(call, caller, callee) for call in wanted])
    until = time.monotonic() + 5
    while len(sensor.calls()) < len(placed) and time.monotonic() < until:
        time.sleep(0.1)
    records = sensor.calls()
    assert len(records) == len(placed)
    assert calls.check(placed, records) == []
    by_kind = {record["call_id"].split("-")[0]: record for record in records}
    assert by_kind["answered"]["retransmissions"] == 0
    assert 1.9 < by_kind["answered"]["connect_duration"] < 4
    lossy = {stream["direction"]: stream for stream in by_kind["lossy"]["streams"]}
    assert (lossy["caller"]["received"], lossy["callee"]["received"]) == (111, 120)
    assert lossy["caller"]["mos"] < lossy["callee"]["mos"]


def test_a_wrong_record_is_told_apart():
    """The comparison that demo and scenarios rely on can fail."""
    call = Call("lossy", "1", "2", packets=50, lost=3)
    placed = calls.Injected(call, "x@y", 200, "callee", "bye", {"caller": (50, 3), "callee": (50, 0)})
    sides = [
        {"direction": "caller", "expected": 50, "lost": 3, "codec": "PCMU"},
        {"direction": "callee", "expected": 50, "lost": 0, "codec": "PCMU"},
    ]
    record = {"call_id": "x@y", "caller": "1", "callee": "2", "final_response": 200, "hung_up_by": "callee",
              "end_reason": "bye", "partial": False, "streams": sides}  # fmt: skip
    assert calls.check([placed], [record]) == []
    assert calls.check([placed], [record, record]) == ["x@y (lossy): 2 records, not 1"]
    assert calls.check([placed], []) == ["x@y (lossy): 0 records, not 1"]
    sides[0]["lost"] = 2
    assert calls.check([placed], [record | {"hung_up_by": "caller"}]) == [
        "x@y: hung_up_by is 'caller', not 'callee'",
        "x@y: streams is {'caller': (50, 2), 'callee': (50, 0)}, not {'caller': (50, 3), 'callee': (50, 0)}",
    ]
