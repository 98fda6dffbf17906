"""The table's other commands: about the instance, its settings, and other hosts."""

import asyncio
import contextlib
import logging
import threading
import time
from types import SimpleNamespace

import pytest
from support.instances import Instance, Pool
from support.joined import joined
from voipfleet import systemd
from voipfleet.asking.asker import no_data
from voipfleet.asking.messages import Unreached
from voipfleet.beside import Beside
from voipfleet.calls import record
from voipfleet.calls.record import CallRecord
from voipfleet.capture import bpf
from voipfleet.errors import VoipfleetError
from voipfleet.fetching import reporting
from voipfleet.manage import filtering, own, settings, table
from voipfleet.manage.request import ALL, GROUPS, OPERATORS, Request
from voipfleet.records import open_calls

HQ, ONE, TWO = b"h" * 16, b"1" * 16, bytes.fromhex("12345678" * 4)


async def ask(instance, command, **arguments):
    return await table.run_local(instance, command, Request(arguments, "ann", ALL, no_data))


def call(number, **fields):
    return CallRecord(**{"uuid": number.to_bytes(16, "big"), "call_id": f"id{number}", "setup_time": 10**18,
                         "caller": "x" * 200} | fields)  # fmt: skip


# -- the table -------------------------------------------------------------------------------------


def test_the_table_is_closed_and_each_command_has_a_group_and_a_word():
    assert len(table.BY_NAME) == len(table.TABLE)
    for command in table.TABLE:
        assert command.group in ("", *GROUPS) and command.help and len(command.name) <= 32
    assert " ".join(sorted(table.BY_NAME)) == (
        "active call ctl erase fetch filter find hold loglevel pool probe release reload sensors status version"
    )


@pytest.mark.parametrize("name", ["", "sh", "Status", "__init__", "run_local", "../status"])
async def test_nothing_else_is_a_command(name):
    with pytest.raises(VoipfleetError, match=r"^not a command; known are active, call, ctl, erase"):
        await ask(Instance(ONE, "one"), name)
    for run in (table.run_remote, table.run_manager):
        with pytest.raises(VoipfleetError, match=r"^not a command; known are active, call, "):
            await run(Instance(ONE, "one"), name, {}, "x", no_data)


async def test_what_may_not_come_over_the_link_does_not():
    one = Instance(ONE, "one", pool=Pool({HQ: 5}))
    for name in ("ctl", "find"):
        with pytest.raises(VoipfleetError, match="not a command"):
            await table.run_remote(one, name, {}, "x@hq", no_data)
    for name in ("ctl", "find", "fetch", "hold", "release", "erase"):
        with pytest.raises(VoipfleetError, match="not a command"):
            await table.run_manager(one, name, {"uuid": HQ.hex()}, "ops", no_data)
    assert [(event, fields["who"], fields["command"]) for event, fields in one.audit[:3]] == [
        ("refused", "x@hq", "ctl"), ("pcap_refused", "x@hq", "find"), ("refused", "ops", "ctl")]  # fmt: skip
    assert (await table.run_remote(one, "fetch", {"uuid": HQ.hex()}, "x@hq", no_data))["bytes"] == 5
    assert (await table.run_manager(one, "pool", {}, "ops", no_data))["bytes"] == 5


async def test_while_an_instance_starts_it_says_so():
    """Its parts are not there yet: no command may stumble over that, nor take it for having nothing."""
    one = Instance(ONE, "one")
    one.ready, one.intake, one.board = False, None, None
    starting = r"^one: is still starting; ask again in some seconds$"
    for command in table.TABLE:
        ways = [lambda name=command.name: ask(one, name, uuid=HQ.hex(), number="5", text="udp")]
        if command.over_link:
            ways.append(lambda name=command.name: table.run_remote(one, name, {"uuid": HQ.hex()}, "x@hq", no_data))
        if command.over_link and command.group == OPERATORS:
            ways.append(lambda name=command.name: table.run_manager(one, name, {}, "ops", no_data))
        for way in ways:
            if command.name == "version":
                assert (await way())["name"] == "one"
            elif command.name != "status":
                with pytest.raises(Unreached, match=starting):
                    await way()
    with pytest.raises(VoipfleetError, match="not permitted: bob"):  # who may not learns no more than that
        await table.run_local(one, "erase", Request({}, "bob", frozenset(), no_data))
    assert not reporting.nothing("one: is still starting; ask again in some seconds")


# -- the instance ----------------------------------------------------------------------------------


