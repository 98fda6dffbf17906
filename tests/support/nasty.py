"""Texts that mean something to a shell, a terminal, a database, a spreadsheet, a browser or a file system, and calls
that carry them wherever SIP lets a caller write."""

import re

from support.packets import ip, udp
from support.scenario import A, B, Play, sdp

TEXTS = (
    "' OR 1=1; DROP TABLE calls; --", "\\'; DELETE FROM calls; --", '"); --', "%' ESCAPE '",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "=cmd|' /C calc'!A0", "+1+1", "-1-1", "@SUM(1)",
    "\t=1", "../../../../tmp/owned", "%2e%2e%2fowned", "/etc/passwd", "CON", "a\x1b[2Jb", "\x1b]0;owned\x07",
    "\x1b]8;;http://x\x1b\\", "\x9b31m", "\x7f\x08\x08", "a\x00b", "\u202eevil\u202c", "\u2066x\u2069",
    "\u200bhidden\ufeff", "\u2028line", "[bold]x[/bold]", ":boom:", "%s%n%x{0}{x.__class__}", "$(reboot)`id`",
    "x" * 400, "\u00e9\u4e2d\U0001f600", "e" + "\u0301" * 300,
)  # fmt: skip
# What no outlet for people may let through: C0 (but for line ends) and C1, DEL, overrides and marks of direction, what
# has no width, and what ends a line elsewhere
ACTIVE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)


def play(text: str, name: str = "c") -> Play:
    """An answered call with the text wherever SIP and SDP let a caller or a callee write; `name` begins its Call-ID."""
    line = re.sub(r"[\r\n]", " ", text)
    made = Play()
    offer = sdp(A, 4000, f"a=rtpmap:0 {line}/8000", f"a={line}", f"i={line}").replace("s=-", f"s={line}")
    for at, way, first, cseq, to, body in (
        (0, (A, B), "INVITE sip:200@b SIP/2.0", "1 INVITE", "", offer),
        (0.1, (B, A), f"SIP/2.0 180 {line}", "1 INVITE", "b", ""),
        (0.2, (B, A), f"SIP/2.0 200 {line}", "1 INVITE", "b", sdp(B, 5000, f"a={line}")),
        (0.3, (A, B), "ACK sip:200@b SIP/2.0", "1 ACK", "b", ""),
        (1, (A, B), "BYE sip:200@b SIP/2.0", "2 BYE", "b", ""),
        (1.1, (B, A), f"SIP/2.0 200 {line}", "2 BYE", "b", ""),
    ):  # fmt: skip
        lines = [
            first, f"Via: SIP/2.0/UDP {A};branch=z9hG4bK{cseq[0]}{cseq[2:]}",
            f'From: "{line}" <sip:{line}@{line}>;tag=a', f'To: "{line}" <sip:{line}@b>' + (f";tag={to}" if to else ""),
            f"Call-ID: {name}{line}", f"CSeq: {cseq}", f"User-Agent: {line}", f"Contact: <sip:{line}@10.0.0.1>",
            f"Reason: Q.850;cause=16;text={line}", f"Warning: 399 h {line}", f"X-{line}: {line}",
            *(["Content-Type: application/sdp"] if body else []), f"Content-Length: {len(body.encode())}", "", body,
        ]  # fmt: skip
        made.raw(at, ip(udp("\r\n".join(lines).encode(), 5060, 5060), src=way[0], dst=way[1], ident=round(at * 10) + 1))
    made.rtp(0.4, (A, 4000), (B, 5000), 10)
    return made
