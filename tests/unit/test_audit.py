"""The audit log: what is written can be read, and what was changed is found."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet import audit, cli
from voipfleet.config import parse


def filled(path, number=5, **more):
    log = audit.Audit(path, **more)
    for at in range(number):
        log.write("link_open", name=f"branch{at}", address="192.0.2.1")
    log.close()


def holds(path):
    return [line is not None and good for _, _, line, good in audit.read(path)]


def test_it_goes_on_over_restarts_and_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "audit.log"
    filled(path)
    filled(path)
    assert holds(path) == [True] * 10
    assert path.stat().st_mode & 0o777 == 0o600


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 8), st.sampled_from(["change", "remove", "swap", "double"]))
def test_any_line_that_was_changed_is_found(tmp_path_factory, at, how):
    path = tmp_path_factory.mktemp("audit") / "audit.log"
    filled(path, 10)
    lines = path.read_bytes().splitlines()
    if how == "change":
        lines[at] = lines[at].replace(b"192.0.2.1", b"192.0.2.2")
    elif how == "remove":
        del lines[at]
    elif how == "double":
        lines.insert(at, lines[at])
    else:
        lines[at], lines[at + 1] = lines[at + 1], lines[at]
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert not all(holds(path))


@pytest.mark.parametrize("line", [b'{"event": "x", "chain": 5}', b"[" * 9999, b'{"chain": null}'])
def test_a_line_that_somebody_made_up_is_found(tmp_path, line):
    path = tmp_path / "audit.log"
    filled(path)
    path.write_bytes(path.read_bytes() + line + b"\n")
    filled(path, 1)
    assert holds(path) == [True] * 5 + [False, True]


def test_files_are_bounded_and_the_chain_goes_through_them(tmp_path):
    path = tmp_path / "audit.log"
    filled(path, 200, max_bytes=2000)
    found = audit.files(path)
    assert len(found) == 1 + audit.KEPT
    assert all(file.stat().st_size <= 2000 for file in found)
    assert all(holds(path))


def test_a_line_that_a_kill_cut_off(tmp_path, capsys):
    path = tmp_path / "audit.log"
    filled(path)
    path.write_bytes(path.read_bytes()[:-20])
    filled(path, 2)
    assert [line["event"] for _, _, line, _ in audit.read(path) if line][-3:] == ["cut", "link_open", "link_open"]
    config = tmp_path / "voipfleet.conf"
    config.write_text(f"[general]\ninterface = lo\nspooldir = {tmp_path}\n")
    assert cli.main(["audit", "--config", str(config)]) == 0
    assert "link_open  name=" in capsys.readouterr().out
    path.write_bytes(path.read_bytes().replace(b"branch1", b"branch9"))
    assert cli.main(["audit", "--config", str(config), "--json"]) == 1
    said = capsys.readouterr()
    assert "audit.log:2: does not follow from the line before it" in said.err
    assert json.loads(said.out.splitlines()[0])["name"] == "branch0"


def test_a_disk_that_refuses_ends_nothing(tmp_path, caplog):
    path = tmp_path / "audit.log"
    log = audit.Audit(path)
    log._path = tmp_path / "gone" / "audit.log"
    log.write("x")
    log.write("x")
    assert log.failing and caplog.text.count("cannot be written") == 1
    log._path = path
    log.write("x")
    assert not log.failing and holds(path) == [True]


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\u202e"])
def test_what_stands_in_it_steers_no_terminal(tmp_path, capsys, text):
    log = audit.Audit(tmp_path / "audit.log")
    log.write("link_refused", reason=text)
    log.close()
    config = tmp_path / "voipfleet.conf"
    config.write_text(f"[general]\ninterface = lo\nspooldir = {tmp_path}\n")
    cli.main(["audit", "--config", str(config)])
    said = capsys.readouterr().out
    assert text not in said and len(said.splitlines()) == 1


def test_the_digest_changes_with_the_configuration_and_says_nothing_of_secrets():
    first, spaced, other, secret = (audit.digest(parse(f"[general]\ninterface = a\n{lines}\n")) for lines in (
        "sipport = 5060", "sipport=5060", "sipport = 5061", "sipport = 5060\nserver_password = x"))  # fmt: skip
    assert first == spaced == secret != other
