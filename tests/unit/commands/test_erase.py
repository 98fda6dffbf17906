"""`voipfleet erase`: says what it will do, asks back, and says what was done where."""

import pytest
from support.holders import Fleet, Holding
from voipfleet.calls.record import CallRecord
from voipfleet.cli import main
from voipfleet.commands import erase

CALL = CallRecord(uuid=b"u" * 16, call_id="one@x\x1b[m", setup_time=1_700_000_000_000_000_000, caller="al", callee="")
UUID = CALL.uuid.hex()


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with Fleet(tmp_path, CALL, [Holding("b1"), Holding("b2", state="offline")]) as fleet:
        yield fleet


def run(fleet, capfd, monkeypatch, *words, typed=""):
    monkeypatch.setattr("sys.stdin.readline", lambda: typed, raising=False)
    code = main(["erase", *words, "--config", str(fleet.config)])
    return code, *capfd.readouterr()


def host(holding, **said) -> dict:
    return {"sensor": holding.uuid, "name": holding.name, **said}


def test_it_asks_back(fleet, capfd, monkeypatch):
    for typed in ("no\n", "\n", ""):
        code, out, err = run(fleet, capfd, monkeypatch, UUID, typed=typed)
        assert (code, out) == (1, "") and err.endswith("Erase it? (yes/no) nothing was erased\n")
    assert err.startswith("The call one@x\\x1b[m (al to ?, 2023-11-1")
    assert ": its record, and its packets and holds on b1 and b2 (not connected). This cannot be undone.\n" in err
    assert [command for command, _ in fleet.said] == ["find"] * 3
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert run(fleet, capfd, monkeypatch, UUID)[::2] == (
        2, "erase: this cannot be undone, and there is no terminal to ask back; give --yes\n")  # fmt: skip


def test_what_was_erased_and_where_not(fleet, capfd, monkeypatch):
    b1, b2 = fleet.holdings
    inner = {"done": [host(b1, calls=1, packets=2060, missing="")], "missed": []}
    fleet.answers["erase"] = {"done": [host(b1, **inner)], "missed": [host(b2, error="b2: is not connected")]}
    code, out, err = run(fleet, capfd, monkeypatch, UUID, typed="yes\n")
    assert (code, out) == (1, "b1: 1 call, 2,060 packets erased\n") and fleet.said[-1] == ("erase", {"uuid": UUID})
    assert err.endswith("b2: is not connected; NOT erased there, ask again when it can be reached:"
                        f" voipfleet erase {UUID} --sensor {b2.uuid}\n")  # fmt: skip
    fleet.answers["erase"]["missed"][0]["later"] = True
    code, _, err = run(fleet, capfd, monkeypatch, UUID, "--yes")
    assert (code, err) == (1, "b2: is not connected; it is erased there as soon as that is back\n")
    fleet.answers["erase"]["missed"] = [host(b2, error=f"{UUID}: this call is not known here; nothing was erased")]
    code, out, err = run(fleet, capfd, monkeypatch, UUID, "--yes")
    assert (code, err) == (0, "") and out.endswith("b2: has nothing of it\n")
    fleet.answers["erase"] = {"records": 1, "done": [host(b2, calls=1, packets=7, missing="")], "missed": []}
    code, out, err = run(fleet, capfd, monkeypatch, UUID, "--sensor", b2.uuid, "--yes")
    assert (code, out, err) == (0, "1 record erased here\nb2: 1 call, 7 packets erased\n", "")
    assert fleet.said[-1] == ("erase", {"uuid": UUID, "sensor": b2.uuid})
    fleet.answers["erase"]["done"][0]["missing"] = "2 segments are damaged and were not searched"
    assert run(fleet, capfd, monkeypatch, UUID, "--yes")[0] == 1


def test_a_number(fleet, capfd, monkeypatch):
    b1, b2 = fleet.holdings
    fleet.answers["erase"] = {"records": 3, "done": [host(b1, calls=2, packets=9, missing="")],
                              "missed": [host(b2, error="is away\x07")]}  # fmt: skip
    code, out, err = run(fleet, capfd, monkeypatch, "--number", "+4930", typed="y\n")
    assert (code, out) == (1, "3 records erased here\nb1: 2 calls, 9 packets erased\n")
    assert err.startswith(
        "All calls from and to +4930: records here, packets and holds on all hosts that are known here."
    )
    assert err.endswith("b2: is away\\x07; NOT erased there, ask again when it can be reached: the same command\n")
    assert fleet.said == [("erase", {"number": "+4930"})]


def test_ctrl_c_does_not_end_what_was_begun(fleet, capfd, monkeypatch):
    async def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(erase, "ask", interrupted)
    code, out, err = run(fleet, capfd, monkeypatch, UUID, "--yes")
    assert (code, out) == (130, "") and err.startswith("interrupted; the daemon erases on all the same, `voipfleet")


def test_who_may_not_and_what_is_held(fleet, capfd, monkeypatch):
    for said in ("not permitted: al is not root; ask whoever runs this host", "1 of the calls to erase are held (75)"):
        fleet.answers["erase"] = said
        assert run(fleet, capfd, monkeypatch, UUID, "--yes") == (1, "", said + "\n")
    for words in (["--number", " "], ["--number", "5", "--sensor", "x"]):
        assert run(fleet, capfd, monkeypatch, *words)[0] == 2
    with pytest.raises(SystemExit):
        run(fleet, capfd, monkeypatch)