async def test_open_calls_are_listed_newest_first_within_a_size():
    one = Instance(ONE, "one")
    assert await ask(one, "active") == {"calls": 0, "shown": 0, "list": []}
    for number in range(1500):
        found = call(number, ring_time=number % 2, answer_time=number % 3 and 5)
        one.intake.open_calls.put(found, record.encode(found))
    said = await ask(one, "active", limit="3")
    assert (said["calls"], said["shown"]) == (1500, 3)
    assert [each["call_id"] for each in said["list"]] == ["id1499", "id1498", "id1497"]
    assert [each["state"] for each in said["list"]] == ["talking", "talking", "ringing"]
    said = await ask(one, "active", limit=1000)
    assert 300 < said["shown"] < 1000 and len(repr(said)) < 1.2 * own.MAX_SIZE
    with pytest.raises(VoipfleetError, match="limit: give a whole number from 0 to 1000"):
        await ask(one, "active", limit=1001)


def test_open_calls_are_bounded_and_gone_when_they_end(monkeypatch):
    monkeypatch.setattr(open_calls, "MAX_OPEN", 3)
    calls = open_calls.OpenCalls()
    for number in range(5):
        calls.put(call(number), record.encode(call(number)))
    calls.put(call(2), record.encode(call(2, caller="again")))
    assert [each.call_id for each in calls] == ["id2", "id4", "id3"] and len(calls) == 3
    assert calls.find(b"", "id2").caller == "again" and calls.find(call(0).uuid, "") is None
    calls.ended(call(2).uuid)
    calls.ended(call(2).uuid)
    assert calls.find(call(2).uuid, "id2") is None


async def test_one_open_call_is_as_the_engine_has_it_now():
    one = Instance(ONE, "one")
    one.intake.open_calls.put(call(7), record.encode(call(7)))
    assert (await ask(one, "call", call="id7"))["call"]["caller"] == "x" * 200

    async def look(uuid):
        assert uuid == call(7).uuid
        return record.encode(call(7, caller="fresh"))

    one.engine = SimpleNamespace(look=look)
    for name in ("id7", call(7).uuid.hex()):
        said = await ask(one, "call", call=name)
        assert (said["call"]["caller"], said["call"]["uuid"]) == ("fresh", call(7).uuid.hex())
    with pytest.raises(VoipfleetError, match="one: no call of that name is up"):
        await ask(one, "call", call="id8")


async def test_version_and_pool():
    one = Instance(ONE, "one", pool=Pool({HQ: 5}))
    assert (await ask(one, "version"))["name"] == "one"
    assert (await ask(one, "pool", dry_run="yes"))["dry_run"] is True
    with pytest.raises(VoipfleetError, match="dry_run: give yes or no"):
        await ask(one, "pool", dry_run="perhaps")


# -- settings --------------------------------------------------------------------------------------


async def test_the_log_level():
    one, root = Instance(ONE, "one"), logging.getLogger()
    before = root.level
    try:
        assert (await ask(one, "loglevel", level="DEBUG"))["level"] == "debug"
        assert root.level == logging.DEBUG
        with pytest.raises(VoipfleetError, match="level: is not one of debug, info, warning"):
            await ask(one, "loglevel", level="loud")
    finally:
        root.setLevel(before)
    assert one.audit == [("loglevel", {"who": "ann", "result": "ok"}), ("loglevel", {"who": "ann", "result": "failed"})]


async def test_a_filter_is_looked_at_before_the_engine_has_it():
    one, given = Instance(ONE, "one"), []

    async def take(text):
        given.append(text)

    with pytest.raises(VoipfleetError, match="one: does not capture"):
        await ask(one, "filter", text="udp")
    one.engine = SimpleNamespace(filter=take)
    with pytest.raises(VoipfleetError, match=r"^filter: .*syntax error.*; see pcap-filter\(7\)$"):
        await ask(one, "filter", text="udp port")
    assert not given
    one.config.filter = "port 5060"
    for more in ({"text": "udp"}, {"text": ""}, {"text": "ether proto 0x88cc"}, {}):
        assert await ask(one, "filter", **more) == {"filter": more.get("text", "port 5060")}
    for text, programs in zip(("udp", "", "ether proto 0x88cc", "port 5060"), given, strict=True):
        links = (1,) if "ether" in text else (1, 101)
        assert programs == {link: bpf.compile_filter(text, linktype=link, snaplen=3200) for link in links}
    with pytest.raises(VoipfleetError, match=r"^filter: has \d,\d+ instructions, the kernel takes 4,000; give a simp"):
        await settings.use_filter(one, " or ".join(f"host ::{n:x}" for n in range(1, 500)))  # as a file may have it
    assert len(given) == 4


