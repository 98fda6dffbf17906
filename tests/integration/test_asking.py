"""Sensors are asked over the connections that they have made: real daemons, in chains, by users who may or not."""

import asyncio
import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time

import pytest
from support.fleet import LOCAL, Hosts, arrive
from voipfleet.errors import VoipfleetError
from voipfleet.manager import ask, asking

NOBODY = 65534


@pytest.fixture
def hosts(namespace, tmp_path):
    with Hosts(namespace, tmp_path) as made:
        yield made


def ctl(daemon, *words):
    said = daemon.command("ctl", *words, "--json")
    assert said.returncode == 0, said.stderr + daemon.log()
    return json.loads(said.stdout)


def refused(daemon, *words):
    said = daemon.command(*words)
    assert said.returncode == 1 and "Traceback" not in said.stderr, said.stderr
    return said.stderr.strip()


def audit(daemon, *events):
    said = daemon.command("audit", "--json", "--limit", "0")
    assert said.returncode == 0, said.stderr
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    return [line for line in lines if line["event"] in events]


def known(daemon, *names, seconds=20.0):
    """The daemon's sensors by name, once all of these are connected."""
    end = time.monotonic() + seconds
    while True:
        found = {one["name"]: one for one in ctl(daemon, "sensors")["sensors"] if one["state"] == "connected"}
        if found.keys() >= set(names):
            return found
        assert time.monotonic() < end, found
        time.sleep(0.2)


