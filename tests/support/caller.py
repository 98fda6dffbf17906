"""Sends calls as raw frames: `python caller.py INTERFACE NUMBER RTP LOST bye|stay`. Standard library only.

One call: INVITE, 180, 200, ACK, RTP packets each way (`LOST` of the caller's left out), and with `bye` its end.
"""

import socket
import struct
import sys
import time

A, B = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
TO_A, TO_B = (B, A), (A, B)


class Wire:
    def __init__(self, interface: str):
        self._out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._out.bind((interface, 0))

    def udp(self, way: tuple[bytes, bytes], sport: int, dport: int, payload: bytes) -> None:
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0, *way)
        head = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0)
        self._out.send(bytes(12) + b"\x08\0" + ip + head + payload)


def sip(number: str, first: str, cseq: str, body: str = "") -> bytes:
    """A message of the call that has `number` as its caller and its Call-ID."""
    tag = "" if first.startswith("INVITE") else ";tag=t"
    lines = [
        first, f"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{cseq.replace(' ', '')}{number}",
        f"From: <sip:{number}@a>;tag=f", f"To: <sip:200@b>{tag}", f"Call-ID: {number}@test", f"CSeq: {cseq}",
        f"Content-Length: {len(body)}", *(["Content-Type: application/sdp"] if body else []),
    ]  # fmt: skip
    return "\r\n".join([*lines, "", body]).encode()


def sdp(host: str, port: int) -> str:
    return f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"


def call(wire: Wire, number: str, rtp: int = 40, lost: int = 0, hang_up: bool = True) -> None:
    media = 20000 + 4 * (int(number) % 1000)
    wire.udp(TO_B, 5060, 5060, sip(number, "INVITE sip:200@b SIP/2.0", "1 INVITE", sdp("10.0.0.1", media)))
    wire.udp(TO_A, 5060, 5060, sip(number, "SIP/2.0 180 Ringing", "1 INVITE"))
    wire.udp(TO_A, 5060, 5060, sip(number, "SIP/2.0 200 OK", "1 INVITE", sdp("10.0.0.2", media + 2)))
    wire.udp(TO_B, 5060, 5060, sip(number, "ACK sip:200@b SIP/2.0", "1 ACK"))
    for n in range(rtp):
        time.sleep(0.005)
        for way, sport, dport, ssrc in ((TO_B, media, media + 2, 1), (TO_A, media + 2, media, 2)):
            if ssrc == 2 or not 5 <= n < 5 + lost:
                wire.udp(way, sport, dport, struct.pack("!BBHII", 0x80, 0, n, n * 160, ssrc) + bytes(160))
    if hang_up:
        wire.udp(TO_B, 5060, 5060, sip(number, "BYE sip:200@b SIP/2.0", "2 BYE"))
        wire.udp(TO_A, 5060, 5060, sip(number, "SIP/2.0 200 OK", "2 BYE"))


if __name__ == "__main__":
    interface, number, rtp, lost, end = sys.argv[1:]
    call(Wire(interface), number, int(rtp), int(lost), end == "bye")
