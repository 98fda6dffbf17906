"""Strings in SIP fields that mean something to a database, a spreadsheet, a terminal, a log (row 33)."""

import io
import re

from faults.harness import captures, committed
from faults.traffic import Calls
from support.caller import TO_A, TO_B, sdp
from voipfleet.calls import record
from voipfleet.csvout import write_csv

HOSTILE = (
    "' OR 1=1; DROP TABLE calls; --", "\\'; DELETE FROM calls; --", "<script>alert(1)</script>", "=cmd|' /C calc'!A0",
    "+1+1", "@SUM(1)", "../../../../tmp/owned", "/etc/passwd", "a\x1b[2Jb\x1b]0;owned\x07", "\x9b31m", "%s%n%x{0}",
    "a\x00b", "\u202eevil", "x" * 250, "$(reboot)`id`", "-1",
)  # fmt: skip


def a_message(number: int, first: str, cseq: str, text: str, body: str = "") -> bytes:
    lines = [
        first, f"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{number}{cseq.replace(' ', '')}",
        f'From: "{text}" <sip:{number}@a>;tag=f', f"To: <sip:200@b>{'' if first[0] == 'I' else ';tag=t'}",
        f"Call-ID: {number}{text}", f"CSeq: {cseq}", f"User-Agent: {text}", f"Contact: <sip:{text}@10.0.0.1>",
        f"Content-Length: {len(body)}", *(["Content-Type: application/sdp"] if body else []),
    ]  # fmt: skip
    return "\r\n".join([*lines, "", body]).encode("utf-8", "surrogateescape")


def test_row33_strings_that_mean_something_elsewhere(fleet, saw):
    fleet.central.start()
    sensor = fleet.capturing()
    sensor.start()
    sensor.until(captures)
    calls = Calls(fleet.namespace)
    for number, text in enumerate(HOSTILE, 5000):
        for way, first, cseq, body in (
            (TO_B, "INVITE sip:200@b SIP/2.0", "1 INVITE", sdp("10.0.0.1", 20_000 + 4 * (number % 1000))),
            (TO_A, "SIP/2.0 200 OK", "1 INVITE", sdp("10.0.0.2", 20_002 + 4 * (number % 1000))),
            (TO_B, "ACK sip:200@b SIP/2.0", "1 ACK", ""), (TO_B, "BYE sip:200@b SIP/2.0", "2 BYE", ""),
            (TO_A, "SIP/2.0 200 OK", "2 BYE", ""),
        ):  # fmt: skip
            calls.wire.udp(way, 5060, 5060, a_message(number, first, cseq, text, body))
    calls.place(5)
    total = len(HOSTILE) + 5
    sensor.until(lambda status: status["records"]["created"] > total and not status["records"]["queued"], 30)
    counts = fleet.check(*committed(sensor))
    found = [record.decode(bytes.fromhex(body)) for (body,) in fleet.rows("calls", "hex(body)")]
    literal = {call.user_agent_caller for call in found}
    kept = [text for text in HOSTILE if any(text[:200] in agent for agent in literal)]
    assert counts["rows"] == total and {"' OR 1=1; DROP TABLE calls; --", "<script>alert(1)</script>"} <= set(kept)
    for words in (("calls",), ("calls", "--full")):
        said = fleet.central.command(*words, "--limit", "0").stdout
        assert said and not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said)
    csv = io.StringIO()
    write_csv(found, csv)
    assert not re.search(r'"[=+@]|[\x00-\x09\x0b-\x1f\x7f-\x9f]', csv.getvalue())
    names = [path.relative_to(fleet.folder).as_posix() for path in fleet.folder.rglob("*")]
    assert not [name for name in names if "owned" in name or "passwd" in name]
    for daemon in (sensor, fleet.central):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", daemon.log())
    saw(f"{len(HOSTILE)} calls with SQL, HTML, formulas, paths, terminal controls and 250 characters in display name,"
        " Call-ID, User-Agent and Contact", f"{counts['rows']} rows, {len(kept)} of the texts in them as they came;"
        " none of them acts in the terminal, in CSV, in the logs, or as the name of a file")  # fmt: skip
