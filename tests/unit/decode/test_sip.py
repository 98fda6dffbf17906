"""The SIP and SDP parsers: what they take, and that only ParseError leaves them."""

import contextlib
import re

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


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(INVITE)), junk=st.binary(max_size=40), cut=st.integers(0, 40))
def test_only_parse_error_leaves(at, junk, cut):
    for parser in (sip.parse, sdp.parse):
        with contextlib.suppress(sip.ParseError):
            parser(INVITE[:at] + junk + INVITE[at + cut :])


def test_limits():
    with pytest.raises(sip.ParseError, match="too_many_headers"):
        sip.parse(b"INVITE sip:b SIP/2.0\r\n" + b"X: 1\r\n" * 200 + b"\r\n")


def test_sdp_media():
    media = sdp.parse(b"c=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n")
    assert (
        media[0].port == 4000 and media[0].codecs[0] == ("PCMU", 8000) and media[0].codecs[101][0] == "telephone-event"
    )
    with pytest.raises(sip.ParseError):
        sdp.parse(b"c=IN IP4 host.example\r\n")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b"a", b"bc", b"\r\n\r\n", b"\n\n"]), max_size=14))
def test_the_first_empty_line_parts_head_and_body(parts):
    data = b"".join(parts)
    cut = re.search(rb"\r?\n\r?\n", data)
    head, body = (data[: cut.start()], data[cut.end() :]) if cut else (data, b"")
    assert sip._split(data) == (head.rstrip(b"\r\n"), body)
