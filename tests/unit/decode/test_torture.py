"""Messages made to break parsers (folder in VOIPFLEET_CORPUS): the sound ones are taken, the others are counted."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from voipfleet.calls.analyser import Analyser
from voipfleet.capture.pcapfile import read_blocks
from voipfleet.decode import frames, sip

CORPUS = os.environ.get("VOIPFLEET_CORPUS")
pytestmark = pytest.mark.skipif(not CORPUS, reason="VOIPFLEET_CORPUS is not set")

# RFC 4475: what must be refused, or cannot be attributed to a dialog; all others are messages
REFUSED = {
    "badvers.": "version", "bigcode.": "start_line", "lwsruri.": "start_line", "lwsstart.": "start_line",
    "trws.": "start_line",
    "mismatch01.": "cseq_method", "mismatch02.": "cseq_method", "scalar02.": "cseq", "scalarlg.": "cseq",
    "sip:user@example.com SIP/2.0\r\nCSeq: 193942": "missing_header",
}  # fmt: skip


def messages(name: str):
    for block in read_blocks(str(Path(CORPUS, "torture", name))):
        packets = frames.Decoder(np.ones(65536, bool), lambda *_: None).parse(block)
        for start, size in zip(packets.start.tolist(), packets.length.tolist(), strict=True):
            yield packets.data[start : start + size].tobytes()


def test_rfc4475():
    refused = {}
    for data in messages("torture_rfc4475.pcap"):
        try:
            sip.parse(data)
        except sip.ParseError as error:
            (name,) = [name for name in REFUSED if name.encode() in data] or [data[:200]]
            refused[name] = str(error)
    assert refused == REFUSED


def test_what_is_said_of_the_strangest():
    found = {
        message.call_id.split(b".")[0]: message for message in map(_parsed, messages("torture_rfc4475.pcap")) if message
    }
    assert sip.party(found[b"wsinv"].headers[b"from"]) == ('J Rosenberg \\"', "jdrosen", "example.com")
    assert (found[b"wsinv"].to_tag, found[b"wsinv"].cseq) == (b"1918181833n", 9)
    assert found[b"wsinv"].branches() == [b"390skdjuw", b"z9hG4bK9ikj8", b"z9hG4bK30239"]
    assert found[b"intmeth"].from_tag == b"_token~1'+`*%!-."
    assert (found[b"unreason"].status, found[b"noreason"].status) == (200, 100)
    assert "dup_header" in found[b"multi01"].odd and "dup_header" in found[b"mcl01"].odd
    assert found[b"clerr"].odd == ("short_body",) and "content_length" in found[b"ncl"].odd


def _parsed(data: bytes):
    try:
        return sip.parse(data)
    except sip.ParseError:
        return None


@pytest.mark.parametrize("name", ["torture_rfc4475.pcap", "torture_kamailio_misc.pcap"])
def test_nothing_but_counted_errors(name):
    analyser, records, expected = Analyser(), [], Counter()
    for data in messages(name):
        try:
            sip.parse(data)
        except sip.ParseError as error:
            expected[f"sip_error_{error}"] += 1
    for block in read_blocks(str(Path(CORPUS, "torture", name))):
        records += analyser.feed(block)
    records += analyser.finish()
    counted = {key: n for key, n in analyser.counters.items() if key.startswith("sip_error_") and "sdp" not in key}
    assert counted == expected
    assert records
