"""`voipfleet ctl`: what the words mean, whom it asks, and how an answer looks."""

import json

import pytest
from voipfleet import cli, config, errors
from voipfleet.asking import remote
from voipfleet.commands import ctl
from voipfleet.errors import UsageError, VoipfleetError
from voipfleet.manage.request import OPERATORS
from voipfleet.manage.table import TABLE
from voipfleet.secrets import read_secret


def test_the_commands_that_it_names_are_those_of_the_table():
    assert set(ctl.OWN) == {each.name for each in TABLE if each.over_link and each.group == OPERATORS}


@pytest.mark.parametrize(("words", "meant"), [
    (["active"], ("", "active", {})),
    (["active", "limit=5"], ("", "active", {"limit": "5"})),
    (["branch1", "status"], ("branch1", "status", {})),
    (["branch1", "filter", "text=host 1.2.3.4 and a=b"], ("branch1", "filter", {"text": "host 1.2.3.4 and a=b"})),
    (["status", "version"], ("status", "version", {})),  # a sensor that is called so
    (["branch1", "call", "call=x=y"], ("branch1", "call", {"call": "x=y"})),
])  # fmt: skip
def test_words(words, meant):
    assert ctl._parsed(words) == meant


@pytest.mark.parametrize("words", [["branch1"], ["a", "b", "c"], ["limit=5"], ["limit=5", "active"], ["a", "x=1", "b"]])
def test_words_that_mean_nothing(words):
    with pytest.raises(UsageError, match=r"give \[SENSOR\] COMMAND \[KEY=VALUE ...\]; commands are status, version"):
        ctl._parsed(words)


def test_places():
    assert ctl._place("sensor1:5029") == ("sensor1", 5029)
    assert ctl._place("[2001:db8::1]:5029") == ("2001:db8::1", 5029)
    for text in ("sensor1", ":5029", "sensor1:", "sensor1:0", "sensor1:99999", "sensor1:x", "sensor1:\u0665"):
        with pytest.raises(UsageError, match="--at: give HOST:PORT"):
            ctl._place(text)


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "voipfleet.conf"
    path.write_text(f"[general]\ninterface = eth0\ncontrol_socket = {tmp_path}/control\n")
    return path


def test_whom_it_asks(settings, monkeypatch, capsys):
    asked = []

    async def ask(path, command, **arguments):
        asked.append((path.name, command, arguments))
        return {"state": "fine"}

    async def ask_at(found, host, port, command, arguments, key):
        asked.append((host, port, command, arguments, key))
        return {"state": "there"}

    monkeypatch.setattr(ctl, "ask", ask)
    monkeypatch.setattr(remote, "ask_at", ask_at)
    for words in (["active", "limit=5"], ["branch1", "pool"], ["--at", "h:5029", "version"]):
        assert cli.main(["ctl", *words, "--config", str(settings)]) == errors.OK
    assert asked == [("control", "active", {"limit": "5"}),
                     ("control", "ctl", {"sensor": "branch1", "run": "pool", "arguments": {}}),
                     ("h", 5029, "version", {}, None)]  # fmt: skip
    assert capsys.readouterr().out == "state: fine\nstate: fine\nstate: there\n"
    assert cli.main(["ctl", "branch1", "version", "--at", "h:1", "--config", str(settings)]) == errors.USAGE
    assert "leave the sensor's name out" in capsys.readouterr().err
    assert cli.main(["ctl", "active", "--json", "--config", str(settings)]) == errors.OK
    assert json.loads(capsys.readouterr().out) == {"state": "fine"}


@pytest.mark.parametrize("key", ["server_password", "server_psk"])
def test_the_secret_of_a_rollout_is_found(settings, monkeypatch, key):
    (settings.parent / "secrets").mkdir()
    (settings.parent / "secrets" / key).write_text("what the rollout put there")
    read = []

    async def ask_at(found, *_):
        read.append([read_secret(found, each) for each in ("server_password", "server_psk")])
        return {}

    monkeypatch.setattr(remote, "ask_at", ask_at)
    assert cli.main(["ctl", "--at", "h:5029", "version", "--config", str(settings)]) == errors.OK
    assert [text for text in read[0] if text] == ["what the rollout put there"]


def test_an_answer_for_people(capsys):
    ctl._show("pool", {
        "bytes": 5, "ok": True, "none": None, "empty": [], "held": [], "names": ["a", "b"], "since": 0,
        "classes": {"sip": {"segments": 2}},
        "list": [{"name": "a\x1b[31m", "n": 1, "more": [1]}, {"name": "longer", "n": 20, "state": False}],
    })  # fmt: skip
    out = capsys.readouterr().out
    assert "\x1b" not in out
    lines = out.splitlines()
    assert lines[:6] == ["bytes: 5", "ok: yes", "none: -", "empty: -", "held: -", "names: a, b"]
    assert lines[6].startswith("since: 1970-01-01 ") or lines[6].startswith("since: 1969-12-31 ")
    assert lines[7:10] == ["classes:", "  sip:", "    segments: 2"]
    assert lines[10:] == ["list:", "  name       n   state", "  a\\x1b[31m  1", "  longer     20  no"]


def test_the_status_looks_as_that_command_has_it(capsys):
    ctl._show("status", {"name": "a", "version": "1", "mode": "capture", "uptime_seconds": 5.0,
                         "records": {"created": 1, "acknowledged": 1, "queued": 0, "gaps": 0}})  # fmt: skip
    assert capsys.readouterr().out.startswith("a: voipfleet 1, capture, up 5 s\nrecords: 1 created")


def _deep():
    found = {}
    for _ in range(5000):
        found = {"x": found}
    return found


@pytest.mark.parametrize(("command", "said"), [
    ("status", {"name": 1}), ("status", {"records": [], "name": "x"}), ("status", {"records": None}),
    ("pool", {"x": _deep()}),
])  # fmt: skip
def test_an_odd_answer_is_a_sentence(command, said):
    with pytest.raises(VoipfleetError, match=rf"^{command}: the answer is not as expected, another release may run"):
        ctl._show(command, said)


def test_no_daemon_is_a_sentence(settings, capsys):
    assert config.load(settings).control_socket.endswith("/control")
    assert cli.main(["ctl", "status", "--config", str(settings)]) == errors.FAILURE
    assert "no daemon answers; look at `systemctl status voipfleet`" in capsys.readouterr().err
