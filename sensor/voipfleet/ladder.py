"""The messages of a call as a ladder for the terminal: one column a host, arrows between them, RTP as a thick one."""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from voipfleet.calls.dialog import show
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.decode import sdp, sip
from voipfleet.words import phrase

FIRST, LAST = 400, 100  # messages kept of one call: its first and its last ones
MAX_CALLS, MAX_KEPT = 50_000, 200_000  # calls and messages kept where the call is not known beforehand
CLOCK = 10  # characters for the time
EDGE = 8  # characters beside the first and the last column, for their names
NARROWEST = 11  # characters from column to column
LONGEST = 60  # characters of what a message says of its media
ASCII = str.maketrans("│─═▶◀├┤╞╡×↺…", "|-=><++++x@~")


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the ladder: a message, or with `packets` the RTP of a stream from its first packet on."""

    ts: int  # ns
    src: str
    dst: str
    text: str
    media: str = ""
    again: bool = False  # a retransmission
    packets: int = 0
    failed: bool = False


@dataclass
class Log:
    """The observer of an Analyser: keeps the messages of the calls whose Call-ID begins with `wanted`, bounded."""

    wanted: str = ""
    left_out: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._first: dict[str, list[Step]] = {}
        self._last: dict[str, deque[Step]] = {}
        self._marks: dict[str, set[int]] = {}
        self._kept = 0

    def __call__(self, message: sip.Message, ts: int, src: str, dst: str, transport: str) -> None:
        key = sip.show(message.call_id)
        if not key.startswith(self.wanted):
            return
        first = self._first.get(key)
        if first is None:
            if message.method != "INVITE" or len(self._first) >= MAX_CALLS:
                return
            first = self._first[key] = []
            self._marks[key] = set()
        marks = self._marks[key]
        mark = hash((message.method, message.cseq, message.status, src, dst, message.to_tag,
                     tuple(message.branches()[:1]), message.body))  # fmt: skip
        step = Step(ts, src, dst, _text(message, transport), _media(message), mark in marks,
                    failed=message.status >= 300)  # fmt: skip
        last = self._last.get(key) if len(first) < FIRST else self._last.setdefault(key, deque(maxlen=LAST))
        full = last is not None and len(last) == LAST  # then an older one leaves
        if full or self._kept >= MAX_KEPT:
            self.left_out[key] = self.left_out.get(key, 0) + 1
        if not full:
            if self._kept >= MAX_KEPT:
                return
            self._kept += 1
            marks.add(mark)
        (first if last is None else last).append(step)

    def of(self, call: CallRecord, calls: Iterable[CallRecord] = ()) -> list[Step]:
        """The messages of `call`, until the next of `calls` that has its Call-ID: that may be used again."""
        later = (other.setup_time for other in calls if other.call_id == call.call_id)
        until = min((time for time in later if time > call.setup_time), default=None)
        steps = [*self._first.get(call.call_id, ()), *self._last.get(call.call_id, ())]
        return [step for step in steps if call.setup_time <= step.ts and (until is None or step.ts < until)]


def _text(message: sip.Message, transport: str) -> str:
    name = f"{message.status} {phrase(message.status)}".rstrip() if message.status else message.method
    return f"{name} ({message.cseq}{' ' + message.method if message.status else ''})" + (
        "" if transport == "udp" else f" {transport.upper()}"
    )


def _media(message: sip.Message) -> str:
    """Where the side that sent it wants its media, and which."""
    if not message.body:
        return ""
    try:
        found = sdp.parse(sdp.extract(message.headers.get(b"content-type", b""), message.body))
    except sip.ParseError as error:
        return f"SDP damaged ({error})"
    said = []
    for media in found:
        codecs = [name for name, _ in media.codecs.values() if name.upper() not in ("TELEPHONE-EVENT", "CN") and name]
        kind = "T.38" if media.kind == "image" else ",".join(dict.fromkeys(codecs)) + (" SRTP" if media.secure else "")
        where = "" if media.direction == "sendrecv" else " " + media.direction
        said.append(f"SDP {show((*media.address, media.port))} {kind}{where}")
    text = "; ".join(said)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def rtp(stream: StreamRecord) -> Step:
    """A stream as a step of the ladder."""
    ports = f":{stream.src.rpartition(':')[2]} to :{stream.dst.rpartition(':')[2]}"
    lost = f", {stream.lost} lost" if stream.lost else ""
    return Step(stream.first, stream.src, stream.dst, f"RTP {stream.codec or '?'} {stream.received} packets{lost}",
                media=ports, packets=stream.received)  # fmt: skip


def host(endpoint: str) -> str:
    return endpoint.rpartition(":")[0].strip("[]")


def draw(steps: Iterable[Step], width: int) -> list[tuple[str, Step | None]]:
    """Lines of at most `width` characters, each with the step that it belongs to. Steps in the order of time."""
    steps = sorted(steps, key=lambda step: step.ts)
    if not steps:
        return []
    room = width - CLOCK - 2 * EDGE
    for lanes in _lanes(steps):
        names = list(dict.fromkeys(lanes.values()))
        apart = room // max(len(names) - 1, 1)
        if apart >= NARROWEST:
            return list(_Picture(lanes, names, apart, width).lines(steps))
    return [line for step in steps for line in _as_list(step, steps[0].ts, width)]


def _lanes(steps: list[Step]) -> Iterable[dict[str, str]]:
    """Endpoint -> its column: address:port for signalling; then, where these are too many, the address."""
    talk = dict.fromkeys(end for step in steps if not step.packets for end in (step.src, step.dst))
    media = dict.fromkeys(end for step in steps if step.packets for end in (step.src, step.dst))
    by_host: dict[str, str] = {}
    for end in talk:
        by_host.setdefault(host(end), end)
    others = [end for end in media if end not in talk]
    yield {**{end: end for end in talk}, **{end: by_host.get(host(end), host(end)) for end in others}}
    yield {end: host(end) for end in (*talk, *media)}


def _clock(step: Step, start: int) -> str:
    return f"{(step.ts - start) / 1e9:+{CLOCK - 1}.3f} "


def _as_list(step: Step, start: int, width: int) -> Iterable[tuple[str, Step]]:
    """Without columns: for more hosts than a terminal has room for."""
    texts = [f"{step.src} {'═▶' if step.packets else '─▶'} {step.dst}", _said(step), step.media]
    for number, text in enumerate(filter(None, texts)):
        clock = " " * (CLOCK + 2) if number else _clock(step, start)
        yield (clock + text)[:width], step


def _said(step: Step) -> str:
    return step.text + (" again" if step.again else "")


def _folded(name: str, room: int) -> list[str]:
    """An address in lines of at most `room` characters, its parts whole."""
    lines = [""]
    for part in [name] if len(name) <= room else re.findall(r"[^.:]*:\d*\Z|[^.:]+[.:]?|[.:]", name):
        if len(lines[-1]) + len(part) > room:
            lines.append("")
        lines[-1] += part[:room]
    return [line for line in lines if line]


class _Picture:
    """The ladder with columns `apart` characters apart."""

    def __init__(self, lanes: dict[str, str], names: list[str], apart: int, width: int):
        self._lanes, self._names, self._apart, self._width = lanes, names, apart, width
        self._at = {name: CLOCK + EDGE + apart * n for n, name in enumerate(names)}

    def lines(self, steps: list[Step]) -> Iterable[tuple[str, Step | None]]:
        room = max(min((self._width - CLOCK) // len(self._names), 2 * self._apart) - 1, NARROWEST - 1)
        cut = [_folded(name, room) for name in self._names]
        for row in range(max(map(len, cut))):
            line = [" "] * self._width
            for name, parts in zip(self._names, cut, strict=True):
                part = parts[row] if row < len(parts) else ""
                self._put(line, self._at[name] - len(part) // 2, part)
            yield "".join(line).rstrip(), None
        for step in steps:
            yield from ((line, step) for line in self._step(step, steps[0].ts))

    def _step(self, step: Step, start: int) -> Iterable[str]:
        here, there = (self._at[self._lanes[end]] for end in (step.src, step.dst))
        low, high = min(here, there), max(here, there)
        line = self._empty(_clock(step, start))
        said, room = _said(step), high - low - 6
        whole = f"{said}  {step.media}".rstrip()
        if here == there:
            self._put(line, here + 1, f"↺ {whole}")
            yield "".join(line).rstrip()
            return
        within = next((text for text in (whole, said) if len(text) <= room), "")
        above = [text for text in (step.media if within == said != whole else "" if within else said,
                                   "" if within else step.media) if text]  # fmt: skip
        if len(above) == 2 and len(whole) <= self._width - CLOCK:
            above = [whole]
        for text in above:  # what has no room in the arrow stands over it
            self._put(line, low + 2, text)
            yield "".join(line).rstrip()
            line = self._empty("")
        stroke = "═" if step.packets else "─"
        line[low + 1 : high] = list(
            f" {within} ".center(high - low - 1, stroke) if within else stroke * (high - low - 1)
        )
        line[here] = ("╞" if step.packets else "├") if here < there else ("╡" if step.packets else "┤")
        line[there - 1 if here < there else there + 1] = "▶" if here < there else "◀"
        yield "".join(line).rstrip()

    def _empty(self, clock: str) -> list[str]:
        line = list(clock.ljust(self._width))
        for at in self._at.values():
            line[at] = "│"
        return line

    def _put(self, line: list[str], at: int, text: str) -> None:
        """`text` at `at`, further left where it would not fit."""
        text = text[: self._width - CLOCK]
        at = max(CLOCK, min(at, self._width - len(text)))
        line[at : at + len(text)] = list(text)
