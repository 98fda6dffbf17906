"""playbooks/fetch_pcap.yml: a call's packets on the controller, nothing left on the host, else a sentence."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.captures import pcap, read, sent
from support.holders import Fleet, Holding
from support.scenario import A, B, Play

PROJECT = Path(__file__).parents[2]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
pytestmark = pytest.mark.skipif(not PLAYBOOK.exists(), reason="no ansible-playbook beside this Python")


@pytest.fixture
def fleet(tmp_path):
    """A host that is this machine: its `voipfleet` asks a daemon of the test's."""
    play = Play("-one@x $(id);'")
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), 20)
    play.bye(3)
    play.packets.sort()
    holdings = [Holding("b1", sent(pcap(play.packets))), Holding("b2", state="offline")]
    with Fleet(tmp_path, play.the_call(), holdings[:1]) as fleet:
        fleet.packets, fleet.away, fleet.here = play.packets, holdings[1], tmp_path / "here"
        fleet.temporary = tmp_path / "temporary"
        for folder in (fleet.here, fleet.temporary, tmp_path / "bin"):
            folder.mkdir()
        program = tmp_path / "bin" / "voipfleet"
        program.write_text(f"#!{sys.executable}\nimport sys\nfrom voipfleet.cli import main\n"
                           f"sys.exit(main([sys.argv[1], '--config', '{fleet.config}', *sys.argv[2:]]))\n")  # fmt: skip
        program.chmod(0o755)
        (tmp_path / "hosts.yml").write_text("centrals: {hosts: {hq: {ansible_connection: local, ansible_become: false,"
                                            f" ansible_python_interpreter: {sys.executable}}}}}}}\n")  # fmt: skip
        yield fleet


def play(fleet, *words: str) -> tuple[int, str]:
    folder = fleet.config.parent
    env = os.environ | {"ANSIBLE_NOCOLOR": "1", "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
                        "PWD": str(fleet.here), "TMPDIR": str(fleet.temporary),
                        "ANSIBLE_LOCAL_TEMP": str(folder / "ansible")}  # fmt: skip
    command = [PLAYBOOK, "-v", "-i", folder / "hosts.yml", PROJECT / "playbooks" / "fetch_pcap.yml", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=fleet.here)
    assert not list(fleet.temporary.glob("voipfleet-*")), done.stdout
    return done.returncode, done.stdout + done.stderr


def test_the_packets_come_to_the_controller(fleet):
    uuid = fleet.call.uuid.hex()
    code, said = play(fleet, "-e", f"call={uuid}")
    (made,) = fleet.here.iterdir()
    assert code == 0 and made.name == f"{uuid[:8]}.pcap" and read(made) == fleet.packets
    assert stat.S_IMODE(made.stat().st_mode) == 0o600 and f"{len(fleet.packets)} packets from b1" in said


def test_a_call_id_is_only_text_and_in_no_output(fleet):
    wanted = {"call": fleet.call.call_id, "to": f"{fleet.here}/a.pcapng"}
    code, said = play(fleet, "-e", json.dumps(wanted))
    (made,) = fleet.here.iterdir()
    assert code == 0 and made.name == "a.pcapng" and read(made) == fleet.packets and "-one@x" not in said


def test_what_there_is_comes_although_some_is_missing(fleet):
    fleet.holdings.append(fleet.away)
    code, said = play(fleet, "-e", f"call={fleet.call.uuid.hex()}", "-e", f"to={fleet.here}")
    (made,) = fleet.here.iterdir()
    assert code == 2 and read(made) == fleet.packets and "b2: is offline" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "call is not set; give the Call-ID or the uuid of a call"),
        (["-e", "call=x", "-e", "to=/nowhere/at/all"], "/nowhere/at/all: there is no such folder on this machine"),
        (["-e", "call=two@x"], "hq: no call of that name is in the database"),
    ],
)
def test_sentences(fleet, words, sentence):
    code, said = play(fleet, *words)
    assert code == 2 and sentence in " ".join(said.split()) and not list(fleet.here.iterdir())