def registered(daemon, *names, seconds=10.0):
    """name -> through which host, of all hosts that are in the database once these are."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.closing(sqlite3.connect(daemon.folder / "spool" / "calls.db", timeout=10)) as database:
            found = dict(database.execute("SELECT name, via FROM sensors WHERE last_seen > 0"))
        if found.keys() >= set(names):
            return {name: via for name, via in found.items() if name in names}
        assert time.monotonic() < end, found
        time.sleep(0.2)


def fetched(daemon, **arguments):
    """(bytes, result) of a fetch by this process, which is root."""

    async def main():
        async with asking(daemon.folder / "control", "fetch", **arguments) as answer:
            return b"".join([piece async for piece in answer]), answer.result

    return asyncio.run(main())


@pytest.mark.parametrize("sender", ["no", "yes"])
def test_a_chain_of_hosts_is_seen_and_steered_from_its_end(hosts, sender):
    c = hosts.add("c", server_bind="127.0.0.1")
    hosts.add("b", mirror_bind="127.0.0.1", packetbuffer_sender=sender, **LOCAL)
    a = hosts.add("a", interface="vb", mirror_destination="127.0.0.1", site="far")
    hosts.start()
    found = known(c, "a", "b")
    assert (found["a"]["via"], found["a"]["hops"], found["a"]["site"]) == ("b", 1, "far")
    assert (found["b"]["via"], found["b"]["hops"]) == ("", 0)
    assert registered(c, "a", "b") == {"a": "b", "b": ""}
    assert ctl(c, "a", "version")["mode"] == "capture+mirror source"
    assert ctl(c, found["a"]["uuid"][:12], "status")["name"] == "a"
    assert ctl(c, "a", "loglevel", "level=debug") == {"level": "debug", "before": "info"}
    assert "syntax error" in refused(c, "ctl", "a", "filter", "text=udp port")
    assert ctl(c, "a", "filter", "text=udp") == {"filter": "udp"}
    assert [(line["event"], line["who"], line["result"]) for line in audit(a, "loglevel", "filter")] == [
        ("loglevel", "root@c", "ok"), ("filter", "root@c", "failed"), ("filter", "root@c", "ok")]  # fmt: skip
    assert {line["command"] for line in audit(c, "ctl")} == {"version", "status", "loglevel", "filter"}
    a.kill()
    sentence = refused(c, "ctl", "a", "version")
    assert sentence.startswith("a: not connected since ") and sentence.endswith("it serves its packets when it is back")
    assert "no host of that name" in refused(c, "ctl", "aa", "version")


def test_packets_come_from_a_sensor_over_its_own_connection(hosts):
    c = hosts.add("c", server_bind="127.0.0.1")
    a = hosts.add("a", interface="vb", savertp="yes", **LOCAL)
    hosts.start()
    hosts.place(1, 2)
    calls = arrive(c, [1, 2])
    found = asyncio.run(ask(c.folder / "control", "find", call=calls[0]["call_id"]))
    (holder,) = found["holders"]
    assert (found["call"]["uuid"], holder["name"], holder["state"]) == (calls[0]["uuid"], "a", "connected")
    data, said = fetched(c, sensor=holder["sensor"], uuid=holder["uuid"])
    assert said["bytes"] == len(data) > 1000 and said["name"] == "a" and not said["missing"]
    assert said["digest"] == hashlib.blake2b(data, digest_size=16).hexdigest()
    assert said["packets"] >= 40
    rest, again = fetched(c, sensor=holder["sensor"], uuid=holder["uuid"], offset=len(data) // 2)
    assert rest == data[len(data) // 2 :] and again["digest"] == said["digest"]
    for daemon, who in ((c, "root"), (a, "root@c")):
        first, second = audit(daemon, "pcap_fetch")
        assert (first["who"], first["sensor"], first["call"], first["bytes"]) == (who, "a", holder["uuid"], len(data))
        assert second["bytes"] == len(rest) and first["result"] == second["result"] == "ok" and first["audio"] is True
    with pytest.raises(VoipfleetError, match="not known here"):
        fetched(c, sensor=holder["sensor"], uuid="0" * 32)
    for path in ("../../etc/passwd", "/etc/passwd", "x" * 1000):
        with pytest.raises(VoipfleetError, match="is no uuid"):
            fetched(c, sensor=holder["sensor"], uuid=path)
    a.kill()
    with pytest.raises(VoipfleetError, match=r"^a: not connected since .* it serves its packets when it is back$"):
        fetched(c, sensor=holder["sensor"], uuid=holder["uuid"])
    c.stop()
    c.start()  # it knows from its database who there is
    assert refused(c, "ctl", "a", "version").startswith("a: not connected since ")


def test_a_sensor_that_was_away_erases_when_it_is_back(hosts):
    c = hosts.add("c", server_bind="127.0.0.1")
    a = hosts.add("a", interface="vb", **LOCAL)
    hosts.start()
    hosts.place(1, 2)
    first, second = arrive(c, [1, 2])
    control = c.folder / "control"
    holders = [asyncio.run(ask(control, "find", call=one["uuid"]))["holders"][0] for one in (first, second)]
    assert asyncio.run(ask(control, "hold", uuid=second["uuid"], why="court"))["missed"] == []
    assert "are held" in refused(c, "erase", second["uuid"], "--yes")
    a.stop()
    assert "it is erased there as soon as that is back" in refused(c, "erase", first["uuid"], "--yes")
    assert [call["caller"] for call in c.calls()] == ["2"]
    a.start()
    end = time.monotonic() + 30
    while not [line for line in audit(a, "erase") if line["result"] == "ok"]:
        assert time.monotonic() < end, a.log()
        time.sleep(0.3)
    with pytest.raises(VoipfleetError, match="not known here"):
        fetched(c, sensor=holders[0]["sensor"], uuid=holders[0]["uuid"])
    data, said = fetched(c, sensor=holders[1]["sensor"], uuid=holders[1]["uuid"])
    assert said["packets"] > 4 and len(data) > 500
    assert [call["caller"] for call in c.calls()] == ["2"]


def test_an_open_call_is_seen_from_the_central(hosts):
    c = hosts.add("c", server_bind="127.0.0.1")
    hosts.add("a", interface="vb", **LOCAL)
    hosts.start()
    caller = subprocess.Popen([*hosts.prefix, sys.executable, "-c", HALF_A_CALL])
    try:
        end = time.monotonic() + 15
        while not (active := ctl(c, "a", "active"))["calls"]:
            assert time.monotonic() < end
            time.sleep(0.2)
        (one,) = active["list"]
        assert (one["caller"], one["callee"], one["state"]) == ("77", "88", "calling")
        live = ctl(c, "a", "call", f"call={one['call_id']}")["call"]
        assert live["uuid"] == one["uuid"] and live["caller"] == "77"
        assert "no call of that name is up" in refused(c, "ctl", "a", "call", "call=other")
    finally:
        caller.kill()
        caller.wait()


HALF_A_CALL = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"va")
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
message = "\\r\\n".join((
    "INVITE sip:88@192.0.2.1 SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK1", "From: <sip:77@x>;tag=1",
    "To: <sip:88@x>", "Call-ID: half@call", "CSeq: 1 INVITE", "Content-Length: 0", "", ""))
while True:
    s.sendto(message.encode(), ("255.255.255.255", 5060))
    time.sleep(1)
"""


