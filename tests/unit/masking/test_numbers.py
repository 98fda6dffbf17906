"""Telephone numbers: none is left whole, wherever it stands and however it is spelt; the rest stays."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.effort import grows_linearly
from support.masked import without_numbers
from voipfleet.masking import numbers

N = "4930123456"


@pytest.mark.parametrize(
    ("text", "keep", "masked"),
    [
        ("+4930123456", 3, "+xxxxxxx456"),
        ("+4930123456", 0, "+xxxxxxxxxx"),
        ("+4930123456", 20, "+4930123456"),
        ("101", 3, "101"),
        ("101", 2, "x01"),
        ("alice", 0, "alice"),
        ("alice42", 0, "alicexx"),
        ("+49-30-123", 3, "+xx-xx-123"),
        ("*21*030123#", 2, "*xx*xxxx23#"),
        ("%2B49%330", 1, "%2Bxxxxx0"),
        ("%2B49%330%31", 1, "%2Bxxxxxx%31"),
        ("Müller (030) 12 34", 2, "Müller (xxx) xx 34"),
        ("٠٣٠١٢", 2, "xxx١٢"),
        ("", 3, ""),
    ],
)
def test_a_number(text, keep, masked):
    assert numbers.number(text, keep) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [("example.net", "example.net"), ("10.0.0.12", "10.0.0.12"), ("mnc001.example", "mnc001.example"),
     ("4930123456", "xxxxxxx456"), ("+49-30-1234", "+xx-xx-x234"), ("[2001:db8::12345]", "[2001:db8::12345]"),
     ("1.2.3.4.5", "x.x.3.4.5"), ("", "")],
)  # fmt: skip
def test_a_domain_that_is_a_number(text, masked):
    assert numbers.domain(text, 3) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"sip:{N}@10.0.0.5:50600;transport=udp", "sip:xxxxxxx456@10.0.0.5:50600;transport=udp"),
        ("sip:1234@h", "sip:x234@h"),
        ("Q.850;cause=16;text=\"moved to 030 / 123 45\"", "Q.850;cause=16;text=\"moved to xxx / xx3 45\""),
        ("nothing 1234 here", "nothing 1234 here"),
        ("\udcff 12345", "\udcff xx345"),
    ],
)  # fmt: skip
def test_any_text(text, masked):
    assert numbers.text(text, 3) == masked


def header(line: str) -> bytes:
    head = "INVITE sip:a@h SIP/2.0\r\nCall-ID: 1@h\r\nCSeq: 1 INVITE\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n"
    return f"{head}{line}\r\n\r\n".encode()


STAYS = r"""
Via: SIP/2.0/UDP 10.0.0.1:50600;branch=z9hG4bK4930123456;received=10.0.0.2;rport=50600
X-Real-IP: 192.168.100.200
Max-Forwards: 70
Session-Expires: 180000;refresher=uac
User-Agent: Phone 1.2.3.4-567890
Date: Thu, 26 Nov 2026 00:04:22 GMT
Contact: <sip:alice@192.168.100.200:50600;transport=tcp>;+sip.instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>"
Contact: <sip:[2001:db8::12:34567]:50600>
Record-Route: <sip:10.0.0.9:50600;lr;ftag=1928301774>
WWW-Authenticate: Digest realm="h", nonce="1234567890"
RAck: 776656 314159 INVITE
Replaces: 98765432@h;to-tag=12345
Content-Type: multipart/mixed; boundary=12345678
P-Access-Network-Info: 3GPP-UTRAN-TDD
X-When: 2026-11-26
From: <sip:alice@h>;tag = 1928301774
P-Charging-Vector: icid-value=12345678
Identity: aBc..dEf;info=<https://h/c>
""".strip().splitlines()


@pytest.mark.parametrize("line", STAYS)
def test_what_is_no_number_stays(line):
    assert without_numbers(header(line), 0) == header(line)


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ('From: "Bob 12" <sip:101@h>;tag=12345678', 'From: "Bob xx" <sip:xxx@h>;tag=12345678'),
        ("To: Room 7 <sip:7@h>", "To: Room x <sip:x@h>"),
        ("X-Length: 1234", "X-Length: 1234"),
        ("X-Number: 12345", "X-Number: xxxxx"),
        ("To: <sip:%2B49%330@h>", "To: <sip:%2Bxxxxxx@h>"),
        ("Identity: aB1.cD2_x-.eF3;info=<https://h/c>", "Identity: aB1.xxxxxx.eF3;info=<https://h/c>"),
        ('From: "\u0660\u0661\u0662\u0663\u0664\u0665" <sip:a@h>;tag=1', 'From: "xxxxxxxxxxxx" <sip:a@h>;tag=1'),
        ("Authorization: Basic QWxhZGRp\r\n bjpvcGVu", "Authorization: Basic xxxxxxxx\r\n xxxxxxxx"),
        (
            "To: <tel:a;cic=1234;rn=12;ext=1;isub=2;postd=3;phone-context=+4>",
            "To: <tel:a;cic=xxxx;rn=xx;ext=x;isub=x;postd=x;phone-context=+x>",
        ),
        ("X-A 4930123456: a", "X-A xxxxxxxxxx: a"),
        ("To: <sip:1;isub=23;phone-context=+49@h>", "To: <sip:x;isub=xx;phone-context=+xx@h>"),
    ],
)
def test_every_digit_or_none(line, masked):
    message = header(line)
    assert without_numbers(message, 0) == message.replace(line.encode(), masked.encode())


def test_of_what_belongs_to_a_number_nothing_is_kept():
    """Three digits of it, three of its extension and three of its context would be nine."""
    for uri in ("sip:12345;isub=6789;phone-context=+49301@h", "tel:12345;isub=6789;phone-context=+49301"):
        hidden = uri.replace("12345", "xx345").replace("6789", "xxxx").replace("49301", "xxxxx")
        assert without_numbers(header(f"To: <{uri}>"), 3) == header(f"To: <{hidden}>")


@pytest.mark.parametrize("kind", ["application/ISUP;version=etsi356", "application/vnd.3gpp.sms", "application/QSIG"])
def test_numbers_in_half_bytes_go_with_their_body(kind):
    """Alone and as a part, of which the others stay."""
    binary = bytes(range(256))
    alone = header(f"Content-Type: {kind}") + binary
    assert without_numbers(alone, 3) == header(f"Content-Type: {kind}") + re.sub(rb"[^\r\n]", b"x", binary)
    parts = b"--Bb\r\nContent-Type: %b\r\n\r\n%b\r\n--Bb\r\nContent-Type: application/sdp\r\n\r\nv=0\r\ns=-\r\n--Bb--"
    around = header("Content-Type: multipart/mixed; boundary=Bb")
    made = around + parts % (kind.encode(), binary)
    assert without_numbers(made, 3) == around + parts % (kind.encode(), re.sub(rb"[^\r\n]", b"x", binary))


def test_a_body_that_is_compressed_goes():
    made = header("Content-Encoding: gzip") + b"abc"
    assert without_numbers(made, 3) == header("Content-Encoding: gzip") + b"xxx"


def test_the_rest_of_a_message_and_its_beginning():
    """A datagram of fragments that were lost: headers without a start line."""
    assert without_numbers(b"P-Asserted-Identity: <tel:+493012345>\r\nCall-ID: 4930123456\r\n", 3) == (
        b"P-Asserted-Identity: <tel:+xxxxxx345>\r\nCall-ID: 4930123456\r\n"
    )
    for size in range(60):
        message = header("P-Asserted-Identity: <tel:+493012345>")[: -size or None]
        assert b"49301" not in without_numbers(message, 3)


WORDS = st.sampled_from(
    [
        b"sip:",
        b"tel:",
        b"1",
        b"12345",
        b"%31",
        b"%",
        b"@",
        b";",
        b":",
        b'"',
        b"\\",
        b"<",
        b">",
        b"\r\n",
        b"\n",
        b" ",
        b"-",
        b".",
        b"To:",
        b"X:",
        b"Via:",
        b"\r\n\r\n",
        b"v=0",
        b"o=",
        b"isub=",
        b"tag=",
        b"=",
        b"--",
        b"Content-Type: application/isup",
        b"Identity: ",
        b"Authorization: Digest ",
        b"username=",
        b"[",
        b"]",
        b"10.0.0.1",
        b"\xd9\xa1",
        b"\xff",
        b"INVITE sip:",
        b" SIP/2.0\r\n",
        b"e: gzip",
    ]
)


@given(st.lists(WORDS, max_size=40).map(b"".join), st.integers(0, 20))
def test_whatever_comes_spans_are_in_order_and_within_and_leave_lines_alone(message, keep):
    found = numbers.spans(message, keep)
    edges = [edge for span in found for edge in span]
    assert edges == sorted(set(edges)) and all(0 <= edge <= len(message) for edge in edges)
    masked = without_numbers(message, keep)
    assert len(masked) == len(message) and masked.count(b"\n") == message.count(b"\n")


HOSTILE = [
    b"sip:",
    b"sip:1@",
    b"sip:;",
    b"1",
    b"1-",
    b"1a",
    b"1<",
    b"%31",
    b"%3",
    b'"1',
    b'"\\1',
    b"\\1",
    b"\r\n",
    b"a:\n",
    b"\n1",
    b"tel:1;",
    b";isub=",
    b"1.1.1.1.",
    b'tag="',
    b"[1:",
    b"\nv=0",
    b"\nv=0\n--",
    b"\no=1",
    b"cname:1",
    b"username=",
    b"\nidentity: a.b.c\n",
    b"c: application/isup\n",
    b"c: application/isup\n\n",
    b"boundary=",
    b"\xef\xbc",
]


@pytest.mark.parametrize("word", HOSTILE)
def test_the_time_for_a_long_message_grows_with_its_length_and_no_faster(word):
    identity = header("P-Asserted-Identity: ")[:-4]
    for before, after in ((b"", b""), (identity, b'" <sip:a@h>\r\n\r\n'), (header("X: y"), b"")):

        def message(size: int, before: bytes = before, after: bytes = after) -> bytes:
            return before + word * (size // len(word)) + after

        assert grows_linearly(lambda text: numbers.spans(text, 0), message)
