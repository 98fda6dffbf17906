"""Session descriptions: media, holds, fax, SRTP, bodies of several parts."""

import pytest
from voipfleet.decode import sdp, sip


def test_audio():
    media = sdp.parse(
        b"c=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:30\r\n"
    )
    (audio,) = media
    assert (audio.port, audio.codecs[0], audio.codecs[101][0]) == (4000, ("PCMU", 8000), "telephone-event")
    assert (audio.ptime, audio.held, audio.secure, audio.kind) == (30.0, False, False, "audio")
    with pytest.raises(sip.ParseError):
        sdp.parse(b"c=IN IP4 host.example\r\n")


@pytest.mark.parametrize(
    ("lines", "held"),
    [
        ("c=IN IP4 1.2.3.4\nm=audio 4 RTP/AVP 0\na=sendonly", True),
        ("c=IN IP4 1.2.3.4\na=inactive\nm=audio 4 RTP/AVP 0", True),
        ("c=IN IP4 1.2.3.4\na=inactive\nm=audio 4 RTP/AVP 0\na=sendrecv", False),
        ("c=IN IP4 0.0.0.0\nm=audio 4 RTP/AVP 0", True),
        ("c=IN IP6 ::\nm=audio 4 RTP/AVP 0\nc=IN IP6 2001:db8::1", False),
        ("c=IN IP4 1.2.3.4\nm=audio 4 RTP/AVP 0\na=recvonly", False),
    ],
)
def test_hold(lines, held):
    (audio,) = sdp.parse(lines.encode())
    assert audio.held is held


def test_kinds_of_media():
    body = b"c=IN IP4 1.2.3.4\r\nm=audio 1 RTP/SAVP 8\r\nm=audio 2 UDP/TLS/RTP/SAVPF 8\r\n"
    body += b"m=image 3 udptl t38\r\nm=video 4 RTP/AVP 31\r\n"
    found = sdp.parse(body + b"m=audio 0 RTP/AVP 0\r\nm=audio 70000 RTP/AVP 0\r\n")
    assert [(m.port, m.kind, m.secure) for m in found] == [(1, "audio", True), (2, "audio", True), (3, "image", False)]


def test_a_description_among_several_parts():
    body = (
        b"--b1\r\nContent-Type: text/plain\r\n\r\nm=\r\n--b1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b1--\r\n"
    )
    assert sdp.extract(b'multipart/mixed; boundary="b1"', body).split() == [b"v=0"]
    assert sdp.extract(b"application/SDP;x=y", b"v=0") == b"v=0"
    assert (
        sdp.extract(b"multipart/mixed", body) == sdp.extract(b"text/plain", b"v=0") == sdp.extract(b"", b"v=0") == b""
    )


@pytest.mark.parametrize(("line", "times", "reason"), [("m=x\n", 17, "sdp_media"), ("a=x\n", 257, "sdp_attributes")])
def test_limits(line, times, reason):
    sdp.parse(line.encode() * (times - 1))
    with pytest.raises(sip.ParseError, match=reason):
        sdp.parse(line.encode() * times)
