"""Strict SIP parser over bytes (RFC 3261 section 7), within fixed limits. Only ParseError leaves it."""

import re
from dataclasses import dataclass, field

from voipfleet.harmless import harmless

MAX_LINE, MAX_HEAD, MAX_HEADERS, MAX_VALUE = 8 << 10, 32 << 10, 128, 255
MAX_NAMES, MAX_LINES, MAX_HOPS = 1024, 512, 32
_COMPACT = {  # IANA registry
    b"i": b"call-id", b"f": b"from", b"t": b"to", b"m": b"contact", b"l": b"content-length", b"v": b"via",
    b"c": b"content-type", b"s": b"subject", b"k": b"supported", b"e": b"content-encoding", b"o": b"event",
    b"r": b"refer-to", b"b": b"referred-by", b"u": b"allow-events", b"x": b"session-expires", b"a": b"accept-contact",
    b"j": b"reject-contact", b"d": b"request-disposition", b"y": b"identity", b"n": b"identity-info",
}  # fmt: skip
_ONCE = {b"call-id", b"cseq", b"from", b"to", b"content-length", b"content-type", b"max-forwards", b"expires"}
_TOKEN = re.compile(rb"[A-Za-z0-9.!%*_+`'~-]+\Z")
_REQUEST = re.compile(rb"([A-Za-z0-9.!%*_+`'~-]{1,64}) \S+ SIP/([0-9]\.[0-9])\Z", re.I)
_STATUS = re.compile(rb"SIP/([0-9]\.[0-9]) ([1-6][0-9]{2})(?: (.*))?\Z", re.S | re.I)
_CSEQ = re.compile(rb"([0-9]{1,10})[ \t]+([A-Za-z0-9.!%*_+`'~-]{1,64})\Z")
_QUOTED = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"', re.S)
_QUOTES = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.S)  # also one that does not end: it hides what follows
_ESCAPE = re.compile(rb"\\(.)", re.S)
_TAG = re.compile(rb"(?:\A|;)[ \t]*tag[ \t]*=[ \t]*([^;, \t>\"]+)", re.I)
_BRANCH = re.compile(rb";[ \t]*branch[ \t]*=[ \t]*([^;, \t]+)", re.I)
_LENGTH = re.compile(rb"[0-9]{1,10}\Z")
_HOST_END, _PORT = re.compile(rb"[;?]"), re.compile(rb":[0-9]*\Z")
_NUMBER = re.compile(rb"([0-9*#+().-]+);")  # a telephone number with parameters (RFC 3966), as `+49;rn=1@host`


class ParseError(ValueError):
    """Not a SIP message that this parser accepts; the text is a short reason, fit for a counter."""


@dataclass(slots=True)
class Message:
    """A message: `status` 0 for a request. Header names are lower case and long; the first of each wins.

    Via alone is the list of all values, with commas.
    """

    method: str
    status: int
    call_id: bytes
    cseq: int
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    from_tag: bytes = b""
    to_tag: bytes = b""
    odd: tuple[str, ...] = ()  # what is wrong with it and yet no reason to refuse it: words for counters

    def text(self, name: bytes) -> str:
        return show(self.headers.get(name, b""))

    def branches(self) -> list[bytes]:
        """What names its transaction at each hop, the nearest first: the branches of Via (RFC 3261 8.1.1.7)."""
        found = []
        for via in self.headers.get(b"via", b"").split(b",")[:MAX_HOPS]:
            match = _BRANCH.search(via)
            found.append(match[1] if match else via.split(b";")[0].strip())
        return found


def show(value: bytes) -> str:
    """Bytes for a record: at most MAX_VALUE bytes, UTF-8 where it is, control characters as \\xNN."""
    if len(value) > MAX_VALUE:
        cut = MAX_VALUE
        while cut > MAX_VALUE - 4 and value[cut] & 0xC0 == 0x80:  # not within a character
            cut -= 1
        value = value[:cut]
    text = value.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else harmless(text)


_names: dict[bytes, bytes] = {}  # spellings of header names that were met -> lower case and long


def _name(raw: bytes) -> bytes:
    """A header's name as it is kept; empty for what is no token."""
    name = raw.rstrip(b" \t").lower()
    if not _TOKEN.match(name):
        return b""
    name = _COMPACT.get(name, name)
    if len(_names) < MAX_NAMES and len(raw) <= 40:
        _names[raw] = name
    return name


def _split(data: bytes) -> tuple[bytes, bytes]:
    """(head without its line ends, body): the first empty line parts them."""
    at = data.find(b"\r\n\r\n", 0, MAX_HEAD + 4)
    if at >= 0 and data.find(b"\n\n", 0, at) < 0 and data.find(b"\n\r\n", 0, at + 4) == at + 1:
        return data[:at].rstrip(b"\r\n"), data[at + 4 :]
    cut = re.search(rb"\r?\n\r?\n", data[: MAX_HEAD + 4])
    if cut is None and len(data) > MAX_HEAD:
        raise ParseError("head_too_long")
    head, body = (data[: cut.start()], data[cut.end() :]) if cut else (data, b"")
    return head.rstrip(b"\r\n"), body


