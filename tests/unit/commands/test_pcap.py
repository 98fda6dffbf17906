"""`voipfleet pcap`: one file of what several sensors have, whatever happens to them on the way."""

import functools
import json
import os
import re
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.captures import pcap, read, sent
from support.holders import Fleet, Holding
from support.nasty import ACTIVE
from support.packets import frame, ip, udp
from support.scenario import A, B, Play
from voipfleet.capture.block import RAW
from voipfleet.cli import main
from voipfleet.fetching import fetch

SECOND = 1_000_000_000


@pytest.fixture
def play():
    play = Play("one@x")
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), 100, ssrc=1)
    play.rtp(0.3, (B, 5000), (A, 4000), 100, ssrc=2)
    play.bye(3)
    play.packets.sort()
    return play


@pytest.fixture
def fleet(play, tmp_path, monkeypatch):
    """Branch1 has the first half and the middle, branch2 the middle and the rest."""
    monkeypatch.setattr(fetch, "PAUSE", 0.01)
    monkeypatch.chdir(tmp_path)
    call = play.the_call()
    first, second = play.packets[:140], play.packets[60:]
    holdings = [Holding("branch1", sent(pcap(first))), Holding("branch2", sent(pcap(second)))]
    with Fleet(tmp_path, call, holdings) as fleet:
        yield fleet


def run(fleet, capfd, *words, call="one@x"):
    code = main(["pcap", call, "--config", str(fleet.config), *words])
    out, err = capfd.readouterr()
    return code, out, err


def left(tmp_path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir() if path.name not in ("control", "voipfleet.conf"))


def test_one_file_of_two_sensors(fleet, play, capfd, tmp_path):
    name = f"{fleet.call.uuid.hex()[:8]}.pcap"
    code, out, err = run(fleet, capfd)
    assert (code, out) == (0, "") and read(name) == play.packets and left(tmp_path) == [name]
    assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600
    span = f"{(play.packets[-1][0] - play.packets[0][0]) / SECOND:.3f}"
    said = rf"{name}: 206 packets from branch1, branch2, {span} s from 2023-11-1[45] \S+ on, 80 that another sensor has"
    assert re.fullmatch(said + r" too left out\n", err)
    assert run(fleet, capfd)[::2] == (1, f"{name}: is there already; give -o another name, or --force to replace it\n")
    assert run(fleet, capfd, "--force")[0] == 0 and read(name) == play.packets
    assert run(fleet, capfd, "-o", "b.pcapng", call=fleet.call.uuid.hex())[0] == 0 and read("b.pcapng") == play.packets


def test_clocks_that_are_off_are_corrected_and_told(fleet, play, capfd):
    late = [(ts + 10 * SECOND, packet) for ts, packet in play.packets[60:]]
    fleet.holdings[1].data, fleet.holdings[1].offset_ms = sent(pcap(late)), 10_000.0
    code, _, err = run(fleet, capfd, "-o", "a.pcap")
    assert code == 0 and read("a.pcap") == play.packets
    assert err.startswith(
        "branch2: its clock is +10000.0 ms from the central's; +10000.0 ms were taken off its times\n"
    )


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"state": "offline"}, "branch2: is offline; ask again when it is back (voipfleet sensors)"),
        ({"state": "offline", "since": 1_700_000_000.0}, "branch2: is offline since 2023-11-1"),
        ({"error": "the packets were evicted\x1b[31m"}, "branch2: the packets were evicted\\x1b[31m"),
        ({"data": b"nonsense"}, "branch2: a file does not begin or end where it should; its packets cannot be used"),
        ({"lie": 2}, "branch2: what came is not what it sent, twice; try again, and report it"),
        ({"missing": "12 segments were evicted\x1b[m"}, "branch2: 12 segments were evicted\\x1b[m"),
    ],
)
def test_what_is_missing_is_told_and_the_rest_is_there(fleet, play, capfd, tmp_path, what, said):
    for name, value in what.items():
        setattr(fleet.holdings[1], name, value)
    code, _, err = run(fleet, capfd, "-o", "a.pcap")
    assert code == 1 and read("a.pcap") == play.packets[: 140 if "missing" not in what else None]
    assert f"; missing: {said}" in err and not ACTIVE.search(err) and len(err.splitlines()) == 1
    assert [name for name in left(tmp_path) if "lie" not in what] in ([], ["a.pcap"])


