"""One call in full for people: who, when, how it ended, what to look at, every stream, and its ladder."""

import io
import shutil
import sys
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console
from rich.text import Text

from voipfleet import ladder, words
from voipfleet.calls import record
from voipfleet.calls.record import CallRecord, StreamRecord, local_time
from voipfleet.harmless import harmless

PIPED = 120  # columns where the output is no terminal
NARROWEST = 60
NAME = 15  # characters for the name of a figure
NEAR, MOST = 5.0, 5  # s in which a leg follows another; how many are named
COLUMN = 30  # at least, for one stream
FIGURES = ("seen by", "from", "to", "SSRC", "codec", "payload types", "ptime", "first", "last", "expected", "received",
           "lost", "  by RTCP", "discarded", "duplicates", "reordered", "loss bursts", "jitter mean", "  by RTCP ",
           "jitter max", "delta max", "MOS", "  by RTCP XR", "R", "round trip", "  by RTCP XR ",
           "talk spurts", "digits")  # fmt: skip

_WRAPPER = Console(width=10_000, file=io.StringIO())


def print_call(call: CallRecord, steps: list[ladder.Step], *, left_out: int = 0, related: Iterable[str] = (),
               file: TextIO | None = None) -> None:  # fmt: skip
    """`steps`: its messages, none where they are not known; `related`: sentences on calls that may belong to it."""
    file = file or sys.stdout
    width = shutil.get_terminal_size((PIPED, 24)).columns if file.isatty() else PIPED
    width = max(width, NARROWEST)
    console = Console(file=file, width=width, highlight=False, emoji=False, soft_wrap=True)
    plain = not _can(file, "│─═▶◀├┤╞╡×↺…")

    def put(line: str, style: str = "") -> None:
        line = harmless(line.rstrip())
        console.print(Text(line.translate(ladder.ASCII) if plain else line, style))

    for title, lines in ((_title(call), _facts(call, width)), ("look at", _marked(words.findings(call), width)),
                         ("also", _marked([*words.notes(call), *related], width)),
                         ("audio", _streams(call, width))):  # fmt: skip
        if lines:
            for line in _wrapped(title, "", "", width):
                put(line, "bold")
            for line in lines:
                put(line, "yellow" if title == "look at" else "")
            put("")
    if steps:
        put("messages", "bold")
        for line, step in ladder.draw([*steps, *map(ladder.rtp, call.streams)], width):
            put(line, _style(step))
        if left_out:
            put(f"{left_out} messages in the middle are left out.")


def related(call: CallRecord, calls: list[CallRecord]) -> list[str]:
    """Sentences on other calls that may be the same one on its way: another leg has another Call-ID."""
    ends = {end for stream in call.streams for end in (stream.src, stream.dst)}
    said = []
    for number, other in enumerate(calls, 1):
        apart = (other.setup_time - call.setup_time) / 1e9
        if other.uuid == call.uuid or abs(apart) > NEAR or len(said) >= MOST:
            continue
        shared = ends & {end for stream in other.streams for end in (stream.src, stream.dst)}
        numbers = (other.caller, other.callee) == (call.caller, call.callee)
        if shared or numbers or (other.callee and other.callee == call.callee):
            why = "it has the same media" if shared else "of the same numbers" if numbers else "to the same number"
            said.append(f"#{number} may be another leg ({why}, {apart:+.3f} s): {other.caller} to {other.callee}, "
                        f"Call-ID {other.call_id}")  # fmt: skip
    return said