async def test_a_filter_that_is_long_work_keeps_nobody_waiting(monkeypatch):
    """Names of hosts are looked up by libpcap, which DNS may let wait for half a minute."""
    one, stuck, given = Instance(ONE, "one"), threading.Event(), []

    def compiles(text, **_):
        if text == "host far":
            stuck.wait(10)
        return b"12345678"

    async def take(programs):
        given.append(programs)

    one.engine = SimpleNamespace(filter=take)
    monkeypatch.setattr(filtering, "compile_filter", compiles)
    monkeypatch.setattr(filtering, "SECONDS", 2)
    monkeypatch.setattr(filtering, "_compiling", Beside("filter", 1))
    waiting = asyncio.create_task(ask(one, "filter", text="host far"))
    await asyncio.sleep(0.05)
    begun = time.monotonic()
    assert (await ask(one, "version"))["name"] == "one"
    with pytest.raises(VoipfleetError, match=r"^filter: was not compiled within 2 s, or another one still is; give"):
        await ask(one, "filter", text="udp")
    assert time.monotonic() - begun < 1
    with pytest.raises(VoipfleetError, match="give addresses instead of names"):
        await waiting
    stuck.set()
    async with asyncio.timeout(5):
        while not given:
            with contextlib.suppress(VoipfleetError):
                await ask(one, "filter", text="udp")
    assert given == [{1: b"12345678", 101: b"12345678"}]


@pytest.fixture
def reloading(tmp_path):
    """An instance with a configuration file, and what writes that."""
    path = tmp_path / "voipfleet.conf"

    def write(*lines):
        path.write_text("\n".join(["[general]", "interface = eth0", *lines, ""]))

    write()
    one = Instance(ONE, "one", config_path=str(path))
    one.config = settings.config.load(path)
    return one, write


async def test_reload_takes_what_can_change_and_names_the_rest(reloading):
    one, write = reloading
    taken = []

    async def limits(new):
        taken.append(new.maxpoolsize)

    one.live = {"maxpoolsize": limits, "maxpooldays": limits}
    assert await ask(one, "reload") == {"changed": [], "applied": [], "failed": [], "needs_restart": []}
    write("maxpoolsize = 500", "maxpooldays = 7", "sipport = 5070")
    said = await ask(one, "reload")
    assert said == {"changed": ["sipport", "maxpoolsize", "maxpooldays"], "applied": ["maxpoolsize", "maxpooldays"],
                    "failed": [], "needs_restart": ["sipport"]}  # fmt: skip
    assert taken == [500]  # once for both
    assert (one.config.maxpoolsize, one.config.sipport) == (500, (5060,))
    assert (await ask(one, "reload"))["changed"] == ["sipport"]


async def test_what_could_not_be_changed_is_told_beside_what_was(reloading):
    one, write = reloading

    async def takes(new):
        pass

    async def refuses(new):
        raise VoipfleetError("capture process: no answer to `keep` in 5 s; it is busy, try again")

    one.live = {"filter": takes, "maxpoolsize": refuses, "maxpooldays": refuses, "autocleanmingb": takes}
    write("filter = udp", "maxpoolsize = 500", "maxpooldays = 7", "autocleanmingb = 7", "sipport = 5070")
    said = await ask(one, "reload")
    assert (said["failed"], said["needs_restart"]) == (["maxpoolsize", "maxpooldays"], ["sipport"])
    assert sorted(said["applied"]) == ["autocleanmingb", "filter"] and said["why"].startswith("capture process: no")
    assert (one.config.filter, one.config.autocleanmingb, one.config.maxpoolsize) == ("udp", 7, 102400)
    assert one.audit == [("reload", {"who": "ann", "result": "failed"})]
    one.live = dict.fromkeys(one.live, takes)
    assert sorted((await ask(one, "reload"))["applied"]) == ["maxpooldays", "maxpoolsize"]  # and no other again


async def test_a_configuration_with_faults_changes_nothing(reloading):
    one, write = reloading
    one.live = {"maxpoolsize": None, "filter": None}
    write("maxpoolsize = 0", "interfac = eth1")
    with pytest.raises(VoipfleetError) as error:
        await ask(one, "reload")
    assert "maxpoolsize: is 0; give a number" in str(error.value) and "did you mean interface?" in str(error.value)
    write("filter = udp port", "maxpoolsize = 9")
    with pytest.raises(VoipfleetError, match="filter: "):
        await ask(one, "reload")
    assert one.config.maxpoolsize == 102400


async def test_a_hangup_reads_it_too_and_systemd_is_told(reloading, monkeypatch, caplog):
    one, write = reloading
    said = []
    monkeypatch.setattr(systemd, "notify", lambda state: said.append(state.splitlines()[0]))
    write("sipport = 5070")
    with caplog.at_level(logging.INFO):
        await settings.on_hangup(one)
        write("sipport = x")
        await settings.on_hangup(one)
    assert said == ["RELOADING=1", "READY=1"] * 2
    assert "by order of SIGHUP: sipport from the next start on" in caplog.text
    assert "nothing changes, the configuration has faults" in caplog.text and "'x'" in caplog.text
    assert one.audit == [
        ("reload", {"who": "SIGHUP", "result": "ok"}),
        ("reload", {"who": "SIGHUP", "result": "failed"}),
    ]


