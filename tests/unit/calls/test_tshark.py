"""Public captures (folder in VOIPFLEET_CORPUS): our calls and streams are those of tshark, or the table says why not.

tshark is asked without its RTP heuristics, so that it knows the streams that signalling set up, and with TCP segments
put in order. Where the two differ, the expectation is the exact pair, so that a change on either side is seen.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from voipfleet.calls.analyser import Analyser, AnalyserSettings
from voipfleet.capture.pcapfile import read_blocks

CORPUS = Path(os.environ.get("VOIPFLEET_CORPUS") or "/nonexistent")
pytestmark = [
    pytest.mark.skipif(not CORPUS.is_dir(), reason="VOIPFLEET_CORPUS is not set"),
    pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed"),
]
FIELDS = ("sip.Call-ID", "sip.CSeq.method", "sip.Method", "sip.Status-Code")
PORTS = (5060, 5062, 5090, 15060, 25060)  # where the captures have SIP
ITEMS = "\x01"

# file -> Call-IDs -> (our final response, tshark's); None: no call
CALLS = {
    # SIP in PPP in GRE version 1 (PPTP, RFC 2637), which is no tunnel of a SPAN port; and a 100 alone is no call.
    "ndpi/gre.pcapng": {"AI1737AB5491ADC392@192.168.103.40": (None, 0)},
}
# file -> SSRC -> (our (packets, lost), tshark's); None: no stream of a call
STREAMS = {
    # tshark counts from the first packet that came to the last: one that was overtaken at the edge makes lost -1.
    "edge/edge_loss_burst_wrap.pcap": {0x22: ((990, 0), (990, -1))},
    # After the fax re-INVITE, which is refused by 488, tshark takes the 27 PCMA packets that follow for UDPTL.
    "ndpi/FAX-Call-t38-CA-TDM-SIP-FB-1.pcap": {0x0EAF0EAF: ((159, 1712), (132, 1712))},
    # The caller starts to send a second after its call was refused by 480: the record is out half a second after it.
    "ndpi/sip.pcap": {0x3796CB71: (None, (9, 0))},
    "sngrep/aaa.pcap": {0x3796CB71: (None, (9, 0))},
    "suricata-verify/sip-method__sip.pcap": {0x3796CB71: (None, (9, 0))},
}


def captures() -> list[str]:
    """Those with the letters of SIP in them."""
    found = [path for path in sorted(CORPUS.glob("*/*.pcap*")) if b"SIP/2.0" in path.read_bytes()]
    return [str(path.relative_to(CORPUS)) for path in found if path.parent.name != "torture"]


def of_tshark(path: Path) -> tuple[dict[str, int], dict[int, tuple[int, int]]]:
    """Call-ID -> last final response to an INVITE; SSRC -> (packets, lost)."""
    fields = [word for name in FIELDS for word in ("-e", name)]
    out = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-o", "tcp.reassemble_out_of_order:TRUE", "-o", "rtp.heuristic_rtp:FALSE",
         "-Y", "sip", "-T", "fields", "-E", "separator=/t", "-E", f"aggregator={ITEMS}", *fields, "-z", "rtp,streams"],
        capture_output=True, text=True, errors="replace", timeout=60, check=True,
    ).stdout  # fmt: skip
    calls: dict[str, int] = {}
    streams: dict[int, tuple[int, int]] = {}
    for line in out.splitlines():
        if (words := line.split()) and len(words) > 10 and words[6].startswith("0x"):
            packets = next(n for n, word in enumerate(words) if word.startswith("(")) - 2
            streams[int(words[6], 16)] = int(words[packets]), int(words[packets + 1])
        elif line.count("\t") == 3:
            ids, names, methods, codes = ([item for item in part.split(ITEMS) if item] for part in line.split("\t"))
            if not ids:  # a keep-alive, or junk that tshark gives to SIP all the same
                continue
            assert len(ids) == len(names) == len(methods) + len(codes)
            for call_id, name in zip(ids, names, strict=True):
                code = 0 if methods and methods.pop(0) else int(codes.pop(0))
                if name == "INVITE":
                    calls[call_id] = code if code >= 200 else calls.get(call_id, 0)
    return calls, streams


def of_ours(path: Path) -> tuple[dict[str, int], dict[int, tuple[int, int]]]:
    analyser, calls = Analyser(AnalyserSettings(sipport=PORTS)), []
    for block in read_blocks(str(path)):
        calls += analyser.feed(block)
    calls = [call for call in calls + analyser.finish() if call.method == "INVITE"]
    streams = [stream for call in calls for stream in call.streams]
    assert len({stream.ssrc for stream in streams}) == len(streams)
    return ({call.call_id: call.final_response for call in calls},
            {stream.ssrc: (stream.received + stream.duplicates, stream.lost) for stream in streams})  # fmt: skip


def differences(ours: dict, theirs: dict) -> dict:
    return {key: (ours.get(key), theirs.get(key)) for key in ours | theirs if ours.get(key) != theirs.get(key)}


@pytest.mark.parametrize("name", captures())
def test_calls_and_streams(name):
    (calls, streams), (their_calls, their_streams) = of_ours(CORPUS / name), of_tshark(CORPUS / name)
    assert differences(calls, their_calls) == CALLS.get(name, {})
    assert differences(streams, their_streams) == STREAMS.get(name, {})


def test_the_captures_hold_something():
    """The comparison is not one of nothing with nothing, and every entry of the tables is used."""
    names = captures()
    assert len(names) >= 30 and set(CALLS) | set(STREAMS) <= set(names)
    found = [of_ours(CORPUS / name) for name in names if name.startswith(("ndpi", "sngrep", "suricata", "wireshark"))]
    assert sum(len(calls) for calls, _ in found) >= 20
