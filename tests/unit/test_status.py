"""The status as lines for people."""

from voipfleet.commands.status import describe

REPORT = {
    "name": "b1", "version": "0.1.0", "mode": "capture+client", "uptime_seconds": 12.3,
    "records": {"created": 9, "acknowledged": 6, "queued": 2, "gaps": 1},
    "capture": {"interfaces": ["eth0"], "packets": 12345, "sip": 7, "rtp": 12000, "calls_active": 3, "calls": 4,
                "capture_kernel_drops_total": 5, "ignored": 338, "ignored_not_udp": 300, "ignored_not_ip": 38,
                "analysis_errors_total": 2, "streams_refused": 0},
    "link": {"state": "disconnected", "why": "nothing listens there", "seconds": 7.0, "connections": 0, "central": ""},
}  # fmt: skip


def test_the_lines():
    assert describe(REPORT) == [
        "b1: voipfleet 0.1.0, capture+client, up 12 s",
        "records: 9 created = 6 acknowledged + 2 queued + 1 given up",
        "capture on eth0: 12,345 packets, 7 SIP, 12,000 RTP, 0 RTCP; 3 calls up, 4 ended",
        "dropped: kernel 5, records between the processes 0; calls ended early for room 0",
        "other packets: not_ip 38, not_udp 300",
        "blocks that could not be analysed: 2",
        "link: disconnected: nothing listens there for 7 s, 0 connections",
    ]
    assert describe({}) == []
