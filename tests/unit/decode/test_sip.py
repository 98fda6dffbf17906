"""The SIP and SDP parsers: what they take, and that only ParseError leaves them."""

import contextlib
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.decode import sdp, sip

INVITE = (b"INVITE sip:b@h SIP/2.0\r\nv: SIP/2.0/UDP a\r\nf: \"J\xc3\xb6\" <sip:+49@h:5060>;tag=x\r\nTO : <sip:b@h>\r\n"
          b"i: c1\r\nCSeq: 7\r\n INVITE\r\nWarning:\r\nl: 4\r\n\r\nv=0\nJUNK")  # fmt: skip


def test_compact_folded_and_odd_headers():
    message = sip.parse(INVITE)
    assert (message.method, message.call_id, message.cseq, message.body) == ("INVITE", b"c1", 7, b"v=0\n")
    assert sip.party(message.headers[b"from"]) == ("J\u00f6", "+49", "h")
    assert sip.tag(message.headers[b"from"]) == b"x"


def changed(message: str, **lines: str) -> bytes:
    """`message` with lines of other headers put in before its end."""
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return message.replace("\r\n\r\n", f"\r\n{extra}\r\n", 1).encode("latin-1")


PLAIN = (
    "INVITE sip:b@h SIP/2.0\r\nVia: x\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n"
)
PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"\t", b'"', b"\\", b"<", b">", b";tag=", b",",
                     b"\xff\xfe",
                     b"Content-Length: -1\r\n", b"Content-Length: 99999999999\r\n", b"l: \xd9\xa3\r\n", b"To:\r\n",
                     b"Via: ;branch=\r\n", b"CSeq: 99999999999 X\r\n", b"m=audio 1 RTP/AVP 0\r\n", b"c=IN IP4 ::\r\n",
                     b"9" * 5000, b"\r\n\r\n", b"Content-Type: multipart/mixed;boundary=a\r\n\r\n--a\r\n"]),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(INVITE)), PIECES, st.integers(0, 40)), min_size=1, max_size=6))
def test_only_parse_error_leaves(changes):
    data = INVITE
    for at, junk, cut in changes:
        data = data[:at] + junk + data[at + cut :]
    with contextlib.suppress(sip.ParseError):
        message = sip.parse(data)
        assert sip.parse(data) == message
        message.branches()
        message.text(b"subject").encode()
        for name in (b"from", b"to"):
            assert all(
                len(text) <= 4 * sip.MAX_VALUE and text.isprintable() for text in sip.party(message.headers[name])
            )
        sdp.parse(sdp.extract(message.headers.get(b"content-type", b""), message.body))
    with contextlib.suppress(sip.ParseError):
        sdp.parse(data)


@pytest.mark.parametrize(
    "data",
    [b"A" * 65535, b"INVITE " + b" " * 65000, b"\r\n" * 32000, b"INVITE sip:b SIP/2.0\r\n" + b" \r\n" * 16000,
     b"INVITE sip:b SIP/2.0\r\nFrom: " + b'"' * 60000, b'INVITE sip:b SIP/2.0\r\nFrom: "' + b"\\" * 8000 + b"\r\n\r\n",
     b"INVITE sip:b SIP/2.0\r\nVia: a\r\n" + b" ,\r\n" * 500 + b"\r\n", PLAIN.encode() + b"m=" * 30000,
     PLAIN.encode()[:-2] + b"Via: " + b"," * 8000 + b"\r\n\r\n", b"m=audio" + b" 1" * 32000, b"a=rtpmap:" * 7000],
)  # fmt: skip
def test_the_worst_takes_milliseconds(data):
    start = time.perf_counter()
    for _ in range(3):
        with contextlib.suppress(sip.ParseError):
            sip.tag(data), sip.party(data), sip.parse(data).branches()
        with contextlib.suppress(sip.ParseError):
            sdp.parse(data)
    assert time.perf_counter() - start < 0.15


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"J \\"R\\" <x>" <sip:jd@h>;tag=1', ('J "R" <x>', "jd", "h")),
        ("Bell, Al <sip:a.g.bell@example.com:5070;user=phone>;tag=43", ("Bell, Al", "a.g.bell", "example.com")),
        ("sip:+13035551111@gw.net;user=phone", ("", "+13035551111", "gw.net")),
        ("<sip:+49301;rn=+4999;npdi@gw.net>", ("", "+49301", "gw.net")),
        ("sip:+49301;rn=+4999@gw.net", ("", "+49301", "gw.net")),
        ("<SIPS:bob:secret@[2001:db8::1]:5061>", ("", "bob", "[2001:db8::1]")),
        ("<tel:+1-201-555-0123;phone-context=x>", ("", "+1-201-555-0123", "")),
        ("< sip:t.watson@example.org >", ("", "t.watson", "example.org")),
        ("sip:sips%3Auser%40example.com@example.net", ("", "sips%3Auser%40example.com", "example.net")),
        ('"Mr. J. User <sip:j.user@example.com>', ("Mr. J. User", "j.user", "example.com")),
        ("<sip:example.com>", ("", "", "example.com")), ("isbn:2983792873", ("", "", "")), ("", ("", "", "")),
    ],
)  # fmt: skip
def test_parties(value, expected):
    assert sip.party(value.encode()) == expected


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("<sip:a@h>;tag=1", b"1"), ("sip:a@h ; x=y;  TAG  =  1918n", b"1918n"), ("<sip:a@h;tag=no>", b""),
        ('"x;tag=no" <sip:a@h>', b""), ('"<;tag=no>" <sip:a@h>;p=";tag=no";tag=yes', b"yes"), ("<sip:a@h>", b""),
    ],
)  # fmt: skip
def test_tags(value, tag):
    assert sip.tag(value.encode()) == tag