def test_a_user_of_no_group_is_refused_in_words_and_it_is_on_record(hosts, tmp_path):
    c = hosts.add("c", server_bind="127.0.0.1")
    hosts.start()
    for folder in (c.folder, *c.folder.parents):
        if folder.owner() == "root":
            folder.chmod(folder.stat().st_mode | 0o11)
    code = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(sys.argv[2].encode() + b'\\n'); print(s.makefile().readline())")  # fmt: skip
    for command, group in (("status", "voipfleet"), ("find", "voipfleet-pcap"), ("fetch", "voipfleet-pcap")):
        words = ["/usr/bin/python3", "-c", code, str(c.folder / "control"), json.dumps({"command": command})]
        said = subprocess.run(
            words, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True, check=True
        )
        assert json.loads(said.stdout)["error"].startswith(
            f"not permitted: nobody is not in group {group}; ask whoever"
        )
    told = [(line["event"], line["who"], line["command"]) for line in audit(c, "refused", "pcap_refused")]
    assert told == [("refused", "nobody", "status"), ("pcap_refused", "nobody", "find"),
                    ("pcap_refused", "nobody", "fetch")]  # fmt: skip


def test_the_managers_port_answers_listed_keys_only(hosts):
    ops = hosts.add("ops", server_bind="127.0.0.1", server_bind_port=60099)  # not started: who asks
    other = hosts.add("other", server_bind="127.0.0.1", server_bind_port=60098)
    one = hosts.add("one", interface="vb", manager_port=5029, manager_keys=f"ops:{ops.keygen()}")
    for daemon in (ops, other):
        (daemon.folder / "spool").mkdir()
    one.start()
    key = one.keygen()
    said = ops.command("ctl", "--at", "127.0.0.1:5029", "--server-key", key, "version", "--json")
    assert said.returncode == 0 and json.loads(said.stdout)["name"] == "one", said.stderr
    assert "127.0.0.1:5029" in refused(other, "ctl", "--at", "127.0.0.1:5029", "--server-key", key, "version")
    assert "nothing listens there" in refused(ops, "ctl", "--at", "127.0.0.1:5030", "--server-key", key, "version")
    (line,) = audit(one, "link_refused")
    assert line["reason"] == "unknown_key"
    assert audit(one, "link_open")[0]["role"] == 3


def test_a_hangup_reads_the_configuration_anew(hosts):
    one = hosts.add("one", interface="vb")
    one.start()
    one.config.write_text(one.config.read_text() + "filter = udp\nsipport = 5070\n")
    os.kill(one.process.pid, 1)
    end = time.monotonic() + 10
    while "configuration read again by order of SIGHUP" not in one.log():
        assert time.monotonic() < end, one.log()
        time.sleep(0.1)
    assert "filter changed; sipport from the next start on" in one.log()
    one.config.write_text("[general]\nnonsense = 1\n")
    os.kill(one.process.pid, 1)
    while "nothing changes, the configuration has faults" not in one.log():
        assert time.monotonic() < end, one.log()
        time.sleep(0.1)
    assert one.process.poll() is None