def test_nothing_is_a_sentence_and_no_file(fleet, capfd, tmp_path):
    assert run(fleet, capfd, call="two@x")[::2] == (1, "hq: no call of that name is in the database\n")
    for holding in fleet.holdings:
        holding.error = "evicted; it was too long ago"
    code, _, err = run(fleet, capfd)
    assert (code, err) == (1, "branch1: evicted; it was too long ago\nbranch2: evicted; it was too long ago\n")
    for holding in fleet.holdings:
        holding.error, holding.data = "", sent(pcap([]))
    assert "none of its packets is kept any more; how long they are is" in run(fleet, capfd)[2]
    fleet.holdings.clear()
    assert "no sensor that saw this call is known to keep packets" in run(fleet, capfd)[2]
    assert left(tmp_path) == []


def test_who_may_not_is_told(fleet, capfd, tmp_path):
    fleet.answers["fetch"] = "not permitted: al is not in group voipfleet-pcap; ask whoever runs this host"
    assert "branch1: not permitted: al is not in group voipfleet-pcap" in run(fleet, capfd)[2]
    fleet.answers["find"] = "not permitted: al is not in group voipfleet-pcap; ask whoever runs this host"
    assert run(fleet, capfd)[::2] == (1, fleet.answers["find"] + "\n")
    assert left(tmp_path) == []


def test_no_daemon(tmp_path, capfd):
    (tmp_path / "voipfleet.conf").write_text(f"[general]\ninterface = lo\ncontrol_socket = {tmp_path}/none\n")
    assert main(["pcap", "x", "--config", f"{tmp_path}/voipfleet.conf"]) == 1
    assert capfd.readouterr().err == f"{tmp_path}/none: no daemon answers; look at `systemctl status voipfleet`\n"


def test_a_link_that_breaks_is_waited_for(fleet, play, capfd):
    fleet.holdings[1].breaks = [8192, 4096, 0]
    assert run(fleet, capfd, "-o", "a.pcap")[0] == 0 and read("a.pcap") == play.packets
    assert [asked["offset"] for asked in fleet.holdings[1].asked] == [0, 8192, 12288, 12288]


def test_it_is_not_waited_for_for_ever_and_the_next_run_goes_on(fleet, play, capfd, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "PATIENCE", 0.1)
    fleet.holdings[1].breaks = [8192] + [0] * 1000
    code, _, err = run(fleet, capfd, "-o", "a.pcap")
    assert code == 1 and "; missing: branch2: the connection ended before the answer did" in err
    assert left(tmp_path) == ["a.pcap", "a.pcap.branch2.part", "a.pcap.branch2.part.json"]
    assert {stat.S_IMODE(Path(name).stat().st_mode) for name in left(tmp_path)} == {0o600}
    fleet.holdings[1].breaks, fleet.holdings[1].asked = [], []
    assert run(fleet, capfd, "-o", "a.pcap", "--force")[0] == 0 and read("a.pcap") == play.packets
    assert [asked["offset"] for asked in fleet.holdings[1].asked] == [8192] and left(tmp_path) == ["a.pcap"]


def test_what_changed_meanwhile_is_fetched_anew_once(fleet, play, capfd, tmp_path):
    whole = fleet.holdings[1].data
    for damage in (whole[:5000], whole[:5000] + b"?" * 100, whole + b"more", b"other"):
        (tmp_path / "a.pcap.branch2.part").write_bytes(damage)
        mark = {"sensor": fleet.holdings[1].uuid, "uuid": fleet.call.uuid.hex()}
        (tmp_path / "a.pcap.branch2.part.json").write_text(json.dumps(mark))
        fleet.holdings[1].asked = []
        assert run(fleet, capfd, "-o", "a.pcap", "--force")[0] == 0 and read("a.pcap") == play.packets
        anew = [] if damage == whole[:5000] else [0]
        assert [asked["offset"] for asked in fleet.holdings[1].asked] == [len(damage), *anew]