def parse(data: bytes) -> Message:
    """The message in one datagram. CRLF, or bare LF as some phones send."""
    data = data.lstrip(b"\r\n")
    head, body = _split(data)
    plain = head.count(b"\n") == head.count(b"\r\n")
    lines = head.split(b"\r\n") if plain else re.split(rb"\r?\n", head)
    if len(head) > MAX_LINE and any(len(line) > MAX_LINE for line in lines):
        raise ParseError("line_too_long")
    method, status, version = b"", 0, b"2.0"
    if match := _STATUS.match(lines[0]):
        version, status = match[1], int(match[2])
    elif match := _REQUEST.match(lines[0]):
        method, version = match[1], match[2]
    else:
        raise ParseError("start_line" if b"SIP/" in lines[0].upper() else "not_sip")
    if version != b"2.0":
        raise ParseError("version")
    headers, odd = _headers(lines[1:])
    call_id, source, target = (headers.get(name, b"") for name in (b"call-id", b"from", b"to"))
    if not (call_id and source and target and b"cseq" in headers):
        raise ParseError("missing_header")
    cseq = _CSEQ.match(headers[b"cseq"])
    if cseq is None or int(cseq[1]) >= 1 << 32:
        raise ParseError("cseq")
    if not status and cseq[2] != method:
        raise ParseError("cseq_method")
    if size := headers.get(b"content-length", b""):
        if _LENGTH.match(size):
            if int(size) > len(body):
                odd.append("short_body")
            body = body[: int(size)]
        else:
            odd.append("content_length")
    return Message(cseq[2].decode("ascii"), status, call_id, int(cseq[1]), headers, body, tag(source), tag(target),
                   tuple(odd))  # fmt: skip


def _headers(lines: list[bytes]) -> tuple[dict[bytes, bytes], list[str]]:
    """Name -> value, and what is odd. A line that is no header is passed over: the next may be sound."""
    headers: dict[bytes, bytes] = {}
    odd: list[str] = []
    vias: list[bytes] = []
    last, count = None, 0
    if len(lines) > MAX_LINES:
        raise ParseError("too_many_lines")
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            if last == b"via":
                vias[-1] += b" " + line.strip()
            elif last is not None and len(headers[last]) < MAX_LINE:
                headers[last] += b" " + line.strip()
            continue
        count += 1
        name, colon, value = line.partition(b":")
        known = _names.get(name) or _name(name)
        last = None
        if not colon or not known:
            odd.append("bad_header")
        elif known == b"via":
            vias.append(value.strip())
            last = known
        elif known not in headers:
            headers[known] = value.strip()
            last = known
        elif known in _ONCE:
            odd.append("dup_header")
    if count > MAX_HEADERS:
        raise ParseError("too_many_headers")
    if vias:
        headers[b"via"] = b",".join(vias)
    return headers, odd


def _parts(value: bytes) -> tuple[bytes, bytes, bytes]:
    """(display name, URI, parameters) of a From or To header: name-addr or addr-spec (RFC 3261 20.10)."""
    value = value.strip()
    name, rest = b"", value
    if match := _QUOTED.match(value):
        name, rest = _ESCAPE.sub(rb"\1", match[1]), value[match.end() :]
    before, angle, after = rest.partition(b"<")
    if not angle:
        uri, semicolon, parameters = rest.partition(b";")
        return name, uri.strip(), semicolon + parameters
    uri, _, parameters = after.partition(b">")
    return name or before.strip().strip(b'"'), uri.strip(), parameters


def tag(value: bytes) -> bytes:
    """The tag of a From or To header, empty where it has none."""
    parameters = _parts(value)[2] if b'"' in value or b"<" in value else value[value.find(b";") :]
    if b'"' in parameters:
        parameters = _QUOTES.sub(b"", parameters)
    match = _TAG.search(parameters)
    return match[1] if match else b""


def party(value: bytes) -> tuple[str, str, str]:
    """(display name, user, host) of a From or To header. A telephone number stands without its parameters."""
    name, uri, parameters = _parts(value)
    if b"@" not in uri and b"@" in parameters and b"<" not in value:
        uri += parameters  # without brackets, what looks like a parameter may be of the user: sip:+49;rn=1@host
    scheme, _, rest = uri.partition(b":")
    kind = scheme.lower()
    if kind == b"tel":
        return show(name), show(rest.split(b";")[0]), ""
    if kind not in (b"sip", b"sips"):
        return show(name), "", ""
    user, at, host = rest.partition(b"@")
    if not at:
        user, host = b"", rest
    user = user.split(b":")[0]
    if match := _NUMBER.match(user):
        user = match[1]
    host = _HOST_END.split(host, maxsplit=1)[0]
    return show(name), show(user), show(_PORT.sub(b"", host))
