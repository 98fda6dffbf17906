"""What the daemon answers about a call and who holds its packets, checked. No I/O.

The daemon passes on what sensors say of themselves: names become harmless here, figures are figures, and nothing that
a sensor says is ever a path.
"""

import datetime
import math
import re
from typing import Annotated

import msgspec

from voipfleet.calls.record import TIMES, CallRecord, ns_of
from voipfleet.errors import VoipfleetError
from voipfleet.harmless import harmless

LONGEST = 64  # characters of a name
MAX_HOLDERS = 256
_ODD = re.compile(r"[^A-Za-z0-9._-]+")

Hex = Annotated[str, msgspec.Meta(pattern=r"^(?:[0-9a-f]{32})?\Z")]


class Holder(msgspec.Struct, kw_only=True):
    """An instance that has packets of the call: `sensor` its uuid ("" for the instance that was asked), `uuid` the name
    of the call there. `since`: in this state, s since the epoch."""

    sensor: Hex
    name: str
    uuid: Hex
    state: str
    clock_offset_ms: float | None = None
    since: float | None = None

    def __post_init__(self) -> None:
        self.name = plain(self.name) or self.sensor[:8] or "here"
        if self.clock_offset_ms is not None and not math.isfinite(self.clock_offset_ms):
            self.clock_offset_ms = None

    @property
    def there(self) -> bool:
        return self.state in ("connected", "here")


class Served(msgspec.Struct, kw_only=True):
    """The end of a fetch: `digest` is BLAKE2b-16 over all `bytes` from the first on; `missing` a sentence, and so is
    `note`: what was left out on purpose."""

    bytes: Annotated[int, msgspec.Meta(ge=0)]
    digest: Hex
    packets: Annotated[int, msgspec.Meta(ge=0)] = 0
    clock_offset_ms: float | None = None
    missing: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        self.missing, self.note = harmless(self.missing), harmless(self.note)


def holders(answer: dict) -> list[Holder]:
    """Of an answer to `find`, in a fixed order."""
    found = _converted(answer.get("holders"), list[Holder])
    if len(found) > MAX_HOLDERS:
        raise VoipfleetError(f"the daemon names {len(found)} holders of one call; look at its log, and report it")
    return sorted(found, key=lambda holder: (holder.name, holder.sensor, holder.uuid))


def served(answer: dict) -> Served:
    """Of an answer to `fetch`."""
    return _converted(answer, Served)


def call(answer: dict) -> CallRecord:
    """The record in an answer to `find`: what record.to_json wrote."""
    row = answer.get("call")
    if not isinstance(row, dict):
        raise _odd("call: not an object")
    try:
        row = {**row, "uuid": bytes.fromhex(row.get("uuid") or ""), **_times(row, TIMES)}
        row["streams"] = [{**stream, "ssrc": _number(stream.get("ssrc")), **_times(stream, ("first", "last"))}
                          for stream in row.get("streams") or ()]  # fmt: skip
        row["media"] = [{**media, **_times(media, ("until",))} for media in row.get("media") or ()]
    except (ValueError, TypeError, AttributeError) as error:
        raise _odd(str(error)) from None
    return _converted(row, CallRecord)


def plain(name: str) -> str:
    """A name as a part of a file's name and of a line on a terminal: letters, digits, `.`, `_` and `-`."""
    return _ODD.sub("-", name).strip(".-")[:LONGEST]


def _converted(value, kind: type):
    try:
        return msgspec.convert(value, kind, strict=False, str_keys=True)
    except msgspec.ValidationError as error:
        raise _odd(str(error)) from None


def _odd(why: str) -> VoipfleetError:
    return VoipfleetError(f"the daemon's answer is not as expected ({harmless(why)}); is it of another release?")


def _times(row: dict, names: tuple[str, ...]) -> dict[str, int]:
    return {name: _ns(row.get(name)) for name in names}


def _ns(value: str | int | None) -> int:
    """Nanoseconds since the epoch of RFC 3339 with microseconds; 0 where there is no time."""
    if not value or isinstance(value, int):
        return value or 0
    return ns_of(datetime.datetime.fromisoformat(value))


def _number(value: str | int | None) -> int:
    return int(value, 16) if isinstance(value, str) else int(value or 0)
