"""What travels about records: between outbox and store, and in the frames of the link (docs/link.md).

All are arrays on the wire (msgpack), so the order of the fields is the format.
"""

from typing import Annotated

import msgspec

# kinds of a row
CALL, PROBE, GAP = 1, 2, 3
CHECKPOINT = 0  # of an open call: stays in the outbox, and is replaced by the call's record

MAX_ROWS, MAX_BATCH_BYTES, WINDOW = 500, 512 << 10, 8
MAX_COUNTERS = 256  # of a status
MAX_TEXT = 1024  # characters of each of its texts

Uuid = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]


class Row(msgspec.Struct, array_like=True, frozen=True):
    """One row of an outbox: `body` is a msgpack CallRecord (CALL), empty (PROBE) or a GapRecord (GAP)."""

    seq: Number
    uuid: Uuid
    revision: Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]
    kind: int
    body: bytes


class GapRecord(msgspec.Struct, array_like=True, frozen=True):
    """Records that a sensor had to discard: `count` of them, sequence numbers `from_seq`..`to_seq`."""

    from_seq: int
    to_seq: int
    count: int
    reason: str
    at: int  # ns since the epoch


class Batch(msgspec.Struct, array_like=True, frozen=True):
    """Rows in ascending order of `seq`, from the outbox whose life is named by `epoch` (16 random bytes)."""

    epoch: Uuid
    rows: Annotated[list[Row], msgspec.Meta(max_length=MAX_ROWS)]


class Ack(msgspec.Struct, array_like=True, frozen=True):
    """Everything through `through_seq` of `epoch` is committed; `uuid` is that of the row at it."""

    epoch: bytes
    through_seq: int
    uuid: bytes = b""


class Welcome(msgspec.Struct, array_like=True, frozen=True):
    """The server's first message: where it stands with this sensor. `epoch` empty: it has nothing yet."""

    session: bytes
    central: bytes  # uuid of the central's store
    central_name: str
    epoch: bytes = b""
    last_seq: int = 0
    last_uuid: bytes = b""


class Status(msgspec.Struct, array_like=True, frozen=True):
    """What a sensor tells about itself every few seconds, for the registry of sensors."""

    name: Text
    sensor_id: int
    version: Text
    mode: Text
    site: Text
    started: int  # ns since the epoch
    counters: Annotated[dict[Annotated[str, msgspec.Meta(max_length=64)], int], msgspec.Meta(max_length=MAX_COUNTERS)]
