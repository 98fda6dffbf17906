"""What is heard of a call: each side on its own channel, every sound at its time."""

import numpy as np
import pytest
from support.captures import source
from support.packets import frame, ip, udp
from support.voice import MS, RATE, alaw, alike, cut, lag, mulaw, rtp, tone
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.errors import VoipfleetError
from voipfleet.fetching import voices as module
from voipfleet.fetching.merging import merge
from voipfleet.fetching.voices import Voices

START = 1_700_000_000_000_000_000
CALLER, CALLEE = ("10.0.0.1", 4000), ("10.0.0.2", 5000)


class Talk:
    """Packets of streams, and the record that names them."""

    def __init__(self):
        self.packets: list[tuple[int, bytes]] = []
        self.call = CallRecord(uuid=bytes(16), call_id="one@x", setup_time=START, sensor="s")

    def say(self, at: float, samples, src=CALLER, dst=CALLEE, *, side="caller", pt=0, law=mulaw, ssrc=1, seq=0, stamp=0,
            delays=None, lost=(), twice=(), size=160, srtp=False, codec="PCMU", sensor="s"):  # fmt: skip
        rng = np.random.default_rng(ssrc)
        for n, payload in enumerate(cut(samples, law, size)):
            late = int(rng.integers(0, 40) * MS * (n > 0)) if delays is None else delays[n] * MS
            when = START + round(at * 1e9) + n * size * 125_000 + late
            packet = ip(udp(rtp(pt, seq + n, stamp + n * size, ssrc, payload), src[1], dst[1]), src=src[0], dst=dst[0])
            self.packets += [(when + copy * 3 * MS, frame(packet)) for copy in range(1 + (n in twice)) if n not in lost]
        ends = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in (src, dst)]
        stream = StreamRecord(
            direction=side, src=ends[0], dst=ends[1], ssrc=ssrc, codec=codec, srtp=srtp, sensor=sensor
        )
        self.call.streams = [*self.call.streams, stream]

    def heard(self, cut: int = 1 << 18) -> tuple[np.ndarray, Voices]:
        voices = Voices(self.call)
        for block in merge([source("s", self.packets, cut=cut)]).blocks():
            voices.feed(block)
        count = voices.settle()
        samples = np.concatenate([np.zeros((0, 2), np.int16), *voices.pieces()])
        assert len(samples) == count
        return samples, voices


def at(samples: np.ndarray, begin: float, end: float) -> np.ndarray:
    return samples[round(begin * RATE) : round(end * RATE)]


def test_both_sides_of_a_call_whatever_the_network_did():
    talk, hers, his = Talk(), tone(20), tone(15, 900)
    talk.say(0, hers, lost={50, 51, 300}, twice={7, 400}, stamp=2**32 - 800, seq=65_530)
    talk.say(4, his, CALLEE, CALLER, side="callee", pt=8, law=alaw, ssrc=2, codec="PCMA")
    samples, voices = talk.heard()
    left, right = samples[:, 0], samples[:, 1]
    assert voices.faults() == [] and len(samples) == 20 * RATE
    assert not right[: 4 * RATE].any() and not right[19 * RATE :].any()
    assert alike(at(right, 4, 19), his) > 0.999 and abs(lag(right, np.append(np.zeros(4 * RATE), his))) <= RATE // 1000
    for begin, end in ((0, 1), (1.04, 6), (6.02, 20)):
        assert alike(at(left, begin, end), at(hers, begin, end)) > 0.999
    assert not at(left, 1, 1.04).any() and not at(left, 6, 6.02).any()


def test_streams_one_after_the_other_on_a_side():
    talk, sound = Talk(), tone(6)
    talk.say(0, sound[: 2 * RATE], stamp=7777)
    talk.say(3, sound[2 * RATE : 4 * RATE], dst=("10.0.0.3", 6000), ssrc=9, pt=8, law=alaw)
    talk.say(5, sound[4 * RATE :], src=("2001:db8::1", 1), dst=("2001:db8::2", 6000), ssrc=10, size=80)
    left = talk.heard()[0][:, 0]
    for begin, sent in ((0, 0), (3, 2), (5, 4)):
        assert alike(at(left, begin, begin + 2), at(sound, sent, sent + 2)) > 0.999
    assert not at(left, 2, 3).any() and len(left) == 7 * RATE


