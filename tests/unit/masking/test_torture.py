"""Messages made to break parsers (folder in VOIPFLEET_CORPUS): masked, they are parsed or refused as before."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from support.masked import without_numbers, without_secrets
from voipfleet.capture.pcapfile import read_blocks
from voipfleet.decode import frames, sip

CORPUS = os.environ.get("VOIPFLEET_CORPUS")
pytestmark = pytest.mark.skipif(not CORPUS, reason="VOIPFLEET_CORPUS is not set")
FIELDS = ("method", "status", "call_id", "cseq", "from_tag", "to_tag", "odd")


def messages(name: str) -> list[bytes]:
    found = []
    for block in read_blocks(str(Path(CORPUS, "torture", name))):
        packets = frames.Decoder(np.ones(65536, bool), lambda *_: None).parse(block)
        for start, size in zip(packets.start.tolist(), packets.length.tolist(), strict=True):
            found.append(packets.data[start : start + size].tobytes())
    return found


def parsed(message: bytes) -> tuple | str:
    try:
        made = sip.parse(message)
    except sip.ParseError as error:
        return str(error)
    return *(getattr(made, field) for field in FIELDS), list(made.headers), len(made.body)


@pytest.mark.parametrize("name", ["torture_rfc4475.pcap", "torture_kamailio_misc.pcap"])
@pytest.mark.parametrize("keep", [0, 3])
def test_masked_they_are_the_same_messages(name, keep):
    given = messages(name)
    assert len(given) > 40
    for message in given:
        masked = without_numbers(without_secrets(message), keep)
        assert len(masked) == len(message) and parsed(masked) == parsed(message)


def test_what_is_to_see_in_them_is_hidden():
    masked = b"".join(without_numbers(without_secrets(message), 0) for message in messages("torture_rfc4475.pcap"))
    assert b"NoOneKnowsThisScheme xxxx" in masked  # no digest has a response in these
    masked = re.sub(rb"(?im)^(?:i|call-id|v|via)[ \t]*:.*$|%(?!3[0-9])[0-9a-f]{2}", b"", masked)
    assert not re.search(rb"sips?:[^\s<>\"@;]*[0-9][^\s<>\"@]*@", masked)
