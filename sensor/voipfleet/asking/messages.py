"""What travels when one instance asks another (docs/link.md). Arrays on the wire: the order is the format.

Who asks names each question by a number of his own. Answers come in pieces, never more than he has room for: WINDOW
bytes at first, then what MORE adds. A piece takes MIN_COST of it at least, so their number is bounded too.
"""

import json
import re
from typing import Annotated

import msgspec

from voipfleet.errors import VoipfleetError
from voipfleet.records.messages import Number, Status, Uuid

WINDOW = 256 << 10  # bytes of an answer that may be on their way
MAX_DATA = 64 << 10  # bytes of one piece
MIN_COST = 1 << 10  # bytes of the window that a piece takes, however short it is
AT_ONCE = 4  # questions that one session answers at a time
MAX_ARGUMENTS = 16 << 10
MAX_RESULT = 512 << 10
MAX_HOPS = 8  # instances that a question, or what is said of a host, may pass
MAX_SENTENCE = 2000  # characters of an error
_ODD = re.compile(r"[^A-Za-z0-9._-]")


class Ask(msgspec.Struct, array_like=True, frozen=True):
    """`command` for the host `target`, with `arguments` as a JSON object; `who` asks it. `hops`: passed instances."""

    number: Number
    target: Uuid
    command: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    arguments: Annotated[bytes, msgspec.Meta(max_length=MAX_ARGUMENTS)]
    who: Annotated[str, msgspec.Meta(max_length=128)]
    hops: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0


class Data(msgspec.Struct, array_like=True, frozen=True):
    """The next piece of an answer; an empty one says no more than that it is being worked on."""

    number: Number
    body: Annotated[bytes, msgspec.Meta(max_length=MAX_DATA)]


def cost(piece: bytes) -> int:
    """What a piece takes of the window, at both ends."""
    return max(len(piece), MIN_COST)


class Unreached(VoipfleetError):
    """The host that was asked has not answered: it is not connected, or its connection ended before."""


class End(msgspec.Struct, array_like=True, frozen=True):
    """The end of an answer: a result (JSON object), or `error`, a sentence; `unreached` where that is not of the host
    that was asked, but of one on the way to it."""

    number: Number
    error: Annotated[str, msgspec.Meta(max_length=MAX_SENTENCE)] = ""
    body: Annotated[bytes, msgspec.Meta(max_length=MAX_RESULT)] = b"{}"
    unreached: bool = False


class More(msgspec.Struct, array_like=True, frozen=True):
    """Who asks has room for `credit` bytes in addition."""

    number: Number
    credit: Annotated[int, msgspec.Meta(ge=1, le=WINDOW)]


class Cancel(msgspec.Struct, array_like=True, frozen=True):
    """Who asks wants no more of it."""

    number: Number


class Behind(msgspec.Struct, array_like=True, frozen=True):
    """What a host says of itself that is connected to the sender, or further behind it: `hops` are the instances
    between, the one that it is connected to first. `key`: fingerprint; `connected`: since when, ns since the epoch."""

    uuid: Uuid
    hops: Annotated[list[Uuid], msgspec.Meta(min_length=1, max_length=MAX_HOPS)]
    name: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9._-]{1,64}\\Z")]
    address: Annotated[str, msgspec.Meta(max_length=64)]
    key: Annotated[str, msgspec.Meta(max_length=64)]
    connected: Number
    status: Status


def host_name(name: str) -> str:
    """As it may stand in Behind: a listed name may be an IPv6 address."""
    return _ODD.sub("-", name)[:64] or "-"


encode = msgspec.msgpack.Encoder().encode


def decoder(kind: type):
    """From bytes to a message of that kind; MsgspecError or UnicodeDecodeError for what is none."""
    return msgspec.msgpack.Decoder(kind).decode


def arguments(ask: Ask) -> dict:
    """What the command is given; VoipfleetError where that is no JSON object."""
    try:
        return json_object(ask.arguments)
    except ValueError:
        raise VoipfleetError(f"{ask.command}: its arguments are no JSON object; give `key=value`") from None


def json_object(body: bytes) -> dict:
    """The object in `body`; ValueError for anything else."""
    try:
        found = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found