def test_odd_is_not_fatal():
    data = changed(PLAIN, Warning="", Content_Length="-999", CALL_ID="d", X_Name="\xc3\xb6", Max_Forwards="x")
    message = sip.parse(data.replace(b"Max-", b"No colon\r\nMax-"))
    assert message.call_id == b"c" and set(message.odd) == {"content_length", "dup_header", "bad_header"}
    assert message.text(b"x-name") == "\u00f6"
    assert sip.parse(changed(PLAIN, Content_Length="9")).odd == ("short_body",)
    assert sip.parse(PLAIN.encode()).odd == ()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("SIP/2.0", "SIP/3.0", "version"), ("INVITE sip:b@h", "INVITE  sip:b@h", "start_line"),
        ("CSeq: 1", "CSeq: -1", "cseq"), ("INVITE sip", "BYE sip", "cseq_method"),
        ("Call-ID: c", "Call-ID:", "missing_header"), ("SIP/2.0", "HTTP/1.1", "not_sip"),
        ("CSeq: 1", "CSeq: 4294967296", "cseq"), ("Via: x", "Via: " + "x" * 9000, "line_too_long"),
        ("Via: x", "Via: x" + "\r\nY: " + "x" * 8000 + ("\r\nZ: " + "x" * 8000) * 4, "head_too_long"),
    ],
)  # fmt: skip
def test_refused_with_a_reason(old, new, reason):
    with pytest.raises(sip.ParseError, match=f"^{reason}$"):
        sip.parse(PLAIN.replace(old, new).encode())


def test_any_case_and_every_compact_form():
    data = b"!odd-Method sip:b@h sip/2.0\r\nV: SIP/2.0/UDP a;branch=z1 , SIP/2.0/TCP b;branch=z2\r\nvia:x;rport\r\n"
    data += b"F: sip:a@h;TAG=9\r\nt:sip:b@h\r\nI: c\r\ncSEQ: 0009\r\n\t!odd-Method\r\nX: 90\r\nr: <sip:c@h>\r\n\r\n"
    message = sip.parse(data)
    assert (message.method, message.cseq, message.from_tag) == ("!odd-Method", 9, b"9")
    assert message.branches() == [b"z1", b"z2", b"x"]
    assert message.headers[b"session-expires"] == b"90" and message.headers[b"refer-to"] == b"<sip:c@h>"


def test_a_value_is_cut_between_characters():
    assert sip.show("\u00f6".encode() * 200) == "\u00f6" * 127
    assert sip.show(b"a\x1b[2J\xff\0") == "a\\x1b[2J\\xff\\x00"


def test_limits():
    with pytest.raises(sip.ParseError, match="too_many_headers"):
        sip.parse(b"INVITE sip:b SIP/2.0\r\n" + b"X: 1\r\n" * 200 + b"\r\n")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b"a", b"bc", b"\r\n\r\n", b"\n\n"]), max_size=14))
def test_the_first_empty_line_parts_head_and_body(parts):
    data = b"".join(parts)
    cut = re.search(rb"\r?\n\r?\n", data)
    head, body = (data[: cut.start()], data[cut.end() :]) if cut else (data, b"")
    assert sip._split(data) == (head.rstrip(b"\r\n"), body)
