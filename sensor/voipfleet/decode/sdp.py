"""Audio media of a session description (RFC 8866), within fixed limits. Only ParseError leaves it."""

import ipaddress
import re
from dataclasses import dataclass, field

from voipfleet.decode.sip import ParseError

MAX_MEDIA, MAX_ATTRIBUTES = 16, 256
STATIC = {
    0: ("PCMU", 8000),
    3: ("GSM", 8000),
    4: ("G723", 8000),
    8: ("PCMA", 8000),
    9: ("G722", 8000),
    13: ("CN", 8000),
    15: ("G728", 8000),
    18: ("G729", 8000),
}  # fmt: skip  (RFC 3551)
_MEDIA = re.compile(rb"audio ([0-9]{1,5})(?:/[0-9]{1,5})? RTP/S?AVPF?((?: [0-9]{1,3})*)[ \t]*\Z")
_RTPMAP = re.compile(rb"rtpmap:([0-9]{1,3})[ \t]+([^/ ]{1,32})/([0-9]{1,6})")


@dataclass(slots=True)
class Media:
    """One audio stream's receiver: address (high, low of 128 bits), port, payload type -> (codec, clock rate)."""

    address: tuple[int, int]
    port: int
    codecs: dict[int, tuple[str, int]] = field(default_factory=dict)
    ptime: float = 0.0


def _address(value: bytes) -> tuple[int, int]:
    parts = value.split()
    try:
        ip = ipaddress.ip_address(parts[2].split(b"/")[0].decode("ascii"))
    except (IndexError, ValueError) as error:
        raise ParseError("sdp_address") from error
    number = int(ip) if ip.version == 6 else int(ip) | 0xFFFF << 32
    return number >> 64, number & (1 << 64) - 1


def parse(body: bytes) -> list[Media]:
    """The audio media of `body` that have a port and an address."""
    found: list[Media] = []
    session, media, sections, attributes = None, None, 0, 0
    for line in re.split(rb"\r?\n", body):
        kind, value = line[:2], line[2:]
        if kind == b"m=":
            sections += 1
            if sections > MAX_MEDIA:
                raise ParseError("sdp_media")
            media = None
            if (match := _MEDIA.match(value)) and 0 < int(match[1]) <= 65535:
                types = [int(word) for word in match[2].split() if int(word) < 128]
                media = Media(session or (0, 0), int(match[1]), {t: STATIC.get(t, ("", 8000)) for t in types})
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
                media.codecs[int(match[1])] = (match[2].decode("ascii", "replace"), int(match[3]))
            elif media is not None and re.fullmatch(rb"ptime:[0-9]{1,4}", value):
                media.ptime = float(value[6:])
    return [media for media in found if media.address != (0, 0)]
