"""The modes when hosts go away: nothing is lost nor doubled on the way but for what docs/buffering.md names."""

import threading
import time

import pytest
from support.fleet import LOCAL, Hosts, arrive, complete

SHORT = 4  # packets of RTP each way: calls that are over in 20 ms


@pytest.fixture
def hosts(namespace, tmp_path):
    with Hosts(namespace, tmp_path) as made:
        yield made


def captures(status: dict) -> bool:
    return "capture_read_packets_total" in status.get("capture", {})


def chain(hosts, sender: str):
    c = hosts.add("c", server_bind="127.0.0.1")
    b = hosts.add("b", mirror_bind="127.0.0.1", packetbuffer_sender=sender, **LOCAL)
    a = hosts.add("a", interface="vb", mirror_destination="127.0.0.1")
    hosts.start()
    return a, b, c


def settled(*daemons) -> None:
    """Until nothing is on its way any more: no packets and no records wait."""
    for daemon in daemons:
        daemon.until(lambda status: status["records"]["queued"] == 0
                     and not any(link["buffer"]["memory"] + link["buffer"]["disk"]
                                 for link in status.get("packets", {}).get("links", [])), 60)  # fmt: skip


@pytest.mark.parametrize("sender", ["no", "yes"])
@pytest.mark.parametrize("victim", ["b", "c"])
def test_fifty_calls_while_a_receiver_of_the_chain_is_killed_between_them(hosts, sender, victim):
    """B07, B10, B13, B21. Who relays or stores is killed at any moment, who analyses once the records of the calls that
    ended are made: what was being analysed does not survive a kill. Calls go on being placed while it is away."""
    a, _, c = chain(hosts, sender)
    killed = hosts.all[victim]

    def wanted(number: int, more: int) -> list[int]:
        """The calls so far, when the last ten began with `number` and `more` were placed behind them."""
        behind = [n for n in range(100, 100 + number + more) if n % 10 < 5]
        return [*range(number + 10), *behind]

    analyses = (victim, sender) in (("b", "no"), ("c", "yes"))
    for number in range(0, 50, 10):
        hosts.place(*range(number, number + 10), rtp=SHORT)
        if analyses:
            settled(a)
            arrive(c, wanted(number, 0))
        killed.kill()
        hosts.place(*range(100 + number, 105 + number), rtp=SHORT)
        killed.start(wait=None)
        if analyses:
            arrive(c, wanted(number, 5))
    calls = arrive(c, wanted(40, 5), 60)
    complete(calls, "a", "c" if sender == "yes" else "b", rtp=SHORT)


@pytest.mark.parametrize("sender", ["no", "yes"])
def test_fifty_calls_while_the_source_is_killed(hosts, sender):
    """B04. What it had captured for a second is on its disk."""
    a, _, c = chain(hosts, sender)
    for number in range(0, 50, 10):
        hosts.place(*range(number, number + 10), rtp=SHORT)
        time.sleep(2)
        a.kill()
        a.start(wait=None)
        a.until(captures)
    complete(arrive(c, range(50), 60), "a", "c" if sender == "yes" else "b", rtp=SHORT)


def test_an_outage_of_the_receiver_and_a_restart_of_the_source(hosts):
    """B01, B03, B04. What waits survives the source; it comes in order, and faster than calls do."""
    b = hosts.add("b", mirror_bind="127.0.0.1")
    a = hosts.add("a", interface="vb", mirror_destination="127.0.0.1")
    hosts.start()
    b.stop()
    hosts.place(*range(10))
    status = a.until(lambda status: status["packets"]["links"][0]["buffer"]["disk"] > 400)
    assert status["packets"]["links"][0]["buffer"]["lag_seconds"] > 0
    assert "nothing listens there" in status["packets"]["links"][0]["why"]
    a.stop()
    a.start(wait=None)
    a.until(captures)
    hosts.place(*range(10, 20))
    time.sleep(2)  # what was captured in the last second before a kill may be lost
    a.kill()
    a.start(wait=None)
    b.start(wait=None)
    calls = arrive(b, range(20), 40)
    complete(calls, "a", "b")
    assert {call["revision"] for call in calls} == {1}


