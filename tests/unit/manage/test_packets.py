"""find, fetch, hold, release, erase: who may, who is asked, what is on record, and what a bad argument does."""

import asyncio
import contextlib
import json

import pytest
from support.instances import Instance, Pool, Store
from support.joined import joined
from voipfleet.asking.asker import no_data
from voipfleet.calls.record import CallRecord
from voipfleet.errors import VoipfleetError
from voipfleet.manage import table
from voipfleet.manage.request import ALL, FETCHERS, LISTENERS, OPERATORS, Request

HQ, ONE, TWO = b"h" * 16, b"1" * 16, b"2" * 16
CALL, PART = b"c" * 16, b"p" * 16
RECORD = CallRecord(uuid=CALL, call_id="abc@host", setup_time=1, caller="+4930123456", callee="110")
MB = 1 << 20


def hq(**more):
    found = (RECORD, [(CALL, ONE), (PART, TWO)])
    return Instance(HQ, "hq", store=Store({"abc@host": found, CALL.hex(): found}), **more)


@contextlib.asynccontextmanager
async def fleet(*, size=3 * MB, two=True):
    """The central, and sensors of which the first has CALL, the second PART."""
    center, one = hq(), Instance(ONE, "one", pool=Pool({CALL: size}))
    other = Instance(TWO, "two", pool=Pool({PART: 100}))
    async with contextlib.AsyncExitStack() as stack:
        for sensor in (one, other) if two else (one,):
            way = joined(sensor.board, center.board, uuid=sensor.own_uuid, name=sensor.name, central=HQ)
            await stack.enter_async_context(way)
        yield center, one, other


async def ask(instance, command, *, who="ann", groups=ALL, send=no_data, **arguments):
    return await table.run_local(instance, command, Request(arguments, who, frozenset(groups), send))


async def test_a_call_is_found_with_those_who_have_it():
    async with fleet(two=False) as (center, *_):
        said = await ask(center, "find", call="abc@host")
    assert said["call"]["uuid"] == CALL.hex() and said["call"]["caller"] == "+4930123456"
    states = {holder["name"]: holder["state"] for holder in said["holders"]}
    assert states == {"one": "connected", TWO.hex()[:8]: "offline"}
    assert said["holders"][1]["uuid"] == PART.hex()
    json.dumps(said)


async def test_unknown_calls_are_sentences():
    with pytest.raises(VoipfleetError, match="hq: no call of that name is in the database; a call is in it once"):
        await ask(hq(), "find", call="nobody")
    with pytest.raises(VoipfleetError, match="branch: has no record of this call; ask at its central"):
        await ask(Instance(ONE, "branch"), "find", call="nobody")
    with pytest.raises(VoipfleetError, match="branch: keeps no packets"):
        await ask(Instance(ONE, "branch"), "fetch", uuid=CALL.hex())


@pytest.mark.parametrize(
    "text", ["../../etc/passwd", "/etc/passwd", "", "c" * 31, "c" * 33, "g" * 32, 7, None, ["c"], "\0" * 32]
)
@pytest.mark.parametrize("name", ["uuid", "sensor"])
async def test_no_path_and_nothing_but_a_uuid_names_packets(name, text):
    if name == "sensor" and not text:
        return
    arguments = {"uuid": CALL.hex(), "sensor": ""} | {name: text}
    one = Instance(ONE, "one", pool=Pool({CALL: 10}))
    with pytest.raises(VoipfleetError, match=f"{name}: "):
        await ask(one, "fetch", **arguments)
    assert not one.pool.done


@pytest.mark.parametrize("offset", [-1, 1.5, "x", True, 1 << 51, "-1", "1e3", "\u0663"])
async def test_an_offset_is_a_whole_number(offset):
    with pytest.raises(VoipfleetError, match="offset: give a whole number from 0"):
        await ask(Instance(ONE, "one", pool=Pool({CALL: 10})), "fetch", uuid=CALL.hex(), offset=offset)


