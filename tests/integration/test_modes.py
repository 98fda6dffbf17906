"""Every mode of the architecture, whole: packets on a veth pair in, calls in the right store out."""

import pytest
from support.fleet import LOCAL, Hosts, arrive, complete


@pytest.fixture
def hosts(namespace, tmp_path):
    with Hosts(namespace, tmp_path) as made:
        yield made


def test_mirror(hosts):
    b = hosts.add("b", mirror_bind="127.0.0.1")
    hosts.add("a", interface="vb", mirror_destination="127.0.0.1")
    hosts.start()
    hosts.place(1, 2, 3, lost=3)
    complete(arrive(b, [1, 2, 3]), "a", "b", lost=3)


def test_a_source_that_also_analyses(hosts):
    b = hosts.add("b", mirror_bind="127.0.0.1")
    c = hosts.add("c", server_bind="127.0.0.1")
    hosts.add("a", interface="vb", mirror_destination="127.0.0.1", **LOCAL)
    hosts.start()
    hosts.place(1, 2)
    complete(arrive(b, [1, 2]), "a", "b")
    complete(arrive(c, [1, 2]), "a", "")


def test_packet_sender(hosts):
    c = hosts.add("c", server_bind="127.0.0.1")
    a = hosts.add("a", interface="vb", packetbuffer_sender="yes", **LOCAL)
    hosts.start()
    hosts.place(1, 2, 3)
    complete(arrive(c, [1, 2, 3]), "a", "c")
    link = a.until(lambda status: status["packets"]["links"][0]["packets"])["packets"]["links"][0]
    assert link["ratio"] < 1 and link["bytes_saved"] > 0
    assert link["clock_offset_ms"] is not None and abs(link["clock_offset_ms"]) < 100


@pytest.mark.parametrize("sender", ["no", "yes"])
def test_hybrid_chain(hosts, sender):
    c = hosts.add("c", server_bind="127.0.0.1")
    hosts.add("b", mirror_bind="127.0.0.1", packetbuffer_sender=sender, **LOCAL)
    hosts.add("a", interface="vb", mirror_destination="127.0.0.1")
    hosts.start()
    hosts.place(1, 2, 3)
    complete(arrive(c, [1, 2, 3]), "a", "c" if sender == "yes" else "b")


def test_a_longer_chain_of_mirror_receivers(hosts):
    d = hosts.add("d", mirror_bind="127.0.0.1", mirror_bind_port=5093)
    hosts.add("c", mirror_bind="127.0.0.1", mirror_bind_port=5092, mirror_destination="127.0.0.1",
              mirror_destination_port=5093)  # fmt: skip
    hosts.add("b", mirror_bind="127.0.0.1", mirror_destination="127.0.0.1", mirror_destination_port=5092)
    hosts.add("a", interface="vb", mirror_destination="127.0.0.1")
    hosts.start()
    hosts.place(1, 2)
    complete(arrive(d, [1, 2]), "a", "d")


def test_sip_here_and_rtp_there_is_one_call(hosts):
    """A SIP probe forwards its packets; the receiver captures RTP itself."""
    b = hosts.add("b", mirror_bind="127.0.0.1", interface="vb", filter="udp and not port 5060")
    hosts.add("a", interface="vb", filter="port 5060", mirror_destination="127.0.0.1")
    hosts.start()
    hosts.place(1, 2, 3, lost=2)
    calls = arrive(b, [1, 2, 3])
    complete(calls, "a", "b", lost=2)
    assert {stream["sensor"] for call in calls for stream in call["streams"]} == {"b"}
    assert {call["views"] for call in calls} == {2}


def test_two_probes_one_of_sip_and_one_of_rtp(hosts):
    c = hosts.add("c", server_bind="127.0.0.1")
    hosts.add("sip", interface="vb", filter="port 5060", packetbuffer_sender="yes", **LOCAL)
    hosts.add("rtp", interface="vb", filter="udp and not port 5060", packetbuffer_sender="yes", **LOCAL)
    hosts.start()
    hosts.place(1, 2, 3)
    calls = arrive(c, [1, 2, 3])
    complete(calls, "sip", "c")
    assert {stream["sensor"] for call in calls for stream in call["streams"]} == {"rtp"}
