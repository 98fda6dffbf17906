"""What a sensor and its central say to Prometheus, over a reconnect, a restart and a kill: the books balance always."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.fleet import LOCAL, Hosts, arrive

PORTS = {"hq": 9501, "branch": 9502}


@pytest.fixture
def hosts(namespace, tmp_path):
    with Hosts(namespace, tmp_path) as made:
        made.add("hq", server_bind="127.0.0.1", metrics_port=PORTS["hq"])
        made.add("branch", interface="vb", metrics_port=PORTS["branch"], **LOCAL)
        made.start()
        yield made


def scrape(hosts: Hosts, name: str, path: str = "metrics") -> str:
    url = f"http://127.0.0.1:{PORTS[name]}/{path}"
    ask = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=10).read().decode(), end='')"
    words = [*hosts.prefix, sys.executable, "-c", ask]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def figures(hosts: Hosts, name: str) -> dict:
    families = text_string_to_metric_families(scrape(hosts, name))
    return {(sample.name[10:], *sorted(sample.labels.values())): sample.value for f in families for sample in f.samples}


def balanced_alone(hosts: Hosts) -> dict:
    found = figures(hosts, "branch")
    assert not any(value for key, value in found.items() if key[0] == "unaccounted"), found
    return found


def balanced(hosts: Hosts) -> dict:
    """The branch's figures; both hosts' books balance, and what was captured is somewhere."""
    for name in PORTS:
        found = figures(hosts, name)
        assert not any(value for key, value in found.items() if key[0] == "unaccounted"), found
    said = hosts.all["branch"].until(drained)
    assert all(law["holds"] and law["total"] == sum(law["terms"].values()) for law in said["laws"]), said["laws"]
    return found


def drained(status: dict) -> bool:
    """On a quiet line nothing is in the ring: so what the kernel counted is what was read, to the packet."""
    return next(law for law in status["laws"] if law["law"] == "packets")["terms"]["in the ring"] == 0


def test_the_books_balance_over_a_reconnect_a_restart_and_a_kill(hosts):
    hq, branch = hosts.all.values()
    hosts.place(1, 2)
    arrive(hq, [1, 2])
    first = balanced(hosts)
    assert first["link_up", "server_destination"] == 1 and first["calls_total",] == 2
    central = figures(hosts, "hq")
    assert central["sensor_connected", "branch", "records"] == 1 and central["sensor_records_total", "branch"] >= 2
    hq.kill()
    hosts.place(3)
    branch.until(lambda status: status["records"]["queued"] == 1)
    waiting = balanced_alone(hosts)
    assert waiting["link_up", "server_destination"] == 0 and waiting["outbox_rows",] == 1
    assert scrape(hosts, "branch", "readyz") == "ready\n"  # degraded, not dead
    hq.start()
    arrive(hq, [1, 2, 3])
    branch.stop()
    branch.start()
    hosts.place(4)
    arrive(hq, [1, 2, 3, 4])
    again = balanced(hosts)
    assert again["starts_total",] == 2 and again["calls_total",] == 4
    assert again["capture_packets_total",] > first["capture_packets_total",]
    branch.kill()
    branch.start()
    hosts.place(5)
    arrive(hq, [1, 2, 3, 4, 5])
    last = balanced(hosts)
    assert last["starts_total",] == 3 and last["calls_total",] >= again["calls_total",]
    assert last["records_created_total",] == last["records_acknowledged_total",]
    text = branch.command("status").stdout
    assert "packets: " in text and "received = " in text and "NOT ACCOUNTED" not in text


def test_the_books_of_a_source_and_of_a_receiver_that_was_killed(namespace, tmp_path):
    with Hosts(namespace, tmp_path) as made:
        receiver = made.add("b", mirror_bind="127.0.0.1")
        source = made.add("a", interface="vb", mirror_destination="127.0.0.1")
        made.start()
        made.place(1, 2)
        arrive(receiver, [1, 2])
        receiver.kill()
        made.place(3)
        receiver.start()
        arrive(receiver, [1, 2, 3])
        sent = source.until(lambda status: drained(status) and status["laws"][2]["terms"]["in memory"] == 0)
        taken = receiver.until(lambda status: status["totals"]["counters"].get("calls", 0) >= 1)
        assert all(law["holds"] for law in sent["laws"] + taken["laws"]), (sent["laws"], taken["laws"])
        packets, _, buffer = sent["laws"]
        assert packets["terms"]["passed on"] == buffer["total"] == buffer["terms"]["acknowledged"] > 0
        assert taken["totals"]["counters"]["handed_packets_total"] == taken["totals"]["counters"]["packets"] > 0


FLOOD = 9000  # packets of 1 KiB into a ring of 8 MB that nobody reads: for some there is no room


def test_what_the_kernel_dropped_is_in_the_books(hosts):
    branch = hosts.all["branch"]
    before = branch.until(drained)["totals"]["counters"]
    courier = branch.process.pid
    (engine,) = map(int, Path(f"/proc/{courier}/task/{courier}/children").read_text().split())
    os.kill(engine, signal.SIGSTOP)
    try:
        send = f"""if True:
            from support.caller import TO_B, Wire
            wire = Wire("va")
            for _ in range({FLOOD}):
                wire.udp(TO_B, 9, 9, bytes(1000))"""
        words = [*hosts.prefix, sys.executable, "-c", send]
        subprocess.run(words, check=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])})
    finally:
        os.kill(engine, signal.SIGCONT)

    def counted(status: dict) -> bool:
        return drained(status) and status["totals"]["counters"]["capture_packets_total"] >= FLOOD

    after = branch.until(counted)
    grown = {name: value - before.get(name, 0) for name, value in after["totals"]["counters"].items()}
    assert 0 < grown["capture_kernel_drops_total"] < FLOOD <= grown["capture_packets_total"]
    assert grown["capture_read_packets_total"] == grown["capture_packets_total"] - grown["capture_kernel_drops_total"]
    assert all(law["holds"] for law in after["laws"]), after["laws"]
    assert balanced(hosts)["capture_kernel_drops_total",] == after["totals"]["counters"]["capture_kernel_drops_total"]
