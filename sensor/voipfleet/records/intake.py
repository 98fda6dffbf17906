"""What the engine says of calls, kept until it is known through which blocks that goes; then into the spool."""

from collections.abc import Callable, Mapping

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord
from voipfleet.records.messages import CALL, CHECKPOINT
from voipfleet.records.open_calls import OpenCalls
from voipfleet.records.outbox import Origin
from voipfleet.records.spool import Spool


class Intake:
    """Of the instance `name`. `offset()`: its clock minus its central's, s; None where that is not known."""

    def __init__(self, spool: Spool, name: str, offset: Callable[[], float | None]):
        self._spool, self._name, self._offset = spool, name, offset
        self.open_calls = OpenCalls()
        self.told: Callable[[CallRecord], None] = lambda call: None  # is told of each record and each open call
        self._held: list[tuple[bytes, int, int, bytes]] = []
        self._through = 0

    def record(self, body: bytes) -> None:
        """Of a call that has ended (msgpack CallRecord)."""
        self._held.append(self._row(CALL, body))

    def checkpoint(self, through: int, body: bytes) -> None:
        """An open call as its record would be now; `through`: the last block of other hosts that may be in it."""
        row = self._row(CHECKPOINT, body)
        if through <= self._through:
            self._spool.put(*row)
        else:
            self._held.append(row)

    def analysed(self, through: int) -> None:
        """All blocks through there are analysed; `note` follows."""
        self._through = through

    def note(self, cursors: Mapping[Origin, int]) -> None:
        """What came until now, and with it how far origins have come: in one transaction."""
        held, self._held = self._held, []
        for row in held:
            self._spool.put(*row)
        if cursors:
            self._spool.note(cursors)

    def end(self, *, come_again: bool) -> None:
        """The engine has ended. What it said no more of how far it goes is of blocks that other hosts send again, where
        there are any (`come_again`): kept, those would be recorded twice."""
        if come_again:
            self._held.clear()
        self.note({})

    def _row(self, kind: int, body: bytes) -> tuple[bytes, int, int, bytes]:
        call = record.decode(body)
        offset = self._offset()
        own = call.sensor == self._name  # also where its packets of an earlier role were analysed like another host's
        if own and (offset is not None or call.analysed_by):
            call.analysed_by, call.clock_offset_ms = "", None if offset is None else round(offset * 1000, 1)
            body = record.encode(call)
        if kind == CHECKPOINT:
            self.open_calls.put(call, body)
        else:
            self.open_calls.ended(call.uuid)
        self.told(call)
        return call.uuid, call.revision, kind, body
