"""What lies on disk after a call, as the configuration asks for: masked in every file of the packet store."""

import struct
import time

import pytest
from support.packets import ip, tcp, udp
from support.scenario import A, B, Play, sdp
from voipfleet import config, storing
from voipfleet.calls.analyser import Analyser, AnalyserSettings

CALLER, SECRET, KEY, PIN = b"4930777888", b"0123456789abcdef", b"WVNfX19zZW1jdGwg", b"Signal=7"
WORDS = (CALLER, SECRET, KEY, PIN, b"cafe4930777888")


def a_call() -> Play:
    play = Play()
    offer = sdp(A, 4000, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY.decode(), protocol="RTP/SAVP")
    who = (f'P-Asserted-Identity: "{CALLER.decode()}" <tel:+{CALLER.decode()}>',
           f'Proxy-Authorization: Digest username="a", response="{SECRET.decode()}"')  # fmt: skip
    play.sip(0.0, A, B, "INVITE", "1 INVITE", *who, body=offer)
    play.sip(0.2, B, A, "200 OK", "1 INVITE", to="b", body=sdp(B, 5000))
    play.sip(0.3, A, B, "INFO", "2 INFO", to="b", body=PIN.decode(), content="application/dtmf-relay")
    said = b"cafe" + CALLER
    play.raw(0.4, ip(udp(struct.pack("!BBHI20xBBHI", 0x80, 200, 6, 1, 0x81, 202, 5, 1)
                         + bytes([1, len(said)]) + said, 4001, 5001), src=A, dst=B))  # fmt: skip
    play.rtp(0.5, (A, 4000), (B, 5000), 20, ssrc=1)
    text = play.packets[0][1][42:].replace(b"call-1", b"call-2")
    for n in range(0, len(text), 300):
        play.raw(0.6 + n / 1e6, ip(tcp(text[n : n + 300], 1000 + n), 6))
    play.bye(1.0)
    return play


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        ("pcap_mask = no", WORDS),
        ("", (CALLER, b"cafe4930777888")),
        ("number_keep_last = 3", ()),
        ("number_keep_last = 0\npcap_mask = no", (SECRET, KEY, PIN)),
    ],
)
def test_files_of_the_store(tmp_path, keys, left):
    parsed = config.parse(f"[general]\ninterface = a\nspooldir = {tmp_path}\n{keys}\n")
    store, keep = storing.open_store(parsed, "s", all_rtp=False)
    analyser = Analyser(AnalyserSettings.from_config(parsed), "s", keep=keep)
    a_call().into(analyser)
    store.close(time.monotonic() + 10)
    files = b"".join(path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file())
    assert files.count(b"Call-ID: call-1") == 5 and files.count(b"Call-ID: call-2") == 1
    assert tuple(word for word in WORDS if word in files) == left
