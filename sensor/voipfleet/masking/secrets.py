"""Where secrets stand in a SIP message: what opens something, and digits that were pressed. No I/O.

Responses to a digest challenge, from which a password can be tried off line; other credentials; keys of SRTP in session
descriptions; passwords in URIs. They are looked for wherever they may stand, also within bodies and in messages that
are cut short or wrong: rather too much is masked than too little. Each search consumes what it looks at, so the time
is linear in the message's length.
"""

import re
from bisect import bisect_right

from voipfleet.masking.filling import Span, merged, solid

# A header of credentials, folded or not. Some put a blank before the colon, and servers obey worse (CVE-2016-9938).
_CREDENTIALS = re.compile(
    rb"^(?:proxy-)?auth(?:orization|entication-info)[\x00-\x09\x0b-\x20]*:[ \t]*((?:[^\n]*+\n[ \t])*+[^\n]*+)", re.M
)
_SCHEME = re.compile(rb"\s*([^\s,=\"]+)\s+(?!=)")
_RESPONSE = re.compile(rb"(?:response|rspauth)\s*+=\s*+(?:\"((?:[^\"\\]++|\\.)*+)|([^\s,;\"]++))", re.S)
# RFC 4568 (keys of SRTP), RFC 4567 (MIKEY), and the k= line of RFC 4566
_INLINE = re.compile(rb"inline:[ \t]*([^|;\s]++)")
_KEY_MGMT = re.compile(rb"key-mgmt:[ \t]*[^\s:]+[ \t:]+(\S++)")
_KEY_LINE = re.compile(rb"^k=[a-z0-9-]+:(\S++)", re.M)
_PASSWORD = re.compile(rb"sips?:[^\s:@<>\"?]{0,256}+:([^\s@<>\"]{1,256}+)@")
_SIGNAL = re.compile(rb"signal[ \t]*+[=:][ \t]*+([^\r\n]++)")
_DIGITS = re.compile(rb"digits\s*+=\s*+(?:\"([^\"<>]*+)|'([^'<>]*+))")  # KPML (RFC 4730), MSCML (RFC 5022)
_DIGIT_TYPE = re.compile(rb"^(?:content-type|c)[ \t]*:\s*[a-z]+/[^\s;,]*?(?:dtmf|digits|telephone-event)[^\n]*", re.M)
_ENCODED = re.compile(rb"^(?:content-encoding|e)[ \t]*:[ \t]*(?!identity\b)[^\s]", re.M)
# By these a message belongs to its call and its transaction; they stay, whatever stands in them.
_IDS = re.compile(rb"^(?:call-id|i|via|v|cseq|content-length|l)[ \t]*:[^\n]*+(?:\n[ \t][^\n]*+)*+", re.M)
BLANK_LINE = re.compile(rb"\n\r?\n")
_WORD = re.compile(rb"\S++")


def spans(message: bytes) -> list[Span]:
    """Where they stand, in order. Line ends are in none."""
    low = message.lower()
    found: list[Span] = []
    if b"authorization" in low or b"authentication-info" in low:
        for match in _CREDENTIALS.finditer(low):
            _credentials(low, *match.span(1), found)
    found += [match.span(1) for match in _PASSWORD.finditer(low)]
    blank = BLANK_LINE.search(low, len(low) - len(low.lstrip(b"\r\n")))
    body = blank.end() if blank else len(low)
    if body < len(low):
        if low.find(b"inline:", body) >= 0:
            found += [match.span(1) for match in _INLINE.finditer(low, body)]
        if low.find(b"key-mgmt", body) >= 0:
            found += [match.span(1) for match in _KEY_MGMT.finditer(low, body)]
        if low.find(b"\nk=", body) >= 0:
            found += [match.span(1) for match in _KEY_LINE.finditer(low, body)]
        if b"dtmf" in low or b"digits" in low or b"audio/telephone-event" in low:
            _pressed(low, body, found)
        found += hidden_body(low, body)
    return merged(_beside_ids(low, body, found)) if found else found


def hidden_body(low: bytes, body: int) -> list[Span]:
    """All of the body, which begins there, if it is compressed: nobody can say what is in it."""
    if b"\ncontent-encoding" not in low and b"\ne:" not in low and b"\ne " not in low:
        return []
    return solid(low, body, len(low)) if _ENCODED.search(low, 0, body) else []


def _beside_ids(low: bytes, body: int, found: list[Span]) -> list[Span]:
    ids = [match.span() for match in _IDS.finditer(low, 0, body)]
    begins = [start for start, _ in ids]
    return [span for span in found if not (at := bisect_right(begins, span[0])) or ids[at - 1][1] <= span[0]]


def opaque(low: bytes, start: int, end: int) -> list[Span]:
    """Of credentials between that are no digest: all that follows on the name of their scheme."""
    scheme = _SCHEME.match(low, start, end)
    if not scheme or scheme[1] == b"digest":
        return []
    return [match.span() for match in _WORD.finditer(low, scheme.end(), end)]


def _credentials(low: bytes, start: int, end: int, found: list[Span]) -> None:
    if hidden := opaque(low, start, end):
        found += hidden
        return
    for match in _RESPONSE.finditer(low, start, end):
        found += solid(low, *match.span(match.lastindex))


def _pressed(low: bytes, body: int, found: list[Span]) -> None:
    """Digits by INFO and by NOTIFY; a part of a type that is made of nothing else is masked whole."""
    for match in _DIGITS.finditer(low, body):
        found += solid(low, *match.span(match.lastindex))
    end = 0
    for kind in _DIGIT_TYPE.finditer(low):
        if kind.start() < end:
            continue  # within a part that is dealt with
        blank = BLANK_LINE.search(low, kind.end() - 1)
        if blank is None:
            return
        end = low.find(b"\n--", blank.end() - 1)
        end = len(low) if end < 0 else end
        signals = [match.span(1) for match in _SIGNAL.finditer(low, blank.end(), end)]
        found += signals or [match.span() for match in _WORD.finditer(low, blank.end(), end)]
