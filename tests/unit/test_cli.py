"""The command line: version, help, and the exit code of a wrong call."""

import subprocess
import sys

import pytest
from voipfleet import __version__, errors
from voipfleet.cli import COMMANDS, build_parser, main


def test_version():
    out = subprocess.run([sys.executable, "-m", "voipfleet", "--version"], capture_output=True, text=True, check=True)
    assert out.stdout == f"voipfleet {__version__}\n"


def test_a_wrong_command_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as end:
        main(["rnu"])
    assert end.value.code == errors.USAGE
    assert "rnu" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as end:
        build_parser(name).parse_args([name, "--help"])
    assert end.value.code == 0
    assert "usage: voipfleet " + name in capsys.readouterr().out


def test_a_file_that_nobody_thought_of_is_a_sentence(monkeypatch, capsys):
    def fail(args):
        raise PermissionError(13, "Permission denied", "/some/where")

    monkeypatch.setattr("voipfleet.commands.keygen.run", fail)
    assert main(["keygen"]) == 1
    assert (
        capsys.readouterr().err
        == "/some/where: Permission denied; check that it is there and that this user may use it\n"
    )