def test_a_part_of_another_call_is_no_part_of_this(fleet, play, capfd, tmp_path):
    for mark in ("", "{", '{"sensor": "", "uuid": ""}', "[" * 3000, "x" * 9999):
        (tmp_path / "a.pcap.branch2.part").write_bytes(b"z" * 100)
        (tmp_path / "a.pcap.branch2.part.json").write_text(mark)
        fleet.holdings[1].asked = []
        assert run(fleet, capfd, "-o", "a.pcap", "--force")[0] == 0 and read("a.pcap") == play.packets
        assert [asked["offset"] for asked in fleet.holdings[1].asked] == [0]


def test_a_link_in_the_way_is_not_followed(fleet, capfd, tmp_path):
    (tmp_path / "precious").write_text("mine")
    for make in (os.symlink, os.link):
        make(tmp_path / "precious", tmp_path / "a.pcap.branch2.part")
        code, _, err = run(fleet, capfd, "-o", "a.pcap")
        assert code == 1 and "a.pcap.branch2.part: this is in the way and no part of ours" in err
        (tmp_path / "a.pcap.branch2.part").unlink()
    assert (tmp_path / "precious").read_text() == "mine"


def test_ctrl_c_leaves_what_came(fleet, play, capfd, tmp_path):
    gate = fleet.holdings[1].gate = threading.Event()
    fleet.holdings[1].breaks = [8192]
    words = [sys.executable, "-m", "voipfleet", "pcap", "one@x", "--config", str(fleet.config), "-o", "a.pcap"]
    # A shell's background job, as this run may be one, has SIGINT ignored, and so would the command.
    not_ignored = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, preexec_fn=not_ignored)
    part = tmp_path / "a.pcap.branch2.part"
    until = time.monotonic() + 20
    while time.monotonic() < until and not (part.exists() and part.stat().st_size == 8192):
        time.sleep(0.02)
    assert run(fleet, capfd, "-o", "a.pcap")[2] == (
        "a.pcap.branch1.part: another voipfleet fetches into it; wait for it, or give -o another name\n"
    )
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10)[1] == "a.pcap: interrupted; the same command goes on where it stopped\n"
    gate.set()
    assert process.returncode == 130 and part.stat().st_size == 8192 and not (tmp_path / "a.pcap").exists()
    fleet.holdings[1].gate, fleet.holdings[1].asked = None, []
    assert run(fleet, capfd, "-o", "a.pcap")[0] == 0 and read("a.pcap") == play.packets
    assert [asked["offset"] for asked in fleet.holdings[1].asked] == [8192] and left(tmp_path) == ["a.pcap"]


