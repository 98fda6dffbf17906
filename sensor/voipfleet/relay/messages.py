"""What travels about packets, in the frames of the link (docs/link.md). Arrays on the wire: the order is the format."""

from typing import Annotated

import msgspec

from voipfleet.records.messages import Number, Uuid

MAX_PART = 64 << 10  # bytes of a block in one frame: keep-alives and acknowledgements go between
MAX_PARTS = 64
MAX_HOPS = 8


class Origin(msgspec.Struct, array_like=True, frozen=True):
    """Who captured the packets, and the instances through which they came (their uuids), the first one first.

    `epoch` and `number` name the block in the buffer of the first one, so that everybody can tell whether he had it
    before, by whatever way; there they are empty, since the Part has them. `offset`: µs by which the clock of the first
    one is ahead of the sender's.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    hops: Annotated[list[Uuid], msgspec.Meta(min_length=1, max_length=MAX_HOPS)]
    epoch: Annotated[bytes, msgspec.Meta(max_length=16)] = b""
    number: Number = 0
    offset: Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)] = 0


class Part(msgspec.Struct, array_like=True, frozen=True):
    """A part of block `number` of the stream `epoch`; `part` counts from 0, `packets` are those of the whole block."""

    epoch: Uuid
    number: Number
    part: Annotated[int, msgspec.Meta(ge=0, lt=MAX_PARTS)]
    parts: Annotated[int, msgspec.Meta(ge=1, le=MAX_PARTS)]
    packets: Number
    origin: Origin
    body: Annotated[bytes, msgspec.Meta(max_length=MAX_PART)]


class Taken(msgspec.Struct, array_like=True, frozen=True):
    """Every block through `through` of `epoch` is in the receiver's hands."""

    epoch: Uuid
    through: Number


class Lost(msgspec.Struct, array_like=True, frozen=True):
    """Blocks `first`..`last` that the source had to drop: so many packets, so many bytes."""

    epoch: Uuid
    first: Number
    last: Number
    packets: Number
    size: Number
    reason: str


class Heard(msgspec.Struct, array_like=True, frozen=True):
    """Everything that `origin` captured before `clock` (ns, its own) has been sent: it is quiet, not slow."""

    origin: Origin
    clock: Number


class Handed(msgspec.Struct, array_like=True, frozen=True):
    """From the courier to the engine: block `seq` for the analysis, or with HEARD what an origin's clock says.

    `sensor` captured it; `shift` ns are to be taken off its times; `offset` ms is what records say of its clock.
    """

    sensor: str
    shift: int
    offset: float
    seq: int = 0
    body: bytes = b""
    clock: int = 0  # ns, shifted already