def test_comfort_noise_and_digits_are_silent():
    talk, sound = Talk(), tone(4)
    talk.say(0, sound[:RATE])
    talk.say(1, np.zeros(160, np.int16), pt=13, seq=50, stamp=8000, size=160)
    talk.say(1.5, np.zeros(160, np.int16), pt=101, seq=51, stamp=12_000)
    talk.say(2, sound[2 * RATE :], seq=52, stamp=16_000)
    talk.call.streams = talk.call.streams[:1]
    samples, voices = talk.heard()
    assert not at(samples[:, 0], 1, 2).any() and alike(at(samples[:, 0], 2, 4), at(sound, 2, 4)) > 0.999
    assert voices.faults() == []
    talk.say(4, tone(0.1), pt=9)
    talk.call.streams = talk.call.streams[:1]
    assert talk.heard()[1].faults() == ["5 packets of payload type 9 are silent"]


def test_several_at_once_on_a_side_are_heard_together_and_never_too_loud(monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 777)
    talk, one, two = Talk(), tone(2, level=30_000), tone(2, 900, level=30_000)
    talk.say(0, one)
    talk.say(0, two, ssrc=2)
    left = talk.heard()[0][:, 0].astype(int)
    assert alike(left, np.clip(one.astype(int) + two, -32768, 32767)) > 0.999 and left.max() == 32767


def test_what_two_sensors_saw_is_heard_once():
    talk, sound = Talk(), tone(2)
    talk.say(0, sound)
    talk.say(0.1, sound, src=("192.0.2.1", 7), dst=("192.0.2.2", 8), sensor="other")  # beyond a border controller
    assert alike(talk.heard()[0][:, 0], sound) > 0.999


def test_padding_is_not_heard():
    talk, sound = Talk(), tone(1)
    for n, payload in enumerate(cut(sound)):
        packet = bytearray(rtp(0, n, n * 160, 1, payload + b"\0\0\0\4"))
        packet[0] |= 0x20
        talk.packets.append((START + n * 20 * MS, frame(ip(udp(bytes(packet), 4000, 5000)))))
    talk.say(9, sound[:0])
    assert alike(talk.heard()[0][:, 0], sound) > 0.999


def test_without_sides_the_first_sender_is_left():
    talk, one, two = Talk(), tone(1), tone(1, 900)
    talk.say(0, one, side="")
    talk.say(0, two, CALLEE, CALLER, side="", ssrc=2)
    talk.call.method = "RTP"
    samples = talk.heard()[0]
    assert alike(samples[:, 0], one) > 0.999 and alike(samples[:, 1], two) > 0.999


def sentence(talk: Talk, **how) -> str:
    with pytest.raises(VoipfleetError) as error:
        talk.heard(**how)
    return str(error.value)


def test_why_nothing_is_heard():
    assert sentence(Talk()) == "one@x: no audio of this call was seen; there is nothing to listen to"
    talk = Talk()
    talk.say(0, tone(1))
    assert sentence(talk, cut=54) == (
        "one@x: of its audio only headers are kept; with savertp = yes sensors keep the audio of calls to come"
    )
    talk.packets = []
    assert sentence(talk) == "one@x: no packets of its audio are kept; look at savertp and maxpooldays"
    other = Talk()
    other.say(0, tone(1), pt=18, codec="G729\x1b[m")
    assert sentence(other) == (
        "one@x: its audio is G729\\x1b[m, and only G.711 (PCMU, PCMA) can be made audible here; open it in Wireshark"
        " (voipfleet pcap)"
    )
    secret = Talk()
    secret.say(0, tone(1), srtp=True)
    assert "its audio is encrypted (SRTP) and cannot be made audible" in sentence(secret)
    secret.say(0, tone(1), CALLEE, CALLER, side="callee", ssrc=2)
    assert secret.heard()[1].faults() == ["1 streams are encrypted (SRTP)"]
    damaged = Talk()
    damaged.call.streams = [StreamRecord(direction="caller", src="nowhere\x07", dst="", ssrc=1)]
    assert sentence(damaged) == "nowhere\\x07: is no address with a port; report this record"


def test_packets_days_apart_are_no_call():
    talk = Talk()
    talk.say(0, tone(1))
    talk.say(90_000, tone(1), seq=50, stamp=8000)
    assert sentence(talk) == "one@x: its packets are 25 hours apart; that is no call, look at them (voipfleet pcap)"


def test_some_without_audio_are_told():
    talk, sound = Talk(), tone(2)
    talk.say(0, sound)
    talk.packets = [(ts, packet[:54] if n < 50 else packet) for n, (ts, packet) in enumerate(sorted(talk.packets))]
    samples, voices = talk.heard()
    assert voices.faults() == ["of 50 packets only headers are kept"] and len(samples) <= RATE + 160
