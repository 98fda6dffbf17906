"""A live call's record leaves within a second of the answer to its BYE, by the clock alone."""

import struct

import numpy as np
import pytest
from voipfleet.calls.analyser import Analyser
from voipfleet.calls.emodel import quality
from voipfleet.capture.block import Block

T = 1_700_000_000_000_000_000


def block(ts, text):
    text = text.encode()
    udp = struct.pack(">HHHH", 5060, 5060, 8 + len(text), 0) + text
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\n\0\0\1", b"\n\0\0\2") + udp
    data = np.frombuffer(bytes(12) + b"\x08\x00" + ip, np.uint8)
    size = np.array([len(data)])
    return Block(data=data, ts=np.array([ts]), offset=np.array([0]), caplen=size, wirelen=size)


def message(line, cseq, to=""):
    return f"{line}\r\nVia: x\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>{to}\r\nCall-ID: c\r\nCSeq: {cseq}\r\n\r\n"


def test_record_leaves_after_bye_without_traffic():
    analyser, second = Analyser(sensor="s"), 1_000_000_000
    for at, args in enumerate([("INVITE sip:b@h SIP/2.0", "1 INVITE"), ("SIP/2.0 401 No", "1 INVITE", ";tag=8"),
                               ("INVITE sip:b@h SIP/2.0", "2 INVITE"), ("SIP/2.0 180 Ringing", "2 INVITE", ";tag=9"),
                               ("SIP/2.0 200 OK", "2 INVITE", ";tag=9"), ("BYE sip:b@h SIP/2.0", "3 BYE", ";tag=9"),
                               ("SIP/2.0 200 OK", "3 BYE", ";tag=9")]):  # fmt: skip
        assert analyser.feed(block(T + at * second, message(*args))) == []
    assert analyser.tick(T + 6 * second + second // 4) == []
    (call,) = analyser.tick(T + 7 * second)
    assert (call.final_response, call.hung_up_by, call.end_reason, call.pdd) == (200, "caller", "bye", 3.0)
    assert (call.connect_duration, call.sensor, analyser.active_calls, analyser.finish()) == (1.0, "s", 0, [])


def test_open_call_is_partial_at_the_end():
    analyser = Analyser()
    analyser.feed(block(T, message("INVITE sip:b@h SIP/2.0", "1 INVITE")))
    (call,) = analyser.finish("sensor_restart")
    assert call.partial and call.end_reason == "sensor_restart"


def test_quality():
    assert quality("PCMU", 100, 0, []) == (93.2, pytest.approx(4.41))
    assert quality("opus", 100, 0, []) == (None, None)
    assert quality("PCMU", 100, 5, [5])[1] < 4.2
