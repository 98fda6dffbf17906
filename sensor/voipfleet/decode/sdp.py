"""Audio and fax media of a session description (RFC 8866), within fixed limits. Only ParseError leaves it."""

import functools
import ipaddress
import re
from dataclasses import dataclass, field

from voipfleet.decode.sip import ParseError, show

MAX_MEDIA, MAX_ATTRIBUTES = 16, 256
STATIC = {  # RFC 3551
    0: ("PCMU", 8000), 3: ("GSM", 8000), 4: ("G723", 8000), 8: ("PCMA", 8000), 9: ("G722", 8000), 13: ("CN", 8000),
    15: ("G728", 8000), 18: ("G729", 8000),
}  # fmt: skip
_MEDIA = re.compile(
    rb"audio ([0-9]{1,5})(?:/[0-9]{1,5})? ((?:UDP/TLS/|TCP/TLS/)?RTP/S?AVPF?)((?: [0-9]{1,3})*)[ \t]*\Z"
)
_FAX = re.compile(rb"image ([0-9]{1,5})(?:/[0-9]{1,5})? udptl t38[ \t]*\Z", re.I)  # T.38 annex D
_DIRECTION = re.compile(rb"(sendrecv|sendonly|recvonly|inactive)[ \t]*\Z")
_BOUNDARY = re.compile(rb"boundary[ \t]*=[ \t]*(?:\"([^\"]{1,70})\"|([^ \t;\",]{1,70}))", re.I)
_IS_SDP = re.compile(rb"^content-type[ \t]*:[ \t]*application/sdp", re.I | re.M)
_EOL = re.compile(rb"\r?\n")
_PTIME = re.compile(rb"ptime:[0-9]{1,4}\Z")
_RTPMAP = re.compile(rb"rtpmap:([0-9]{1,3})[ \t]+([^/ ]{1,32})/([0-9]{1,6})")


@dataclass(slots=True)
class Media:
    """One stream's receiver: address (high, low of 128 bits), port, payload type -> (codec, clock rate).

    `kind` audio or image (T.38); `secure` where the stream is SRTP; `direction` as its side says (RFC 3264).
    """

    address: tuple[int, int]
    port: int
    codecs: dict[int, tuple[str, int]] = field(default_factory=dict)
    ptime: float = 0.0
    kind: str = "audio"
    secure: bool = False
    direction: str = "sendrecv"

    @property
    def held(self) -> bool:
        """The side that says this puts the other on hold (RFC 3264 8.4; by 0.0.0.0 in RFC 2543)."""
        return self.direction in ("sendonly", "inactive") or not self.reachable

    @property
    def reachable(self) -> bool:
        """Something can be sent there."""
        return self.address not in ((0, 0), (0, 0xFFFF << 32))


def host(address: str) -> tuple[int, int]:
    """An address as packets have it: two words of 64 bits, IPv4 mapped to ::ffff:0:0/96. ValueError: it is none."""
    ip = ipaddress.ip_address(address)
    number = int(ip) if ip.version == 6 else int(ip) | 0xFFFF << 32
    return number >> 64, number & (1 << 64) - 1


@functools.lru_cache(4096)
def _address(value: bytes) -> tuple[int, int]:
    parts = value.split()
    try:
        return host(parts[2].split(b"/")[0].decode("ascii"))
    except (IndexError, ValueError) as error:
        raise ParseError("sdp_address") from error


def extract(content_type: bytes, body: bytes) -> bytes:
    """The session description in a message's body, alone or a part of several (RFC 5621); empty where none is."""
    kind = content_type.lower()
    if kind.startswith(b"application/sdp"):
        return body
    if not kind.startswith(b"multipart/") or not (match := _BOUNDARY.search(content_type)):
        return b""
    for part in body.split(b"--" + (match[1] or match[2]), MAX_MEDIA)[1:]:
        head, _, content = part.replace(b"\r\n", b"\n").partition(b"\n\n")
        if _IS_SDP.search(head):
            return content
    return b""


def parse(body: bytes) -> list[Media]:
    """The audio and fax media of `body` that have a port and an address (0.0.0.0 is one: a hold)."""
    found: list[Media] = []
    direction = "sendrecv"
    session, media, sections, attributes = None, None, 0, 0
    for line in _EOL.split(body):
        kind, value = line[:2], line[2:]
        if kind == b"m=":
            sections += 1
            if sections > MAX_MEDIA:
                raise ParseError("sdp_media")
            media = None
            if (match := _MEDIA.match(value)) and 0 < int(match[1]) <= 65535:
                types = [int(word) for word in match[3].split() if int(word) < 128]
                media = Media(session or (0, 0), int(match[1]), {t: STATIC.get(t, ("", 8000)) for t in types},
                              secure=b"SAVP" in match[2], direction=direction)  # fmt: skip
                found.append(media)
            elif (match := _FAX.match(value)) and 0 < int(match[1]) <= 65535:
                media = Media(session or (0, 0), int(match[1]), kind="image", direction=direction)
                found.append(media)
        elif kind == b"c=":
            address = _address(value)
            if media is not None:
                media.address = address
            elif not sections:
                session = address
        elif kind == b"a=":
            attributes += 1
            if attributes > MAX_ATTRIBUTES:
                raise ParseError("sdp_attributes")
            if media is not None and (match := _RTPMAP.match(value)) and int(match[1]) < 128 and int(match[3]):
                media.codecs[int(match[1])] = (show(match[2]), int(match[3]))
            elif match := _DIRECTION.match(value):
                if media is not None:
                    media.direction = match[1].decode("ascii")
                elif not sections:
                    direction = match[1].decode("ascii")
            elif media is not None and _PTIME.match(value):
                media.ptime = float(value[6:])
    return [media for media in found if media.address != (0, 0)]
