"""Record merge with real daemons: no packet travels, and the central has each call once and whole."""

import pytest
from support.fleet import LOCAL, Hosts, arrive, complete

SIP, REST = "port 5060", "udp and not port 5060 and not port 60024"


@pytest.fixture
def hosts(namespace, tmp_path):
    with Hosts(namespace, tmp_path) as made:
        made.add("hq", server_bind="127.0.0.1")
        yield made


def start(hosts: Hosts) -> None:
    """All of them; what is placed then is captured."""
    hosts.start()
    for name, daemon in hosts.all.items():
        if name != "hq":
            daemon.until(lambda status: status.get("capture", {}).get("interfaces"), 30)


def joined(hosts: Hosts, calls: int, views: int, streams: int) -> None:
    """Wait until there are so many rows and each has all."""
    hq = hosts.all["hq"]
    wanted = [(views, streams)] * calls
    hq.until(lambda _: [(call["views"], len(call["streams"])) for call in hq.calls()] == wanted, 30)


def test_sip_from_one_sensor_and_rtp_from_another_are_one_call(hosts):
    hosts.add("sip", interface="vb", filter=SIP, **LOCAL)
    hosts.add("rtp", interface="vb", filter=REST, stream_records="yes", **LOCAL)
    start(hosts)
    hosts.place(1, 2, 3, lost=2)
    joined(hosts, 3, 2, 2)
    calls = arrive(hosts.all["hq"], [1, 2, 3])
    complete(calls, "sip", "", lost=2)
    for call in calls:
        assert call["seen"] == ["caller_sip", "callee_sip", "caller_rtp", "callee_rtp"]
        assert {stream["sensor"] for stream in call["streams"]} == {"rtp"}
        assert all(stream["mos"] for stream in call["streams"])
        assert (call["media"], call["one_way"]) == ([], False)


def test_what_came_while_the_central_was_down_is_joined_later(hosts):
    hosts.add("sip", interface="vb", filter=SIP, **LOCAL)
    hosts.add("rtp", interface="vb", filter=REST, stream_records="yes", **LOCAL)
    start(hosts)
    rtp = hosts.all["rtp"]
    hosts.place(1)
    arrive(hosts.all["hq"], [1])  # a half, as yet
    rtp.until(lambda status: status["records"]["created"] >= 1, 30)
    hosts.all["hq"].stop()
    hosts.place(2)
    rtp.until(lambda status: status["records"]["queued"] >= 1, 30)
    hosts.all["hq"].start()
    joined(hosts, 2, 2, 2)
    complete(arrive(hosts.all["hq"], [1, 2]), "sip", "")


def test_a_call_that_two_sites_see_is_one(hosts):
    hosts.add("near", interface="vb", **LOCAL)
    hosts.add("far", interface="vb", **LOCAL)
    start(hosts)
    hosts.place(1, 2)
    joined(hosts, 2, 2, 4)
    calls = arrive(hosts.all["hq"], [1, 2])
    for call in calls:
        assert {stream["sensor"] for stream in call["streams"]} == {"near", "far"}
        assert {stream["received"] for stream in call["streams"]} == {20}
    said = hosts.all["hq"].command("calls").stdout
    assert said.count(" +1") >= 2


def test_halves_stay_halves_and_say_so(hosts):
    hosts.add("rtp", interface="vb", filter=REST, stream_records="yes", **LOCAL)
    start(hosts)
    hosts.place(1)
    hq = hosts.all["hq"]
    hq.until(lambda _: hq.calls(), 30)
    (half,) = hq.calls()
    assert (half["method"], len(half["streams"]), half["call_id"]) == ("RTP", 2, "")
    assert "RTP without a call" in " ".join(hq.command("calls").stdout.split())
