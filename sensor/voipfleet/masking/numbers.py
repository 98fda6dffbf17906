"""Telephone numbers masked but for their last digits, in texts and where they stand in SIP messages. No I/O.

In a user part, a display name or a digest's user name every digit belongs to the number. Elsewhere (a header that is
not known, a text) runs of five digits and more do, with the separators that people write. What stays: Call-IDs, tags,
branches, addresses, domains, the figures of headers that are known.
"""

import re

from voipfleet.masking import tokens
from voipfleet.masking.filling import Span, filled, merged, solid
from voipfleet.masking.secrets import BLANK_LINE, hidden_body, opaque

_TEXT_DIGIT = re.compile(r"(%3[0-9]|\d)|%[0-9A-Fa-f]{2}")


def number(text: str, keep: int) -> str:
    """A number, or the name of somebody, with its digits as `x` but for the last `keep`."""
    at = [match.span() for match in _TEXT_DIGIT.finditer(text) if match[1]]
    for start, end in reversed(at[: max(len(at) - keep, 0)]):
        text = text[:start] + "x" * (end - start) + text[end:]
    return text


def domain(text: str, keep: int) -> str:
    """A domain as it is, unless it is a number (`sip:4930123456` has no user)."""
    return number(text, keep) if tokens.NUMBER_ONLY.match(text.encode("utf-8", "replace")) else text


def text(value: str, keep: int) -> str:
    """Any text, with the numbers and URIs in it masked."""
    raw = value.encode("utf-8", "surrogateescape")
    found: list[Span] = []
    _text(raw.lower(), 0, len(raw), keep, found)
    return filled(raw, merged(found)).decode("utf-8", "surrogateescape") if found else value


def digits(data: bytes, start: int, end: int, keep: int) -> list[Span]:
    """Where between two places the digits of one number stand, but its last `keep`."""
    found: list[Span] = []
    _digits(data, start, end, keep, found)
    return found


def spans(message: bytes, keep: int) -> list[Span]:
    """Where the digits stand that are to be masked, in order."""
    low = message.lower()
    found: list[Span] = []
    begin = len(low) - len(low.lstrip(b"\r\n"))
    blank = BLANK_LINE.search(low, begin)
    end = blank.start() + 1 if blank else len(low)
    _headers(low, _start_line(low, begin, end, keep, found), end, keep, found)
    if blank and blank.end() < len(low):
        _body(low, blank.end(), keep, found)
    return merged(found)


def _start_line(low: bytes, start: int, end: int, keep: int, found: list[Span]) -> int:
    """Of a request the URI, of a response the reason phrase; where the headers begin."""
    after = low.find(b"\n", start, end) + 1 or end
    if low.startswith(b"sip/", start):
        _text(low, start, after, keep, found)
    elif (version := low.rfind(b" sip/", start, after)) >= 0:
        _text(low, low.find(b" ", start, after), version, keep, found)
    else:
        return start  # no message, or the rest of one
    return after


def _headers(low: bytes, start: int, end: int, keep: int, found: list[Span]) -> None:
    for match in tokens.HEADER.finditer(low, start, end):
        name = match[1]
        if name in tokens.SAFE or (name := name.strip()) in tokens.SAFE:
            continue
        at, to = match.span(2)
        if name in tokens.CREDENTIALS:
            found += opaque(low, at + 1, to)
            for user in tokens.USERNAME.finditer(low, at, to):
                _digits(low, *user.span(user.lastindex), keep, found)
            for uri in tokens.URI.finditer(low, at, to):
                _uri(low, uri, keep, found)
        elif name in tokens.IDENTITY:
            found += [passport.span(1) for passport in tokens.PASSPORT.finditer(low, at, to)]
        else:
            _text(low, match.start(), to, keep, found)


def _body(low: bytes, start: int, keep: int, found: list[Span]) -> None:
    """What begins at `start`: session descriptions are known, all else is text."""
    found += hidden_body(low, start)
    if any(kind in low for kind in (b"/isup", b"/qsig", b"/x-q931", b"3gpp.sms")):
        _binary(low, found)
    at, end = start - 1, len(low)  # with the line end before
    while at < end:
        session = low.find(b"\nv=0", at)
        session = end if session < 0 else session
        if session > at:
            _text(low, at, session, keep, found, tokens.BODY)
        at = low.find(b"\n--", session + 1) if session < end else end
        at = end if at < 0 else at
        _session(low, session, at, keep, found)


def _session(low: bytes, start: int, end: int, keep: int, found: list[Span]) -> None:
    """A session description: names of users and sessions, addresses of people, and URIs; the other figures stay."""
    for line in tokens.SDP_LINE.finditer(low, start, end):
        _digits(low, *line.span(line.lastindex), keep, found)
    if low.find(b"cname:", start, end) >= 0:
        for name in tokens.SDP_NAME.finditer(low, start, end):
            _digits(low, *name.span(1), keep, found)
    if any(low.find(scheme, start, end) >= 0 for scheme in (b"sip", b"tel:")):
        for match in tokens.URI.finditer(low, start, end):
            _uri(low, match, keep, found)


def _binary(low: bytes, found: list[Span]) -> None:
    """Bodies, or parts, that hold numbers in half bytes: all of them."""
    boundary = tokens.BOUNDARY.search(low)
    end = 0
    for kind in tokens.BINARY.finditer(low):
        if kind.start() < end:
            continue  # within one that is masked
        if not (blank := BLANK_LINE.search(low, kind.end())):
            return
        end = low.find(b"\n--" + boundary[1], blank.end() - 1) if boundary else -1
        end = len(low) if end < 0 else end
        found += solid(low, blank.end(), end)


def _text(low: bytes, start: int, end: int, keep: int, found: list[Span], pattern: re.Pattern = tokens.TEXT) -> None:
    if not tokens.ANY.search(low, start, end):
        return
    named = low.find(b"<", start, end) >= 0  # perhaps
    for match in pattern.finditer(low, start, end):
        kind = match.lastindex
        if kind == tokens.RUN:
            first, last = match.span(tokens.RUN)
            long = last - first >= tokens.LEAST and _counts(low, first, last)
            if long or (named and last - first > keep and tokens.DISPLAY.match(low, last, end)):
                _digits(low, first, last, keep, found)
        elif kind == tokens.HOST:
            _uri(low, match, keep, found)
        elif kind == tokens.PARAMETER:
            _digits(low, *match.span(kind), 0, found)


def _counts(low: bytes, start: int, end: int) -> bool:
    """Whether a run has as many digits as make a number wherever it stands."""
    return sum(one[1] is not None for one in tokens.ONE.finditer(low, start, end)) >= tokens.LEAST


def _uri(low: bytes, match: re.Match, keep: int, found: list[Span]) -> None:
    start, end = match.span(1)
    if start >= 0:
        cut = low.find(b";", start, end)
        cut = end if cut < 0 else cut
        _digits(low, start, cut, keep, found)
        _digits(low, cut, end, 0, found)
    start, end = match.span(2)
    if low[match.start()] in b"tf":  # tel, fax
        _digits(low, start, end, keep, found)
        return
    port = low.find(b":", start, end)
    end = end if port < 0 else port
    if tokens.NUMBER_ONLY.match(low, start, end):
        _digits(low, start, end, keep, found)


def _digits(low: bytes, start: int, end: int, keep: int, found: list[Span]) -> None:
    """All digits between but the last `keep`."""
    if plain := tokens.PLAIN.match(low, start, end):
        found.append((plain.start(1), end - keep))
        return
    at = [one.span() for one in tokens.ONE.finditer(low, start, end) if one[1]]
    found += at[: max(len(at) - keep, 0)]
