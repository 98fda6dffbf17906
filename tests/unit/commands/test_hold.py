"""`voipfleet hold`: on every sensor that has the call, and told by host."""

import asyncio
from types import SimpleNamespace

import pytest
from support.holders import Fleet, Holding
from voipfleet.calls.record import CallRecord
from voipfleet.cli import main
from voipfleet.errors import VoipfleetError
from voipfleet.fetching import reporting
from voipfleet.manage.own import store_of
from voipfleet.packetstore.pool import Pool
from voipfleet.packetstore.retention import Limits
from voipfleet.packetstore.writer import StoreSettings

CALL = CallRecord(uuid=b"u" * 16, call_id="one@x", setup_time=1_700_000_000_000_000_000, caller="al", callee="bo")
UUID = CALL.uuid.hex()


def host(name: str, **said) -> dict:
    return {"sensor": name.encode().hex().ljust(32, "0"), "name": name, **said}


@pytest.fixture
def fleet(tmp_path):
    with Fleet(tmp_path, CALL, [Holding("b1"), Holding("b2")]) as fleet:
        yield fleet


def run(fleet, capfd, *words):
    code = main(["hold", *words, "--config", str(fleet.config)])
    return code, *capfd.readouterr()


def test_hold_and_release(fleet, capfd):
    inner = {"done": [host("b2", bytes=99, who="al", why="x", at=1)], "missed": []}
    fleet.answers["hold"] = {"done": [host("b1", bytes=20 << 20), host("b2", **inner)], "missed": []}
    assert run(fleet, capfd, "one@x", "--why", " case 7 ") == (0, "b1: held, 20 MB\nb2: held, 99 bytes\n", "")
    assert fleet.said[-1] == ("hold", {"uuid": UUID, "why": "case 7"})
    fleet.answers["hold"] = {
        "done": [host("b1", bytes=99, missing="packets are missing: 1 segments\x07")],
        "missed": [],
    }
    assert run(fleet, capfd, "one@x", "--why", "x")[:2] == (
        0, "b1: held, 99 bytes; packets are missing: 1 segments\\x07\n")  # fmt: skip
    fleet.answers["release"] = {"done": [host("b1", released=True)], "missed": [host("b2", error="b2: is away\x07")]}
    assert run(fleet, capfd, UUID, "--release") == (1, "b1: released; retention may remove its packets again\n",
                                                    "b2: is away\\x07\n")  # fmt: skip
    assert fleet.said[-1] == ("release", {"uuid": UUID})
    fleet.answers["release"]["missed"] = [host("b2", error=f"{UUID}: this call is not held here; `voipfleet ctl pool`")]
    assert run(fleet, capfd, UUID, "--release") == (0, "b1: released; retention may remove its packets again\n", "")
    fleet.answers["release"]["done"] = []
    assert run(fleet, capfd, UUID, "--release")[0] == 1
    fleet.answers["hold"] = "not permitted: al is not in group voipfleet-pcap; ask whoever runs this host"
    assert run(fleet, capfd, "one@x", "--why", "x") == (1, "", fleet.answers["hold"] + "\n")
    fleet.answers["hold"] = {"done": [host("b1"), host("b2", bytes="\x1b"), host("b3", bytes=99)], "missed": []}
    odd = "its answer is not as expected; is it of another release?"
    assert run(fleet, capfd, "one@x", "--why", "x") == (1, f"b1: {odd}\nb2: {odd}\nb3: held, 99 bytes\n", "")
    for odd in ({}, {"done": 1, "missed": []}, {"done": [{}], "missed": []}):
        fleet.answers["hold"] = odd
        assert "the daemon's answer is not as expected" in run(fleet, capfd, "one@x", "--why", "x")[2]


def test_the_list(fleet, capfd):
    one = {"uuid": UUID, "who": "al", "why": "case 7\x1b[m", "at": CALL.setup_time, "bytes": 5 << 20}
    sensors = [host("b1", uuid="11" * 16, state="connected"), host("b2", uuid="22" * 16, state="offline")]
    fleet.answers |= {"sensors": {"sensors": sensors}, "pool": "hq: keeps no packets (savesip)", "ctl": {"held": [one]}}
    code, out, err = run(fleet, capfd, "--list")
    assert code == 1 and err == "b2: is not connected; what it holds is not listed\n"
    assert out.startswith(f"b1  {UUID}  2023-11-1") and out.endswith("  al  5,120 kB  case 7\\x1b[m\n")
    assert fleet.said[-1] == ("ctl", {"sensor": "11" * 16, "run": "pool"})
    fleet.answers |= {"sensors": {"sensors": []}, "pool": {"held": []}}
    assert run(fleet, capfd, "--list") == (0, "No call is held.\n", "")
    fleet.answers["pool"] = "hq: disk: input/output error"
    assert run(fleet, capfd, "--list")[::2] == (1, "hq: disk: input/output error\n")


@pytest.mark.parametrize("odd", [
    [{"at": "x"}], [{}], [5], 5, {"a": 1}, [{"uuid": UUID, "at": 10**40, "bytes": 1, "who": "", "why": ""}],
    [{"uuid": UUID, "at": 1, "bytes": "many", "who": "", "why": ""}], [{"at": 1}, {"at": "x"}],
])  # fmt: skip
def test_one_odd_sensor_hides_no_hold_of_another(fleet, capfd, odd):
    one = {"uuid": UUID, "who": "al", "why": "case 7", "at": CALL.setup_time, "bytes": 99}
    sensors = [host("evil", uuid="11" * 16, state="connected"), host("b2", uuid="22" * 16, state="connected")]
    said = {"11" * 16: {"held": odd}, "22" * 16: {"held": [one]}}
    fleet.answers |= {"sensors": {"sensors": sensors}, "pool": {"held": []},
                      "ctl": lambda arguments: said[arguments["sensor"]]}  # fmt: skip
    code, out, err = run(fleet, capfd, "--list")
    assert code == 1 and out.startswith(f"b2  {UUID}") and out.count("\n") == 1
    assert err == "evil: its answer is not as expected; is it of another release? What it holds is not listed\n"


@pytest.mark.parametrize("words", [[], ["--list", "x"], ["--list", "--release"], ["x"], ["x", "--why", " "],
                                   ["x", "--why", "y", "--release"]])  # fmt: skip
def test_what_cannot_be_meant(fleet, capfd, words):
    assert run(fleet, capfd, *words)[0] == 2 and not fleet.said


def test_hosts_say_that_they_have_nothing_as_is_expected_here(tmp_path):
    async def seal() -> None:
        pass

    async def said() -> list[str]:
        pool, found = Pool(StoreSettings(tmp_path, Limits()), seal), []
        for work in (pool.release, pool.erase):
            with pytest.raises(VoipfleetError) as error:
                await work(CALL.uuid)
            found.append(str(error.value))
        pool.close()
        return found

    with pytest.raises(VoipfleetError) as error:
        store_of(SimpleNamespace(pool=None, name="x"))
    sentences = [*asyncio.run(said()), str(error.value)]
    assert all(map(reporting.nothing, sentences)) and not reporting.nothing("s1: not connected since 14:00")
