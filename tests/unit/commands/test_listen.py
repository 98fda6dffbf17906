"""`voipfleet listen`: a WAV file that any player opens, or the reason why there is none."""

import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.captures import pcap, sent
from support.holders import Fleet, Holding
from support.packets import ip, udp
from support.scenario import A, B, Play
from support.voice import RATE, alaw, alike, cut, mulaw, rtp, tone
from voipfleet.cli import main
from voipfleet.fetching import daemon

SAID = {"left": tone(4), "right": tone(3, 900)}


@pytest.fixture
def talk():
    """The caller for 4 s from 1 s on, the callee from 2 s on."""
    play = Play("one@x")
    play.answered()
    for src, dst, side, ssrc, begin, pt, law in ((A, B, "left", 1, 1, 0, mulaw), (B, A, "right", 2, 2, 8, alaw)):
        ports = (4000, 5000) if src == A else (5000, 4000)
        for n, payload in enumerate(cut(SAID[side], law)):
            play.raw(begin + n * 0.02, ip(udp(rtp(pt, n, n * 160, ssrc, payload), *ports), src=src, dst=dst))
    play.bye(6)
    play.packets.sort()
    return play


@pytest.fixture
def fleet(talk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    holdings = [Holding("b1", sent(pcap(talk.packets[:300]))), Holding("b2", sent(pcap(talk.packets[200:])))]
    with Fleet(tmp_path, talk.the_call(), holdings) as fleet:
        yield fleet


def run(fleet, capfd, *words):
    code = main(["listen", "one@x", "--config", str(fleet.config), *words])
    return code, capfd.readouterr().err


def test_the_caller_is_left_and_the_callee_right(fleet, capfd, tmp_path):
    name = f"{fleet.call.uuid.hex()[:8]}.wav"
    assert run(fleet, capfd) == (0, f"{name}: 4.0 s\n")
    with wave.open(name) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, RATE)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert alike(samples[:, 0], SAID["left"]) > 0.999 and alike(samples[RATE:, 1], SAID["right"]) > 0.999
    assert len(samples) == 4 * RATE and not samples[:RATE, 1].any()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["control", "voipfleet.conf", name])
    assert run(fleet, capfd) == (1, f"{name}: is there already; give -o another name, or --force to replace it\n")
    assert run(fleet, capfd, "--force", "-o", name)[0] == 0


def test_what_is_missing_is_told(fleet, talk, capfd):
    fleet.holdings[1].state = "offline"
    code, err = run(fleet, capfd, "-o", "a.wav")
    assert code == 1 and err.startswith("a.wav: ") and "missing: b2: is offline" in err
    fleet.holdings[0].data = sent(pcap(talk.packets, cut=54))
    assert run(fleet, capfd, "-o", "b.wav")[1].startswith(
        "one@x: of its audio only headers are kept; with savertp = yes"
    )
    assert not Path("b.wav").exists()


def test_who_may_not_listen_is_told_at_once(fleet, capfd, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    assert run(fleet, capfd) == (1, "not permitted: nobody is not in group voipfleet-listen; ask whoever runs this host"
                                    " (usermod -aG voipfleet-listen nobody, then log in anew)\n")  # fmt: skip
    assert fleet.said == []
    monkeypatch.setattr("os.geteuid", lambda: 64_999)
    assert "not permitted: 64999 is not in group" in run(fleet, capfd)[1]
    group = SimpleNamespace(gr_gid=4711)
    monkeypatch.setattr("grp.getgrnam", {"voipfleet-listen": group}.__getitem__)
    monkeypatch.setattr("os.getgroups", lambda: [1, 4711])
    assert daemon.may_not_listen(fleet.socket) == ""


def test_the_configuration_need_not_be_readable(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr("builtins.open", refuse)
    assert str(daemon.socket("/etc/voipfleet/voipfleet.conf")) == "/run/voipfleet/control"
    assert daemon.sip_ports("/etc/voipfleet/voipfleet.conf") == (5060,)
