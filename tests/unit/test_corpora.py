"""Captures made to break analysers, and public ones (folder in VOIPFLEET_CORPUS): counted errors and nothing else.

Each is read as it is, in blocks of one packet, with packets cut short and with bytes changed. No packet may leave the
count, and nothing may be raised.
"""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from voipfleet.calls.analyser import Analyser, AnalyserSettings
from voipfleet.calls.record import decode, encode, to_json
from voipfleet.capture.block import Block
from voipfleet.capture.pcapfile import read_blocks

CORPUS = Path(os.environ.get("VOIPFLEET_CORPUS") or "/nonexistent")
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="VOIPFLEET_CORPUS is not set")
HOSTILE = ("torture/", "tcpdump/rtp-seg-fault", "zeek/", "sngrep/", "suricata-verify/", "edge/")
SECONDS = 10  # a capture takes milliseconds; what takes this long hangs


def captures(*patterns: str) -> list[str]:
    return sorted(str(path.relative_to(CORPUS)) for pattern in patterns for path in CORPUS.glob(f"{pattern}*.pcap*"))


def analyse(blocks) -> list[dict]:
    """The law of the counters, and records that can be stored and shown; what is known of the calls."""
    analyser, records, before = Analyser(AnalyserSettings(sipport=(5060, 5062, 5090))), [], time.monotonic()
    for block in blocks:
        records += analyser.feed(block)
    records += analyser.finish()
    count = analyser.counters
    parts = ("ignored", "held", "sip", "rtp", "rtcp", "other")
    assert count["packets"] + count["made"] == sum(count[name] for name in parts), count
    for name in ("ignored", "sip_error", "rtcp_error", "fragment_error"):
        total = count.get(name, 0) if name == "ignored" else count.get(f"{name}s", 0)
        assert total == sum(number for key, number in count.items() if key.startswith(f"{name}_")), (name, count)
    calls = [record for record in records if record.method == "INVITE"]
    assert count["calls"] == len(calls) and analyser.active_calls == 0
    for record in records:
        assert decode(encode(record)) == record and to_json(record)
    assert time.monotonic() - before < SECONDS
    return [{"call_id": r.call_id, "final": r.final_response, "streams": len(r.streams)} for r in records]


@pytest.mark.parametrize("name", captures("*/"))
def test_nothing_but_counted_errors(name):
    analyse(read_blocks(str(CORPUS / name)))


@pytest.mark.parametrize("name", captures(*HOSTILE))
def test_one_packet_a_block_is_the_same(name):
    assert analyse(read_blocks(str(CORPUS / name), 1)) == analyse(read_blocks(str(CORPUS / name)))


@pytest.mark.parametrize("name", captures(*HOSTILE))
def test_packets_cut_short_by_the_capture(name):
    for most in (10, 14, 33, 41, 60, 75, 200):
        for block in read_blocks(str(CORPUS / name)):
            cut = np.minimum(block.caplen, most)
            analyse([Block(data=block.data, ts=block.ts, offset=block.offset, caplen=cut, wirelen=block.wirelen,
                           linktype=block.linktype)])  # fmt: skip


@pytest.mark.parametrize("name", captures(*HOSTILE))
@pytest.mark.parametrize("share", [0.002, 0.02])
def test_changed_bytes(name, share):
    rng = np.random.default_rng(len(name))
    blocks = []
    for block in read_blocks(str(CORPUS / name)):
        data = block.data.copy()
        hit = rng.random(len(data)) < share
        data[hit] = rng.integers(0, 256, int(hit.sum()), np.uint8)
        blocks.append(Block(data=data, ts=block.ts, offset=block.offset, caplen=block.caplen, wirelen=block.wirelen,
                            linktype=block.linktype))  # fmt: skip
    analyse(blocks)


def test_there_are_captures():
    assert len(captures("*/")) >= 60 and len(captures(*HOSTILE)) >= 25