# -- other hosts -----------------------------------------------------------------------------------


async def test_a_command_on_another_host_by_its_name_or_uuid():
    center, one = Instance(HQ, "hq"), Instance(TWO, "branch1", pool=Pool({HQ: 5}))
    async with joined(one.board, center.board, uuid=TWO, name="branch1", central=HQ):
        for name in ("branch1", TWO.hex(), "1234"):
            said = await ask(center, "ctl", sensor=name, run="version")
            assert said["name"] == "branch1"
        assert (await ask(center, "ctl", sensor="branch1", run="pool", arguments={"dry_run": True}))["dry_run"] is True
        assert (await ask(center, "ctl", sensor="hq", run="version"))["name"] == "hq"
        assert center.audit[0] == ("ctl", {"who": "ann", "sensor": "branch1", "command": "version", "result": "ok"})
        (sensor,) = (await ask(center, "sensors"))["sensors"]
        assert (sensor["name"], sensor["state"], sensor["hops"], sensor["via"]) == ("branch1", "connected", 0, "")
        for name in ("fetch", "erase", "find", "ctl", "sh", "\x1b[31m"):
            with pytest.raises(
                VoipfleetError, match=r"is no command for another host; known are active, call, "
            ) as error:
                await ask(center, "ctl", sensor="branch1", run=name)
            assert str(error.value).isprintable()
        with pytest.raises(VoipfleetError, match="arguments: give them as an object"):
            await ask(center, "ctl", sensor="branch1", run="pool", arguments=[1])
    with pytest.raises(VoipfleetError, match=r"^branch1: not connected since"):
        await ask(center, "ctl", sensor="branch1", run="version")
    assert (await ask(center, "sensors"))["sensors"][0]["state"] == "offline"


async def test_unknown_and_ambiguous_names_are_sentences():
    center = Instance(HQ, "hq")
    for uuid in (ONE, TWO):
        center.board.routes.remember(uuid, "branch1", 5.0)
    with pytest.raises(VoipfleetError, match=f"branch1: 2 hosts are called so; give one of their uuids: {ONE.hex()}, "):
        await ask(center, "ctl", sensor="branch1", run="version")
    with pytest.raises(VoipfleetError, match=r"brnch1: no host of that name .* \(did you mean branch1\?\)"):
        await ask(center, "ctl", sensor="brnch1", run="version")
    with pytest.raises(VoipfleetError, match="branch1: not connected since 1970-01-01"):
        await ask(center, "ctl", sensor=ONE.hex(), run="version")


async def test_a_host_cannot_steer_a_terminal_by_its_name():
    center = Instance(HQ, "hq")
    center.board.routes.remember(ONE, "branch\x1b[2J", 5.0)
    with pytest.raises(VoipfleetError, match=r"did you mean branch\\x1b\[2J\?") as error:
        await ask(center, "ctl", sensor="branch[2J", run="version")
    assert str(error.value).isprintable()


async def test_a_rogue_answer_cannot_say_more_than_a_sentence_nor_steer_a_terminal():
    center, one = Instance(HQ, "hq"), Instance(ONE, "one")

    async def rogue(command, arguments, who, send):
        raise VoipfleetError("\x1b[2Jgone " + "x" * 5000)

    one.board._answers = rogue
    async with joined(one.board, center.board, uuid=ONE, name="one", central=HQ):
        with pytest.raises(VoipfleetError) as error:
            await ask(center, "ctl", sensor="one", run="version")
    assert len(str(error.value)) < 2100 and str(error.value).startswith("\\x1b[2Jgone ")


async def test_over_the_link_only_who_asked_there_is_on_record():
    center, one = Instance(HQ, "hq"), Instance(ONE, "one")
    async with joined(one.board, center.board, uuid=ONE, name="one", central=HQ):
        level = logging.getLogger().level
        try:
            await ask(center, "ctl", sensor="one", run="loglevel", arguments={"level": "warning"})
        finally:
            logging.getLogger().setLevel(level)
    assert one.audit == [("loglevel", {"who": "ann@hq", "result": "ok"})]


async def test_four_sensors_are_asked_while_one_is_slow():
    center = Instance(HQ, "hq")
    slow = Instance(ONE, "slow")

    async def never(*_):
        await asyncio.sleep(60)

    slow.board._answers = never
    fast = Instance(TWO, "fast")
    async with (joined(slow.board, center.board, uuid=ONE, name="slow", central=HQ),
                joined(fast.board, center.board, uuid=TWO, name="fast", central=HQ)):  # fmt: skip
        waiting = asyncio.create_task(ask(center, "ctl", sensor="slow", run="version"))
        assert (await asyncio.wait_for(ask(center, "ctl", sensor="fast", run="version"), 2))["name"] == "fast"
        waiting.cancel()