async def test_packets_come_from_the_sensor_that_has_them_and_go_on_where_they_stopped():
    async with fleet() as (center, one, _):
        for offset in (0, MB + 5):
            got = []

            async def take(data, got=got):
                got.append(len(data))

            said = await ask(center, "fetch", uuid=CALL.hex(), sensor=ONE.hex(), offset=offset, send=take)
            assert said["bytes"] == 3 * MB and sum(got) == 3 * MB - offset
            assert (said["name"], said["clock_offset_ms"]) == ("one", 1.5)
        for instance, who in ((center, "ann"), (one, "ann@hq")):
            event, fields = instance.audit[-1]
            assert event == "pcap_fetch"
            assert fields == {"who": who, "sensor": "one", "call": CALL.hex(), "bytes": 2 * MB - 5, "audio": True,
                              "result": "ok"}  # fmt: skip


@pytest.mark.parametrize(("groups", "wanted", "given"), [
    ({FETCHERS}, True, False), ({FETCHERS}, False, False),
    ({FETCHERS, LISTENERS}, True, True), ({FETCHERS, LISTENERS}, False, False),
])  # fmt: skip
async def test_who_may_not_listen_gets_no_voice(groups, wanted, given):
    async with fleet() as (center, one, _):
        await ask(center, "fetch", uuid=CALL.hex(), sensor=ONE.hex(), groups=groups, audio=wanted)
        assert one.pool.done == [("fetch", CALL, 0, given)]


async def test_who_is_not_in_the_group_is_told_so_and_it_is_on_record_once_a_minute():
    center = hq()
    for _ in range(5):
        with pytest.raises(VoipfleetError, match=r"^not permitted: bob is not in group voipfleet-pcap; ask whoever"):
            await ask(center, "fetch", uuid=CALL.hex(), who="bob", groups={OPERATORS})
    with pytest.raises(VoipfleetError, match="bob is not in group voipfleet;"):
        await ask(center, "status", who="bob", groups={FETCHERS})
    with pytest.raises(VoipfleetError, match="bob is not root; ask whoever"):
        await ask(center, "erase", uuid=CALL.hex(), who="bob", groups={OPERATORS, FETCHERS, LISTENERS})
    assert center.audit == [("pcap_refused", {"who": "bob", "command": "fetch"}),
                            ("refused", {"who": "bob", "command": "status"}),
                            ("pcap_refused", {"who": "bob", "command": "erase"})]  # fmt: skip


async def test_an_offline_sensor_is_named_with_the_time():
    async with fleet() as (center, *_):
        pass
    with pytest.raises(VoipfleetError, match=r"^one: not connected since \d\d:\d\d; it serves its packets when it is"):
        await ask(center, "fetch", uuid=CALL.hex(), sensor=ONE.hex())
    assert center.audit[-1][1]["result"] == "failed"


async def test_a_fetch_that_is_left_ends_at_the_sensor_and_is_on_record_there():
    async with fleet(size=1 << 30) as (center, one, _):
        first = asyncio.Event()

        async def take(data):
            first.set()

        fetching = asyncio.create_task(ask(center, "fetch", uuid=CALL.hex(), sensor=ONE.hex(), send=take))
        await asyncio.wait_for(first.wait(), 5)
        fetching.cancel()
        async with asyncio.timeout(5):
            while not one.audit:
                await asyncio.sleep(0.01)
        for instance in (center, one):
            event, fields = instance.audit[-1]
            assert (event, fields["result"]) == ("pcap_fetch", "left") and fields["bytes"] < 1 << 30


async def test_hold_and_release_reach_all_who_have_a_part():
    async with fleet() as (center, one, other):
        said = await ask(center, "hold", uuid=CALL.hex(), why="court")
        assert [host["name"] for host in said["done"]] == ["one", "two"] and not said["missed"]
        assert one.pool.done == [("hold", CALL, "ann@hq", "court")]
        assert other.pool.done == [("hold", PART, "ann@hq", "court")]
        assert center.stored.store.held == {CALL.hex()}
        await ask(center, "release", uuid=CALL.hex())
        assert other.pool.done[-1] == ("release", PART) and not center.stored.store.held
        assert [event for event, _ in one.audit] == ["hold", "release"]


async def test_what_is_held_is_not_erased_anywhere():
    async with fleet() as (center, one, other):
        center.stored.store.held.add(CALL.hex())
        for what in ({"uuid": CALL.hex()}, {"number": "+4930123456"}):
            with pytest.raises(VoipfleetError, match="are held; release them first"):
                await ask(center, "erase", **what)
        assert not one.pool.done and not other.pool.done


