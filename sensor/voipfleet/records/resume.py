"""Where delivery goes on after a connection: pure logic over both ends' cursors (DELIVERY, row 20 and 21)."""

from dataclasses import dataclass
from enum import Enum

from voipfleet.records.messages import Welcome
from voipfleet.records.tables import OutboxState


class Why(Enum):
    CONTINUE = "continue"  # the store has what we believed it has
    REPLAY = "replay"  # the store has less (new, or restored from a backup): held rows are sent again
    ROLLED_BACK = "rolled back"  # the store has more than we ever sent: this outbox is an older copy


@dataclass(frozen=True, slots=True)
class Resume:
    """Send the rows after `after`; `why` is ROLLED_BACK: under a new epoch. `gone`: the first and the last of the rows
    that the store had acknowledged, has no more, and that are not held here any more either."""

    after: int
    why: Why
    gone: tuple[int, int] | None = None


def plan(state: OutboxState, uuid_at_last: bytes | None, welcome: Welcome) -> Resume:
    """`uuid_at_last`: the uuid that this outbox holds at `welcome.last_seq`, None if not held any more."""
    held = state.floor - 1
    if welcome.epoch != state.epoch:
        return Resume(held, Why.REPLAY if state.acked_through > held else Why.CONTINUE)
    beyond = welcome.last_seq >= state.next_seq
    other = uuid_at_last is not None and welcome.last_uuid and uuid_at_last != welcome.last_uuid
    if beyond or other:
        return Resume(held, Why.ROLLED_BACK)
    if welcome.last_seq < state.acked_through:
        gone = (welcome.last_seq + 1, held) if held > welcome.last_seq else None
        return Resume(max(held, welcome.last_seq), Why.REPLAY, gone)
    return Resume(max(held, welcome.last_seq), Why.CONTINUE)