def test_beyond_the_bound_the_oldest_go_and_the_receiver_says_how_many(hosts):
    """B12, B20."""
    b = hosts.add("b", mirror_bind="127.0.0.1")
    a = hosts.add("a", interface="vb", mirror_destination="127.0.0.1", max_buffer_mem=1,
                  packetbuffer_file_totalmaxsize=1, packetbuffer_compress="no")  # fmt: skip
    hosts.start()
    b.stop()
    hosts.place(*range(12), rtp=600)
    buffer = a.until(lambda status: status["packets"]["links"][0]["buffer"]["dropped"])["packets"]["links"][0]["buffer"]
    b.start(wait=None)
    settled(a)
    status = b.until(lambda status: status["packets"]["received"])
    buffer = a.until(lambda status: True)["packets"]["links"][0]["buffer"]
    assert buffer["put"] == buffer["acknowledged"] + buffer["dropped"]
    assert status["packets"]["received"][0]["lost"] == buffer["dropped"] > 0
    calls = b.calls()
    assert calls and sorted(int(call["caller"]) for call in calls)[-1] == 11  # the newest are there
    assert "lost" in b.log() and "the buffer was full" in b.log()


def test_calls_that_are_up_when_the_link_breaks_are_whole(hosts):
    """B02, B06. The relay is stopped and goes on: TCP breaks, nobody loses anything."""
    _, b, c = chain(hosts, "yes")
    placing = threading.Thread(target=hosts.place, args=range(6), kwargs={"rtp": 300})
    placing.start()
    while placing.is_alive():
        time.sleep(0.7)
        b.stop()
        b.start(wait=None)
    complete(arrive(c, range(6), 40), "a", "c", rtp=300)


@pytest.mark.parametrize("killed", [False, True])
def test_what_becomes_of_calls_that_are_up_where_they_are_analysed(hosts, killed):
    """B09, B10. A restart and a kill leave them as partial records; calls before and after are whole."""
    b = hosts.add("b", mirror_bind="127.0.0.1")
    hosts.add("a", interface="vb", mirror_destination="127.0.0.1")
    hosts.start()
    hosts.place(1, 2)
    arrive(b, [1, 2])
    placing = threading.Thread(target=hosts.place, args=[3], kwargs={"rtp": 400})
    placing.start()
    b.until(lambda status: status["capture"]["calls_active"] == 1)
    if killed:
        b.kill()
    else:
        b.stop()
    b.start(wait=None)
    placing.join()
    hosts.place(4, 5)
    calls = arrive(b, [1, 2, 3, 4, 5])
    whole = [call for call in calls if call["caller"] != "3"]
    complete(whole, "a", "b")
    cut = [(call["end_reason"], call["partial_reasons"]) for call in calls if call["caller"] == "3"]
    assert cut == [("sensor_restart", ["open"])]


def test_roles_change_while_the_central_is_away_and_nothing_is_lost(hosts):
    """B19. Records of a client, then packets of a packet sender, wait while the host becomes something else."""
    c = hosts.add("c", server_bind="127.0.0.1", mirror_bind="127.0.0.1")
    a = hosts.add("a", interface="vb", **LOCAL)
    plain = a.config.read_text()
    hosts.start()
    c.stop()
    hosts.place(*range(5))
    a.until(lambda status: status["records"]["queued"] == 5)
    a.stop()
    a.config.write_text(plain + "packetbuffer_sender = yes\n")
    a.start(wait=None)
    a.until(captures)
    hosts.place(*range(5, 10))
    a.until(lambda status: status["packets"]["links"][0]["buffer"]["disk"] > 200)
    a.stop()
    a.config.write_text(plain.replace("server_destination", "mirror_destination"))
    a.start(wait=None)
    assert "packets that waited for server_destination go to mirror_destination now" in (a.until(captures) and a.log())
    assert "5 records of an earlier role wait in" in a.log()
    hosts.place(*range(10, 15))
    c.start()
    arrive(c, range(5, 15), 40)
    c.stop()
    hosts.place(*range(15, 20))
    a.until(lambda status: status["packets"]["links"][0]["buffer"]["disk"] > 200)
    a.stop()
    a.config.write_text(plain)
    a.start(wait=None)
    c.start()
    calls = arrive(c, range(20), 40)
    analysed_by = {int(call["caller"]): call["analysed_by"] for call in calls}
    assert [analysed_by[number] for number in (0, 5, 10, 15)] == ["", "c", "c", ""]
    assert {call["sensor"] for call in calls} == {"a"}
