"""The status as lines for people."""

import io

from voipfleet.commands.status import _fault, describe, show
from voipfleet.metrics.laws import Law

REPORT = {
    "name": "b1", "version": "0.1.0", "mode": "capture+client", "uptime_seconds": 12.3,
    "records": {"created": 9, "acknowledged": 6, "queued": 2, "gaps": 1},
    "capture": {"interfaces": ["eth0"], "packets": 12345, "sip": 7, "rtp": 12000, "calls_active": 3, "calls": 4,
                "capture_kernel_drops_total": 5, "ignored": 338, "ignored_not_udp": 300, "ignored_not_ip": 38,
                "analysis_errors_total": 2, "streams_refused": 0},
    "link": {"state": "disconnected", "why": "nothing listens there", "seconds": 7.0, "connections": 0, "central": ""},
    "packets": {
        "links": [{
            "key": "mirror_destination", "state": "connected", "central": "hq", "why": "", "seconds": 5.0,
            "connections": 2, "clock_offset_ms": -3.0, "packets": 1000, "bytes": 150_000, "bytes_saved": 50_000,
            "ratio": 0.75,
            "buffer": {"put": 1200, "acknowledged": 900, "memory": 100, "disk": 150, "dropped": 50, "lag_seconds": 2.5,
                       "error": "no room"},
        }],
        "received": [{"source": "ab" * 16, "packets": 7, "bytes": 900, "lost": 3, "looped": 0}],
    },
    "sensors": [{"name": "b2", "sends": "packets", "address": "::1", "key": "k", "clock_offset_ms": 2500.0}],
}  # fmt: skip


def test_the_lines():
    assert describe(REPORT) == [
        "b1: voipfleet 0.1.0, capture+client, up 12 s",
        "records: 9 created = 6 acknowledged + 2 queued + 1 given up",
        "capture on eth0: 12,345 packets, 7 SIP, 12,000 RTP, 0 RTCP; 3 calls up, 4 ended",
        "dropped: kernel 5, between the processes records 0, packets 0; calls ended early for room 0",
        "other packets: not_ip 38, not_udp 300",
        "blocks that could not be analysed: 2",
        "link: disconnected: nothing listens there for 7 s, 0 connections",
        "packets to mirror_destination: connected to hq for 5 s, 2 connections, clock -3.0 ms",
        "  1,200 put = 900 acknowledged + 100 in memory + 150 on disk + 50 dropped; 2.5 s behind",
        "  sent 1,000 packets in 150,000 bytes, 75% of their size; 50,000 bytes saved",
        "  no room",
        "packets from abababab: 7 in 900 bytes, 3 lost before they were sent, 0 blocks refused as a loop",
        "b2 sends packets from ::1, key k, clock +2500.0 ms",
    ]
    assert describe({}) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_law_that_does_not_hold_is_said_in_red_and_only_to_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    law = Law("packets", "received", 14, {"parsed": 2})
    for file, red in ((Terminal(), True), (io.StringIO(), False)):
        show(describe(REPORT | {"laws": [{"law": "packets", "holds": law.holds, "text": str(law)}]}), file)
        (line,) = (line for line in file.getvalue().splitlines() if "received" in line)
        assert "12 packets or records are NOT ACCOUNTED FOR, please report this" in line
        assert line.startswith("\x1b[1;31m") == red == ("\x1b" in file.getvalue())


def test_what_others_sent_does_nothing_to_the_terminal():
    file = io.StringIO()
    show(describe(REPORT | {"store": {"ok": False, "error": "no \x1b]0;x\x07 [bold]table"}}), file)
    assert "store: no \\x1b]0;x\\x07 [bold]table\n" in file.getvalue()


def test_who_is_not_ready_is_not_healthy():
    """Whatever it does not have yet cannot be at fault."""
    report = {"ready": False, "records": {"outbox_error": ""}}
    assert _fault(report) == "it is still starting"
    assert _fault(report | {"ready": True}) == ""
    packets = {"links": [{"state": "disconnected", "why": "no way there"}]}
    assert _fault(report | {"ready": True, "packets": packets}) == (
        "not connected to the receiver of its packets (no way there)"
    )
