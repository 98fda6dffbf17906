"""Strict SIP parser over bytes (RFC 3261 section 7), within fixed limits. Only ParseError leaves it."""

import re
from dataclasses import dataclass, field

MAX_LINE, MAX_HEAD, MAX_HEADERS, MAX_VALUE = 8 << 10, 32 << 10, 128, 255
MAX_NAMES = 1024
_COMPACT = {b"i": b"call-id", b"f": b"from", b"t": b"to", b"m": b"contact", b"l": b"content-length",
            b"v": b"via", b"c": b"content-type", b"s": b"subject", b"k": b"supported"}  # fmt: skip
_TOKEN = re.compile(rb"[A-Za-z0-9.!%*_+`'~-]+\Z")
_REQUEST = re.compile(rb"([A-Z]{1,32}) (\S+) SIP/2\.0\Z")
_STATUS = re.compile(rb"SIP/2\.0 ([1-6][0-9]{2})(?: (.*))?\Z", re.S)
_CSEQ = re.compile(rb"([0-9]{1,10})[ \t]+([A-Za-z]{1,32})\Z")
_TAG = re.compile(rb";[ \t]*tag[ \t]*=[ \t]*([^;, \t>]+)", re.I)
_URI = re.compile(rb"(?:sips?|tel):(?:([^@>;? ]*)@)?([^>;? ]*)", re.I)


class ParseError(ValueError):
    """Not a SIP message that this parser accepts; the text is a short reason, fit for a counter."""


@dataclass(slots=True)
class Message:
    """A message: `status` 0 for a request. Header names are lower case and long; the first of each wins."""

    method: str
    status: int
    call_id: bytes
    cseq: int
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""

    def text(self, name: bytes) -> str:
        return show(self.headers.get(name, b""))


def show(value: bytes) -> str:
    """Bytes for a record: at most MAX_VALUE bytes, UTF-8 where it is, control characters as \\xNN."""
    text = value[:MAX_VALUE].decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


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
    method, status = b"", 0
    if match := _REQUEST.match(lines[0]):
        method = match[1]
    elif match := _STATUS.match(lines[0]):
        status = int(match[1])
    else:
        raise ParseError("start_line")
    if len(lines) > MAX_HEADERS + 1:
        raise ParseError("too_many_headers")
    headers: dict[bytes, bytes] = {}
    last = None
    for line in lines[1:]:
        if line[:1] in (b" ", b"\t"):
            if last is not None and len(headers[last]) < MAX_LINE:
                headers[last] += b" " + line.strip()
            continue
        name, colon, value = line.partition(b":")
        known = _names.get(name) or _name(name)
        last = None
        if colon and known and known not in headers:
            headers[known] = value.strip()
            last = known
    call_id = headers.get(b"call-id", b"")
    cseq = _CSEQ.match(headers.get(b"cseq", b""))
    if not call_id or cseq is None or b"from" not in headers or b"to" not in headers:
        raise ParseError("missing_header")
    size = headers.get(b"content-length", b"")
    if re.fullmatch(rb"[0-9]{1,10}", size):
        body = body[: int(size)]
    name = (cseq[2] if status else method).decode("ascii")
    return Message(name, status, call_id, int(cseq[1]), headers, body)


def tag(value: bytes) -> bytes:
    """The tag of a From or To header, empty where it has none."""
    match = _TAG.search(value[value.rfind(b">") + 1 :])
    return match[1] if match else b""


def party(value: bytes) -> tuple[str, str, str]:
    """(display name, user, host) of a From or To header."""
    before, angle, rest = value.partition(b"<")
    match = _URI.search(rest if angle else value)
    name = before.strip().strip(b'"') if angle else b""
    if match is None:
        return show(name), "", ""
    user, host = match[1], match[2]
    if user is None and match[0][:4].lower() == b"tel:":
        user, host = host, b""
    return show(name), show((user or b"").split(b":")[0]), show(re.sub(rb":[0-9]+\Z", b"", host))
