"""No number is left whole in any message that is built here, and what else is in it stays what it was."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from support.masked import without_numbers
from voipfleet.decode import sdp, sip

# `N` is where a number is put; other figures must stay.
HEADERS = r"""
From: <sip:N@h>;tag=N7
f: "N" <sip:N@h>;tag=1
To: N <sip:N@h;user=phone>
t: <tel:N>;tag=b
To: tel:N;tag=4
To: sip:N@h;tag=a
Contact: <sip:N@10.0.0.1:50600;transport=udp>;expires=604800
m: sip:N@10.0.0.1
P-Asserted-Identity: <tel:N>
P-Asserted-Identity: "N" <sips:N@h>, <tel:N>
P-Preferred-Identity: <SIP:N@H>
Remote-Party-ID: "N" <sip:N@h>;party=calling;screen=yes
Diversion: <sip:N@h>;reason=unconditional;counter=1
History-Info: <sip:N@h?Reason=SIP%3Bcause%3D302>;index=1.1.1.1.1.1, <tel:N>;index=1.2
Refer-To: <sip:N@h>
r: <sip:a@h?Replaces=98765432%40h%3Bto-tag%3D12345678%3Bfrom-tag%3D1>
Refer-To: <sip:a@h?Diversion=%3Csip%3AN%40h%3E>
Referred-By: <sip:N@h>;cid="1@h"
b: sip:N@h
P-Called-Party-ID: <sip:N@h>
P-Charge-Info: <sip:N@h>;npi=ISDN
Route: <sip:N@10.0.0.7;lr;ftag=1928301774>
Record-Route: <sip:10.0.0.9;lr;did=1a>
Reply-To: N <sip:N@h>
Proxy-Authorization: Digest username="N", realm="h", nonce="12345678", uri="sip:N@h", response="0123456789"
Authorization: Digest username=N, nonce=1
X-Caller: N
X-Called-Number: tel N, local
Subject: call me: N
Reason: Q.850;cause=16;text="moved to N"
Warning: 399 h "N"
Call-Info: <http://10.0.0.1/N.png>;purpose=icon
From: <sip:N;isub=N@h>;tag=1
To: <sip:a;phone-context=N@h>
To: <tel:a;phone-context=N>
P-Asserted-Identity: <tel:a;ext=N;isub=N;rn=N;cic=N>
To: <sip:N:N@h>
Contact: <sip:N>
Contact: <sip:N:5070;lr>
To: N@h
Remote-Party-ID: N
P-Served-User: <sip:N@h>;sescase=orig
From: "a \" b, N" <sip:N@h>;tag=3
From: "N <sip:N@h>;tag=3
X-Broken N
P-Asserted-Identity : <tel:N>
Alert-Info: <sip:N@h>;info=N
To: <fax:N>
To: <pres:N@h>
X-URI: tel:N;a=b
""".strip().splitlines()
HEADERS.append("P-Asserted-Identity:\r\n <tel:N>,\r\n\t<sip:N@h>")
SDP = """v=0
o=N 2890844526 2890844526 IN IP4 10.0.0.1
s=call of N
i=N
e=N@h
p=N
c=IN IP4 10.0.0.1
t=3034423619 3042462419
m=audio 49170 RTP/AVP 0 101
a=rtpmap:101 telephone-event/8000
a=rtcp:53020
a=candidate:1 1 UDP 2130706431 10.0.1.1 49170 typ host
a=ssrc:314159265 cname:N@h
a=x:sip:N@h
"""
BODIES = {
    "application/sdp": SDP,
    "multipart/mixed;boundary=bb": f"""--bb
Content-Type: application/sdp

{SDP}--bb
Content-Type: application/resource-lists+xml

<entry uri="sip:N@h"/>
--bb--
""",
    "application/dialog-info+xml": """<dialog id="1" call-id="987654321@h" local-tag="123456789" direction="recipient">