def test_more_than_a_call_can_be_is_refused(fleet, capfd, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_TOTAL", 20_000)
    code, _, err = run(fleet, capfd, "-o", "a.pcap")
    assert code == 1 and "that is no call, look at what it is" in err


def test_names_of_sensors_are_no_paths(fleet, play, capfd, tmp_path):
    for holding, name in zip(fleet.holdings, ("../../etc/x\x1b]0;y\x07", "../../etc/x]0;y"), strict=True):
        holding.name = name
    code, _, err = run(fleet, capfd, "-o", "a.pcapng")
    assert code == 0 and not ACTIVE.search(err) and "from etc-x-0-y" in err and left(tmp_path) == ["a.pcapng"]
    assert read("a.pcapng") == play.packets


def test_link_types_that_differ_need_pcapng(fleet, play, capfd, tmp_path):
    bare = [(ts, packet[14:]) for ts, packet in play.packets[60:]]
    fleet.holdings[1].data = sent(pcap(bare, RAW))
    code, _, err = run(fleet, capfd)
    assert code == 1 and err.endswith("a pcap has room for one; give --pcapng\n") and left(tmp_path) == []
    assert run(fleet, capfd, "--pcapng")[0] == 0 and left(tmp_path) == [f"{fleet.call.uuid.hex()[:8]}.pcapng"]
    assert run(fleet, capfd, "-o", "a.pcapng")[0] == 0
    assert [packet[-40:] for _, packet in read("a.pcapng")] == [packet[-40:] for _, packet in play.packets]


def test_standard_output(fleet, play, tmp_path):
    words = [sys.executable, "-m", "voipfleet", "pcap", "one@x", "--config", str(fleet.config), "-o", "-"]
    (tmp_path / "out").write_bytes(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
    assert read(tmp_path / "out") == play.packets and left(tmp_path) == ["out"]


def test_a_terminal_gets_no_packets(fleet, capfd, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    said = "-o -: packets are nothing for a terminal; send them into a file or a pipe\n"
    assert run(fleet, capfd, "-o", "-")[::2] == (2, said)
    assert run(fleet, capfd, "-o", "-", "--ladder")[0] == 2 and fleet.said == []


def test_the_ladder(fleet, capfd, tmp_path):
    code, out, err = run(fleet, capfd, "--ladder")
    assert code == 0 and left(tmp_path) == []
    for text in ("alice called bob: the caller hung up (BYE)", "INVITE (1)  SDP 10.0.0.1:4000", "200 OK (2 BYE)",
                 "RTP PCMU 100 packets", "10.0.0.1:5060"):  # fmt: skip
        assert text in out, text
    assert out.count("INVITE (1)  SDP") == 1 and "206 packets from branch1, branch2" in err
    assert run(fleet, capfd, "--ladder", "-o", "a.pcap")[0] == 0 and left(tmp_path) == ["a.pcap"]


def test_a_ladder_needs_messages(fleet, play, capfd):
    only = [(ts, packet) for ts, packet in play.packets if struct.unpack_from("!H", packet, 36)[0] != 5060]
    for holding in fleet.holdings:
        holding.data = sent(pcap(only))
    code, out, err = run(fleet, capfd, "--ladder")
    assert (code, out) == (1, "") and "one@x: there are no SIP messages among its packets (savesip)" in err


def test_a_registration_has_no_ladder(fleet, capfd):
    fleet.call.method = "REGISTER"
    assert "one@x: is a registration, and a ladder shows calls" in run(fleet, capfd, "--ladder")[2]


def test_four_are_asked_at_a_time(fleet, play, capfd):
    fleet.holdings[:] = [Holding(f"b{n}", sent(pcap(play.packets[n * 20 :]))) for n in range(9)]
    assert run(fleet, capfd, "-o", "a.pcap")[0] == 0 and read("a.pcap") == play.packets and fleet.most == 4


def test_sip_on_another_port_is_known_by_the_record(fleet, play, capfd):
    moved = [(ts, frame(ip(udp(packet[42:], 5060, 7777)) if packet[36:38] == b"\x13\xc4" else packet[14:]))
             for ts, packet in play.packets]  # fmt: skip
    fleet.call.src, fleet.holdings[:] = "10.0.0.1:7777", [Holding("b", sent(pcap(moved)))]
    fleet.config.write_text(fleet.config.read_text() + "sipport = 5070\n")
    assert "INVITE (1)" in run(fleet, capfd, "--ladder")[1]


def test_wireshark(fleet, play, capfd, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    code, _, err = run(fleet, capfd, "--wireshark")
    assert code == 1 and err.startswith("--wireshark: there is no wireshark on PATH; install it, or") and not fleet.said
    script = tmp_path / "bin" / "wireshark"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\nexec /bin/cat > {tmp_path}/got\n')
    script.chmod(0o755)
    assert run(fleet, capfd, "--wireshark")[0] == 0  # which is awaited
    assert (tmp_path / "words").read_text() == "-k -i -\n" and read(tmp_path / "got") == play.packets
    script.write_text("#!/bin/sh\nexec /bin/false\n")
    code, _, err = run(fleet, capfd, "--wireshark")
    assert code == 1 and err.startswith("wireshark: ended with code 1; is there a display?")
    assert left(tmp_path) == ["bin", "got", "words"]


def test_progress_on_a_terminal(fleet, capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    code, _, err = run(fleet, capfd, "-o", "a.pcap")
    assert code == 0 and "branch1" in err.split("206 packets")[0] and "kB" in err


def test_what_a_sensor_left_out_on_purpose_is_told_and_no_failure(fleet, capfd):
    fleet.holdings[0].note = "its voice was left out"
    code, _, err = run(fleet, capfd, "-o", "x.pcap")
    assert code == 0 and "branch1: its voice was left out" in err and "missing" not in err
