"""What opens something, and digits that were pressed, in every place and spelling that we know of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.effort import grows_linearly
from support.masked import without_secrets
from voipfleet.decode import sip
from voipfleet.masking import secrets

HEAD = b"INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n"
IDS = b"Call-ID: response=12@h\r\nCSeq: 1 INVITE\r\n"


def whole(*headers: bytes, body: bytes = b"") -> bytes:
    return HEAD + IDS + b"".join(line + b"\r\n" for line in headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


DIGEST = b'Digest username="4930123",realm="r",nonce="0f",uri="sip:h",response="HIDE",cnonce="1f",qop=auth,nc=00000001'
FOLDED = b'Digest username="a",\r\n realm="r", response\r\n\t= "HIDE",\r\n nonce="0f"'
CRYPTO = (b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:HIDE|2^20|1:4;inline:HIDE|2^20|2:4 FEC_ORDER=FEC_SRTP\r\n"
          b"a=CRYPTO:2 F8_128_HMAC_SHA1_80 INLINE:HIDE\r\n")  # fmt: skip
KPML = b'<kpml-response version="1.0" code="200" digits="HIDE" tag="a"/>\r\n<response id=\'1\' digits = \'HIDE\'/>'
RELAY = b"Signal=HIDE\r\nDuration=160\r\n"
PARTS = b"--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n" + CRYPTO + b"\r\n".join([
    b"--x", b"Content-Type: application/dtmf", b"", b"HIDE", b"--x", b"Content-Type: text/plain", b"", b"1234", b"--x--"
])  # fmt: skip
SPELLINGS = {
    "digest": whole(b"Authorization: " + DIGEST),
    "proxy, in other letters": whole(b"PROXY-AUTHORIZATION: " + DIGEST.upper()),
    "folded": whole(b"Authorization: " + FOLDED),
    "several": whole(b"Authorization: " + DIGEST, b"Proxy-Authorization:" + FOLDED, b"authorization:" + DIGEST),
    "not quoted": whole(b"Authorization: Digest response=HIDE, username=a"),
    "a quote within": whole(b'Authorization: Digest response="HIDE\\"HIDE", username="a"'),
    "a quote that does not end": whole(b'Authorization: Digest username="a", response="HIDE'),
    "a blank before the colon": whole(b"Authorization\t :Digest response=HIDE"),
    "a control character before it": whole(b"Authorization\x0b:Digest response=HIDE"),
    "no scheme": whole(b'Authorization: username="a", response="HIDE"'),
    "basic": whole(b"Authorization: Basic HIDE"),
    "bearer": whole(b"Proxy-Authorization: Bearer HIDE.HIDE.HIDE"),
    "another scheme": whole(b'Authorization: NTLM HIDE HIDE\r\n HIDE'),
    "the server's answer": whole(b'Authentication-Info: qop=auth, rspauth="HIDE", nextnonce="47"'),
    "of a proxy": whole(b"Proxy-Authentication-Info: rspauth=HIDE"),
    "within a body": whole(b"Content-Type: message/sipfrag", body=b"REGISTER sip:h SIP/2.0\nAuthorization: " + DIGEST),
    "cut short": whole(b"Authorization: Digest response=\"HIDE")[: -len(b"\r\nContent-Length: 0\r\n\r\n")],
    "the rest of a message": b"Authorization: " + DIGEST + b"\r\n\r\n",
    "SDES": whole(b"Content-Type: application/sdp", body=b"v=0\r\n" + CRYPTO),
    "MIKEY": whole(b"Content-Type: application/sdp", body=b"v=0\r\na=key-mgmt:mikey HIDE\r\nm=audio 1 RTP/SAVP 0\r\n"),
    "old key line": whole(b"Content-Type: application/sdp", body=b"v=0\r\nk=base64:HIDE\r\n"),
    "bare LF": whole(b"Authorization: " + DIGEST, body=b"v=0\n" + CRYPTO).replace(b"\r\n", b"\n"),
    "parts": whole(b"Content-Type: multipart/mixed;boundary=x", body=PARTS),
    "KPML": whole(b"Content-Type: application/kpml-response+xml", body=KPML),
    "dtmf-relay": whole(b"Content-Type: application/dtmf-relay", body=RELAY),
    "dtmf-relay, in other letters": whole(b"c:APPLICATION/DTMF-RELAY", body=b"SIGNAL = HIDE\nDuration=1"),
    "dtmf": whole(b"Content-Type: application/dtmf", body=b"HIDE"),
    "dtmf of several lines": whole(b"Content-Type: application/dtmf;x=y", body=b"HIDE HIDE\r\nHIDE\r\n"),
    "signal as dtmf": whole(b"Content-Type: application/dtmf", body=RELAY),
    "nortel": whole(b"Content-Type: application/vnd.nortelnetworks.digits", body=b"HIDE=HIDE\r\n"),
    "telephone-event": whole(b"Content-Type: audio/telephone-event", body=b"HIDE"),
    "password in a URI": whole(b"Contact: <sip:alice:HIDE@h:5060>, <SIPS:b:HIDE@h>"),
    "compressed": whole(b"Content-Encoding: gzip", body=b"HIDE\r\nHIDE"),
    "compressed, with a blank": whole(b"E : deflate", body=b"HIDE"),
    "compressed, compact": whole(b"e: deflate", body=b"HIDE"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_it_is_masked_and_nothing_else_is(name):
    message = SPELLINGS[name]
    assert b"HIDE" in message
    masked = without_secrets(message)
    assert masked == message.replace(b"HIDE", b"xxxx").replace(b"xxxx\\\"xxxx", b"x" * 10).replace(
        b"xxxx.xxxx.xxxx", b"x" * 14) or name == "nortel"  # fmt: skip
    assert b"HIDE" not in masked and len(masked) == len(message)


PLAIN = {
    "a response in a Call-ID": whole(),
    "a password in a Call-ID": whole().replace(b"response=12@h", b"sip:a:b@h\r\n inline:a"),
    "a challenge": whole(b'WWW-Authenticate: Digest realm="response=1", nonce="1f", opaque="ab"'),
    "identity": whole(b"Content-Encoding: identity", body=b"abc"),
    "the word": whole(b"Subject: response=12 digits 5 Basic abc inline"),
    "events of RTP": whole(b"c: application/sdp", body=b"v=0\r\na=rtpmap:101 telephone-event/8000\r\n"),
    "ports": whole(b"Contact: <sip:10.0.0.1:5060>, <sip:a@10.0.0.1:5060>"),
    "DTLS": whole(b"c: application/sdp", body=b"v=0\r\na=fingerprint:sha-256 AB:CD\r\na=setup:actpass\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_nothing_is_masked(name):
    assert without_secrets(PLAIN[name]) == PLAIN[name]


@pytest.mark.parametrize("name", [*SPELLINGS, *PLAIN])
def test_it_is_the_same_message(name):
    message = (SPELLINGS | PLAIN)[name]
    if not message.startswith(b"INVITE"):
        return
    before, after = sip.parse(message), sip.parse(without_secrets(message))
    for field in ("method", "status", "call_id", "cseq", "from_tag", "to_tag", "odd"):
        assert getattr(before, field) == getattr(after, field)
    assert before.headers.keys() == after.headers.keys() and len(before.body) == len(after.body)


WORDS = st.sampled_from(
    [
        b"Authorization:",
        b"\r\n",
        b"\n",
        b" ",
        b"\t",
        b"Digest ",
        b"Basic ",
        b"response",
        b"=",
        b'"',
        b"\\",
        b",",
        b"sip:",
        b"@",
        b":",
        b"inline:",
        b"|",
        b"digits",
        b"'",
        b"Content-Type: application/dtmf",
        b"Content-Encoding: gzip",
        b"\r\n\r\n",
        b"Signal=",
        b"1",
        b"\xff",
        b"--x",
        b"a=key-mgmt:mikey ",
        b"rspauth",
    ]
)


@given(st.lists(WORDS, max_size=40).map(b"".join))
def test_whatever_comes_spans_are_in_order_and_within_and_leave_lines_alone(message):
    found = secrets.spans(message)
    edges = [edge for span in found for edge in span]
    assert edges == sorted(set(edges)) and all(0 <= edge <= len(message) for edge in edges)
    masked = without_secrets(message)
    assert len(masked) == len(message) and masked.count(b"\n") == message.count(b"\n")
    assert without_secrets(masked) == masked


HOSTILE = [
    b"sip:",
    b"sip:a:",
    b"sip:a:b",
    b'response="',
    b"authorization:\n",
    b"authorization: digest \n ",
    b"inline:",
    b"authorization: basic a\n ",
    b'digits="',
    b"digits='\"",
    b"c: a/dtmf\n",
    b"c: a/dtmf\n\n",
    b"signal=1\n",
    b"\nk=a:",
    b"key-mgmt:a ",
    b"e: gzip\n",
    b"\n ",
    b"\r\n",
    b'\\"',
    b"dtmf",
]


AROUND = (
    lambda text: text,
    lambda text: whole(b"Authorization: Digest " + text),
    lambda text: whole(b"c: application/dtmf", body=b"\r\n\r\n" + text),
)


@pytest.mark.parametrize("word", HOSTILE)
def test_the_time_for_a_long_message_grows_with_its_length_and_no_faster(word):
    for around in AROUND:
        assert grows_linearly(secrets.spans, lambda size, around=around: around(word * (size // len(word))))
