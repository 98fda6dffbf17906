"""RTCP beside our own figures: joined to the stream, the round trip from what passed here, and bounded."""

import struct

import numpy as np
from voipfleet.calls import reports
from voipfleet.calls.analyser import Analyser
from voipfleet.calls.reports import Reports
from voipfleet.capture.block import Block
from voipfleet.decode.rtcp import Metrics, Received, Sent

A, B = b"\n\0\0\1", b"\n\0\0\2"
MS, T = 1_000_000, 1_700_000_000_000_000_000


def udp(src, dst, sport, dport, payload):
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0, src, dst)
    return bytes(12) + b"\x08\x00" + ip + struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def sip(line, cseq, host="", port=0):
    body = f"v=0\r\nc=IN IP4 {host}\r\nm=audio {port} RTP/AVP 0\r\n" if port else ""
    tag = "" if line.startswith("INVITE") else ";tag=t"
    return (f"{line}\r\nVia: x\r\nFrom: <sip:a@h>;tag=f\r\nTo: <sip:b@h>{tag}\r\nCall-ID: c\r\nCSeq: {cseq}\r\n"
            f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode()  # fmt: skip


def block(packets):
    sizes = np.array([len(raw) for _, raw in packets])
    return Block(data=np.frombuffer(b"".join(raw for _, raw in packets), np.uint8), offset=np.cumsum(sizes) - sizes,
                 ts=np.array([T + at * MS for at, _ in packets]), caplen=sizes, wirelen=sizes)  # fmt: skip


def test_a_call_with_reports_of_its_receiver():
    rtp = [(20 + 20 * n, udp(A, B, 4000, 5000, struct.pack("!BBHII", 0x80, 0, n, 160 * n, 9) + bytes(160)))
           for n in range(50)]  # fmt: skip
    sent = struct.pack("!BBHIIIIII", 0x80, 200, 6, 9, 0x00001234, 0x56780000, 0, 50, 8000)
    back = struct.pack("!BBHI", 0x81, 201, 7, 77) + struct.pack("!IIIIII", 9, 4, 50, 160, 0x12345678, 65536 // 10)
    packets = [
        (0, udp(A, B, 5060, 5060, sip("INVITE sip:b@h SIP/2.0", "1 INVITE", "10.0.0.1", 4000))),
        (10, udp(B, A, 5060, 5060, sip("SIP/2.0 200 OK", "1 INVITE", "10.0.0.2", 5000))),
        *rtp, (1100, udp(A, B, 4001, 5001, sent)), (1250, udp(B, A, 5001, 4001, back)),
        (1300, udp(A, B, 5060, 5060, sip("BYE sip:b@h SIP/2.0", "2 BYE"))),
        (1301, udp(B, A, 5060, 5060, sip("SIP/2.0 200 OK", "2 BYE"))),
    ]  # fmt: skip
    for cut in (1, len(packets)):
        analyser = Analyser()
        for at in range(0, len(packets), cut):
            analyser.feed(block(packets[at : at + cut]))
        (call,) = analyser.finish()
        (stream,) = call.streams
        assert (stream.expected, stream.lost, stream.rtcp_lost, stream.rtcp_jitter_ms) == (50, 0, 4, 20.0)
        assert abs(stream.rtcp_rtt_ms - 50) < 0.1  # 150 ms passed here, of which the receiver says it waited 100
        assert analyser.counters["rtcp"] == 2


def test_extended_metrics_and_what_nobody_claims(monkeypatch):
    counted = []
    monkeypatch.setattr(reports, "MAX_STREAMS", 2)
    made = Reports(counted.append)
    a, b = (0, 1), (0, 2)
    made.take(5, a, b, [Metrics(1, 4.2, 80), Received(2, 7, 1, 8, 0, 0), Received(3, 7, 1, 8, 0, 0)])
    assert counted == ["rtcp_forgotten"]
    assert made.of(b, a, 1, 8000) == {}
    assert made.of(b, a, 3, 8000)["rtcp_jitter_ms"] == 1.0
    made.drop(b, a, 3)
    assert made.of(b, a, 3, 8000) == {}
    made.take(6, a, b, [Sent(4, 1), Metrics(5, 3.5, None)])
    made.forget(7)
    assert made.of(b, a, 5, 8000) == {}
    assert not made._sent