def _can(file: TextIO, text: str) -> bool:
    try:
        text.encode(getattr(file, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _style(step: ladder.Step | None) -> str:
    if step is None:
        return "bold"
    return "dim" if step.again else "red" if step.failed else "cyan" if step.packets else ""


def _title(call: CallRecord) -> str:
    if call.method == "RTP" and call.streams:
        return f"{call.streams[0].src} to {call.streams[0].dst}: {words.ending(call)}"
    return f"{call.caller or '?'} called {call.callee or '?'}: {words.ending(call)}"


def _facts(call: CallRecord, width: int) -> list[str]:
    def party(number: str, domain: str, name: str, agent: str) -> str:
        return "".join((f'"{name}" ' if name else "", number, f"@{domain}" if domain else "",
                        f", {agent}" if agent else ""))  # fmt: skip

    pressed = (("caller", call.dtmf), ("callee", call.dtmf_callee))
    facts = [
        ("Call-ID", call.call_id),
        ("caller", party(call.caller, call.caller_domain, call.caller_name, call.user_agent_caller)),
        ("callee", party(call.callee, call.callee_domain, call.callee_name, call.user_agent_callee)),
        ("first INVITE", f"{call.src} to {call.dst} by {call.transport.upper()}" if call.src else ""),
        ("seen by", ", ".join(filter(None, (call.site, *record.sensors(call))))),
        ("analysed by", call.analysed_by),
        ("began", local_time(call.setup_time)),
        ("progress", "" if call.pdd is None else f"after {call.pdd:.3f} s (post-dial delay)"),
        ("rang", _moment(call, call.ring_time)),
        ("answered", _moment(call, call.answer_time) or ("never" if call.method != "RTP" else "")),
        ("ended", _moment(call, call.end_time)),
        ("lasted", f"{call.duration:.3f} s" + (f", {call.connect_duration:.3f} s of them answered"
                                               if call.answer_time else "")),
        ("response", words.response(call) if call.method != "RTP" else ""),
        ("reason", call.reason),
        ("hung up by", call.hung_up_by or ("unknown" if call.method != "RTP" else "")),
        ("end reason", call.end_reason),
        ("seen", ", ".join(f"{kind.upper()} of the {side}" for side, kind in (name.split("_") for name in call.seen))),
        ("digits", " ".join(f"{side}: {digits}" for side, digits in pressed if digits)),
    ]  # fmt: skip
    return [line for name, value in facts if value
            for line in _wrapped(value, f"  {name:<{NAME}}", " " * (NAME + 2), width)]  # fmt: skip


def _moment(call: CallRecord, ns: int) -> str:
    return f"{local_time(ns)}  ({(ns - call.setup_time) / 1e9:+.3f} s)" if ns else ""


def _wrapped(text: str, first: str, others: str, width: int) -> list[str]:
    """`text` in lines of `width` columns behind `first`, then `others`; what is too long for one line is broken."""
    lines = Text(harmless(text)).wrap(_WRAPPER, width - len(first), overflow="fold")
    return [((others if number else first) + line.plain).rstrip() for number, line in enumerate(lines)]


def _marked(lines: Iterable[str], width: int) -> list[str]:
    return [row for line in lines for row in _wrapped(line, "  - ", "    ", width)]


def _streams(call: CallRecord, width: int) -> list[str]:
    """Streams side by side, as many as there is room for; a figure that no stream of a row has is left out."""
    if not call.streams:
        return ["  no RTP of this call was seen"] if call.answer_time else []
    beside = max((width - 2 - NAME) // COLUMN, 1)
    column = (width - 2 - NAME) // beside
    out = []
    streams = sorted(call.streams, key=lambda stream: (stream.first, stream.direction != "caller"))
    for at in range(0, len(streams), beside):
        group = streams[at : at + beside]
        shown = [{name: harmless(value) for name, value in _figures(call, stream).items()} for stream in group]
        heads = [f"{stream.direction or 'unknown side'}'s" if stream.direction else "either side's" for stream in group]
        out += ["", " " * (2 + NAME) + "".join(f"{head:<{column}}" for head in heads)][at == 0 :]
        if len(record.sensors(call)) > 1:
            for figures, stream in zip(shown, group, strict=True):
                figures["seen by"] = harmless(stream.sensor or call.sensor)
        for name in FIGURES:
            values = [figures.get(name, "") for figures in shown]
            parts = [[value[n : n + column - 1] for n in range(0, len(value), column - 1)] or [""] for value in values]
            for row in range(max(map(len, parts)) if any(values) else 0):
                cells = "".join(f"{part[row] if row < len(part) else '':<{column}}" for part in parts)
                out.append(f"  {name if not row else '':<{NAME}}{cells}")
    return out


def _figures(call: CallRecord, s: StreamRecord) -> dict[str, str]:
    def share(count: int) -> str:
        return f"{count} ({100 * count / s.expected:.2f} %)" if count and s.expected else str(count)

    def ms(value: float | None) -> str:
        return "" if value is None else f"{value:.3f} ms"

    bursts = [f"{n if n < 10 else '10+'} ×{count}" for n, count in enumerate(s.loss_bursts, 1) if count]
    return {
        "from": s.src, "to": s.dst, "SSRC": f"0x{s.ssrc:08x}",
        "codec": (s.codec or "?") + (" (SRTP)" if s.srtp else ""),
        "payload types": ", ".join(map(str, s.payload_types)), "ptime": f"{s.ptime:g} ms" if s.ptime else "?",
        "first": _offset(call, s.first), "last": _offset(call, s.last),
        "expected": str(s.expected), "received": str(s.received), "lost": share(s.lost),
        "  by RTCP": "" if s.rtcp_lost is None else str(s.rtcp_lost), "discarded": share(s.discarded),
        "duplicates": str(s.duplicates), "reordered": str(s.reordered),
        "loss bursts": ", ".join(bursts) or "none",
        "jitter mean": ms(s.jitter_mean_ms), "  by RTCP ": ms(s.rtcp_jitter_ms), "jitter max": ms(s.jitter_max_ms),
        "delta max": ms(s.delta_max_ms), "MOS": "unknown for this codec" if s.mos is None else f"{s.mos:.2f}",
        "  by RTCP XR": "" if s.rtcp_mos is None else f"{s.rtcp_mos:.1f}",
        "R": "" if s.r_factor is None else f"{s.r_factor:.1f}", "round trip": ms(s.rtcp_rtt_ms),
        "  by RTCP XR ": "" if s.rtcp_delay_ms is None else f"{s.rtcp_delay_ms} ms",
        "talk spurts": str(s.markers) if s.markers else "", "digits": s.dtmf,
    }  # fmt: skip


def _offset(call: CallRecord, ns: int) -> str:
    return f"{(ns - call.setup_time) / 1e9:+.3f} s" if ns else "?"