async def test_a_call_is_erased_where_it_can_be_and_who_was_not_reached_is_named():
    async with fleet(two=False) as (center, one, _):
        said = await ask(center, "erase", uuid=CALL.hex())
        assert said["records"] == 2
        assert [host["name"] for host in said["done"]] == ["one"]
        assert "not connected" in said["missed"][0]["error"] and said["missed"][0]["sensor"] == TWO.hex()
        assert not one.pool.calls
        results = [(fields["sensor"], fields["result"]) for event, fields in center.audit if event == "erase"]
        assert sorted(results[1:]) == [(TWO.hex()[:8], "failed"), ("one", "ok")] and results[0] == ("hq", "ok")


async def test_a_number_is_erased_everywhere_and_is_on_no_record():
    async with fleet() as (center, one, other):
        said = await ask(center, "erase", number="+4930123456")
        assert (said["records"], len(said["done"]), said["missed"]) == (2, 2, [])
        assert one.pool.done == other.pool.done == [("erase", "+4930123456")]
        assert center.stored.store.done == [(None, "+4930123456")] * 2  # before the hosts, and after them
        for instance in (center, one, other):
            assert instance.audit and "4930123456" not in repr(instance.audit)


async def test_records_that_were_on_their_way_are_erased_after_the_hosts_were_asked():
    async with fleet() as (center, one, _):
        erases, store = one.pool.erase, center.stored.store

        async def and_a_record_comes(what):
            store.records["late"] = (RECORD, [(b"l" * 16, ONE)])
            return await erases(what)

        one.pool.erase = and_a_record_comes
        said = await ask(center, "erase", number="+4930123456")
        assert not store.records and (said["records"], said["missed"]) == (3, [])

        async def and_a_hold_comes(what):
            store.held.add("x")
            return await erases(what)

        one.pool.erase = and_a_hold_comes
        said = await ask(center, "erase", number="+4930123456")
        assert len(said["done"]) == 2 and said["missed"][0]["sensor"] == HQ.hex()
        assert said["missed"][0]["error"].endswith("release them first; records that came meanwhile may be left")


# -- on record -------------------------------------------------------------------------------------


def away(*_):
    raise VoipfleetError("database: does not answer")


@pytest.mark.parametrize(("command", "event", "arguments"), [
    ("hold", "hold", {"uuid": CALL.hex(), "why": "x"}), ("release", "release", {"uuid": CALL.hex()}),
    ("erase", "erase", {"uuid": CALL.hex()}), ("erase", "erase", {"number": "+4930123456"}),
    ("find", "pcap_find", {"call": CALL.hex()}), ("fetch", "pcap_fetch", {"uuid": CALL.hex(), "sensor": ONE.hex()}),
])  # fmt: skip
async def test_what_fails_is_on_record_too(command, event, arguments):
    call = arguments.get("uuid", arguments.get("call", ""))
    for store in (Store({}), Store({})):
        center = Instance(HQ, "hq", store=store)
        for name in ("hold", "release", "erase", "find_call"):
            setattr(store, name, away)
        if command == "fetch":
            center.stored = None
        with pytest.raises(VoipfleetError):
            await ask(center, command, **arguments)
        ((said, fields),) = center.audit
        assert (said, fields["who"], fields["call"], fields["result"]) == (event, "ann", call, "failed")
        assert "4930123456" not in repr(center.audit)


@pytest.mark.parametrize(("command", "event"), [
    ("hold", "hold"), ("release", "release"), ("erase", "erase"), ("fetch", "pcap_fetch"), ("find", "pcap_find"),
])  # fmt: skip
@pytest.mark.parametrize("arguments", [
    {"uuid": "../etc", "call": "a@b", "why": "x"}, {"uuid": 5, "call": 5}, {"uuid": CALL.hex(), "sensor": "x",
    "call": "nobody"}, {"uuid": CALL.hex(), "why": 5, "sensor": 5, "call": []}, {"uuid": PART.hex(), "call": "no@x"},
])  # fmt: skip
async def test_what_cannot_be_meant_is_on_record_without_what_was_given(command, event, arguments):
    center = Instance(HQ, "hq", store=Store({}), pool=Pool({}))
    with contextlib.suppress(VoipfleetError):
        await ask(center, command, **arguments)
    assert center.audit[0][0] == event
    assert all(fields["call"] in ("", CALL.hex(), PART.hex()) for _, fields in center.audit)


