"""Captures of known content (folder in VOIPFLEET_CORPUS): their records agree with truth.json."""

import json
import os
from pathlib import Path

import pytest
from voipfleet.calls.analyser import Analyser, AnalyserSettings
from voipfleet.capture.pcapfile import read_blocks
from voipfleet.errors import VoipfleetError

CORPUS = os.environ.get("VOIPFLEET_CORPUS")
pytestmark = pytest.mark.skipif(not CORPUS, reason="VOIPFLEET_CORPUS is not set")
EDGE = ("vlan", "ipv6", "sll", "oneway", "early_media_cancel", "loss_burst_wrap", "auth_fork_nobye", "dtmf_cn_ssrc",
        "ipfrag", "sip_tcp")  # fmt: skip


def analyse(path, size=4 << 20):
    analyser, calls = Analyser(AnalyserSettings(dtmf2db=True)), []
    for block in read_blocks(str(path), size):
        calls += analyser.feed(block)
    return calls + analyser.finish(), analyser.counters


@pytest.mark.parametrize("size", [1, 65536, 4 << 20])
@pytest.mark.parametrize("name", EDGE)
def test_edge(name, size):
    truth = json.loads(Path(CORPUS, "edge", "truth.json").read_text())[f"edge_{name}.pcap"]
    calls, _ = analyse(Path(CORPUS, "edge", f"edge_{name}.pcap"), size)
    assert len(calls) == 1
    call, streams = calls[0], calls[0].streams
    by = {side: [s for s in streams if s.direction == side] for side in ("caller", "callee")}
    assert str(call.final_response) == truth["final"] and len(streams) == truth["rtp_streams"]
    assert call.one_way == truth.get("one_way", False)
    assert call.retransmissions == truth.get("retransmissions", 0)
    hung_up = truth.get("bye", True) and truth["final"] in ("200", "487")  # a CANCEL hangs up, too
    assert (call.hung_up_by is not None) == hung_up
    assert "".join(s.dtmf for s in streams) == truth.get("dtmf", "")
    if "lost_a" in truth:
        assert (by["caller"][0].lost, by["caller"][0].expected) == (truth["lost_a"], truth["expected_a"])
        assert (by["callee"][0].lost, by["callee"][0].reordered) == (truth["lost_b"], truth["reordered_b"])
    else:
        assert sum(s.lost for s in streams) == 0
    if "rtp_packets_each" in truth:
        assert [s.received for s in streams] == [truth["rtp_packets_each"]] * 2
    if name == "early_media_cancel":
        assert (call.pdd, call.connect_duration, call.end_reason) == (0.5, 0.0, "cancel")


def test_every_capture_is_read_without_a_raise():
    for path in Path(CORPUS).glob("*/*.pcap*"):
        try:
            analyse(path)
        except VoipfleetError:
            pytest.fail(f"{path.name} could not be read")