<remote><identity display="N">sip:N@h</identity><target uri="sip:N@10.0.0.1:50600"/></remote></dialog>
""",
    "message/sipfrag": "SIP/2.0 200 OK\nCall-ID: 987654321@h\nCSeq: 314159 INVITE\nTo: <sip:N@h>;tag=123456789\n",
    "message/cpim": "From: N <im:N@h>\nTo: <sip:N@h>\nDateTime: 2026-11-26T13:40:00\n\ncall N\n",
    "text/plain": "call N, tel:N\n",
    "application/pidf+xml": "<presence entity='pres:N@h'><note>N</note></presence>\n",
}
NUMBER = re.compile(r"(?<![A-Za-z-])N(?![A-Za-z0-9])|(?<=%3A)N")
SPELT = st.sampled_from(["plain", "plus", "hyphens", "dots", "brackets", "escaped", "some escaped"])


LINES = ("INVITE sip:N@h SIP/2.0", "REFER tel:N SIP/2.0", "INVITE sip:N SIP/2.0", "INVITE sip:a@10.0.0.1:50600 SIP/2.0",
         "SIP/2.0 302 Moved to N", "SIP/2.0 200 OK")  # fmt: skip


@st.composite
def numbers_spelt(draw) -> str:
    digits = draw(st.text("0123456789", min_size=5, max_size=18))
    how = draw(SPELT)
    if how == "plus":
        return "+" + digits
    if how in ("hyphens", "dots"):
        return "+" + ("-" if how == "hyphens" else ".").join((digits[:2], digits[2:4], digits[4:]))
    if how == "brackets":
        return f"({digits[:3]}){digits[3:]}"
    if how == "escaped":
        return "".join(f"%3{digit}" for digit in digits)
    return digits[:3] + f"%3{digits[3]}" + digits[4:] if how == "some escaped" else digits


@st.composite
def messages(draw):
    """(message, spans of the numbers that were put in). The start line, Via, From, To, Call-ID, CSeq, then anything."""
    line = draw(st.sampled_from(LINES))
    method = "INVITE" if line.startswith("SIP") else line.split()[0]
    lines = [line, "Via: SIP/2.0/UDP 10.0.0.1:50600;branch=z9hG4bK9876543210", 'From: "N" <sip:N@h>;tag=9876543210',
             "To: <sip:N@h>;tag=b", "Call-ID: 9876543210@10.0.0.1", f"CSeq: 4711471 {method}",
             *draw(st.lists(st.sampled_from(HEADERS), max_size=8))]  # fmt: skip
    kind = draw(st.none() | st.sampled_from(sorted(BODIES)))
    body = BODIES[kind].replace("\n", "\r\n") if kind else ""
    template = "\r\n".join([*lines, *([f"Content-Type: {kind}"] if kind else []), "", body])
    text, spans, at = "", [], 0
    for match in NUMBER.finditer(template):
        text += template[at : match.start()]
        number = draw(numbers_spelt())
        spans.append((len(text), len(text) + len(number)))
        text, at = text + number, match.end()
    return (text + template[at:]).encode(), spans


def digits(text: bytes) -> str:
    return re.sub(r"[^0-9]", "", re.sub(rb"%3([0-9])|%[0-9A-Fa-f]{2}", rb"\1", text).decode("latin-1"))


@settings(max_examples=300, deadline=None)
@given(messages(), st.integers(0, 6))
def test_no_number_is_left_and_the_rest_stays(made, keep):
    message, spans = made
    masked = without_numbers(message, keep)
    assert len(masked) == len(message)
    rest, at = b"", 0
    for start, end in spans:
        left, whole = digits(masked[start:end]), digits(message[start:end])
        assert len(left) <= keep and whole.endswith(left), (message[start:end], masked[start:end])
        rest, at = rest + message[at:start] + masked[start:end], end
    assert masked == rest + message[at:]
    before, after = sip.parse(message), sip.parse(masked)
    for field in ("method", "status", "call_id", "cseq", "from_tag", "to_tag", "odd"):
        assert getattr(before, field) == getattr(after, field)
    assert before.headers.keys() == after.headers.keys() and before.headers[b"via"] == after.headers[b"via"]
    kind = before.headers.get(b"content-type", b"")
    assert sdp.parse(sdp.extract(kind, before.body)) == sdp.parse(sdp.extract(kind, after.body))