async def test_a_hold_of_an_unknown_call_and_one_that_is_left_are_on_record():
    async with fleet() as (center, one, _):
        with pytest.raises(VoipfleetError, match="no call of that name"):
            await ask(center, "hold", uuid=PART.hex(), why="x")
        assert center.audit.pop() == ("hold", {"who": "ann", "sensor": "hq", "call": PART.hex(), "result": "failed"})
        begun = asyncio.Event()

        async def slow(*_):
            begun.set()
            await asyncio.sleep(60)

        one.pool.hold = slow
        holding = asyncio.create_task(ask(center, "hold", uuid=CALL.hex(), why="x"))
        await begun.wait()
        await asyncio.sleep(0.1)
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        results = {fields["sensor"]: fields["result"] for _, fields in center.audit}
        assert results == {"hq": "ok", "one": "left", "two": "ok"}


async def test_a_defect_at_one_host_leaves_no_other_without_a_line():
    async with fleet() as (center, *_):
        ask_of = center.board.ask

        async def breaks(uuid, *more):
            if uuid == ONE:
                raise RuntimeError("a defect")
            await asyncio.sleep(0.05)
            return await ask_of(uuid, *more)

        center.board.ask = breaks
        said = await ask(center, "hold", uuid=CALL.hex(), why="x")
        assert said["missed"][0]["error"] == "internal error (RuntimeError); the log has more, report it"
        assert [host["name"] for host in said["done"]] == ["two"]
        results = {fields["sensor"]: fields["result"] for _, fields in center.audit}
        assert results == {"hq": "ok", "one": "failed", "two": "ok"}


async def test_a_sensor_does_not_write_the_centrals_lines_and_says_only_so_much():
    async with fleet() as (center, one, _):
        odd = {"sensor": "fake", "name": "x" * 9000, "bytes": 7, "why": "y" * 9000, "at": 1 << 80, "more": ["z"] * 9000,
               "done": [{"name": "inner", "calls": 1, "odd": "z" * 9000}, 5], "missed": []}  # fmt: skip

        async def rogue(*_):
            return odd

        one.board._answers = rogue
        said = await ask(center, "hold", uuid=CALL.hex(), why="x")
        host = next(host for host in said["done"] if host["bytes"] == 7)
        assert (host["sensor"], host["name"], host["at"]) == (ONE.hex(), "one", None) and "more" not in host
        assert len(host["why"]) == 1024 and host["done"] == [{"name": "inner", "calls": 1}]
        assert sorted(fields["sensor"] for _, fields in center.audit) == ["hq", "one", "two"]
        odd["done"] = [{"why": "y" * 1000}] * 200
        said = await ask(center, "hold", uuid=CALL.hex(), why="x")
        assert "is longer than can be" in said["missed"][0]["error"]
        odd |= {"done": [], "missed": [{"sensor": "fake", "name": "x", "error": "no"}]}
        await ask(center, "hold", uuid=CALL.hex(), why="x")
        assert {fields["sensor"]: fields["result"] for _, fields in center.audit}["one"] == "failed"


@pytest.mark.parametrize("arguments", [{}, {"uuid": CALL.hex(), "number": "1"}, {"number": ""}, {"number": 5}])
async def test_erase_wants_one_of_both(arguments):
    with pytest.raises(VoipfleetError, match=r"give a call or a number|number: give it as text"):
        await ask(hq(), "erase", **arguments)


async def test_a_host_alone_has_its_own():
    one = Instance(ONE, "one", pool=Pool({CALL: 10}))
    assert (await ask(one, "hold", uuid=CALL.hex()))["done"][0]["name"] == "one"
    with pytest.raises(VoipfleetError, match="this call is not known here"):
        await ask(one, "hold", uuid=PART.hex())
    assert (await ask(one, "pool"))["bytes"] == 10
