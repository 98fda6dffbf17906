"""Calls whose record has left, and what may still come of them: media that other hosts saw, or a BYE. No I/O.

Each makes the record once more, under the same uuid with the next revision.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from voipfleet.calls.dialog import Dialog
from voipfleet.calls.making import Maker
from voipfleet.calls.media import Media, Stream
from voipfleet.calls.record import CallRecord
from voipfleet.calls.reports import Reports
from voipfleet.decode import sip

SECOND = 1_000_000_000
MAX_LATE, MAX_WAITING = 2_000, 20_000


@dataclass(slots=True)
class _Waiting:
    """Until when (ns) more of a call's media may come from other hosts."""

    until: int
    record: CallRecord
    call: Dialog
    partial: list[str]


class Left:
    """`late`: for how long (s) media of a call may come after it has left; it leaves at multiples of `grid` (ns)."""

    def __init__(self, media: Media, maker: Maker, reports: Reports, late: int, grid: int):
        self._media, self._maker, self._reports, self._patience, self._grid = media, maker, reports, late, grid
        self._late: dict[bytes, tuple[CallRecord, Dialog]] = {}  # that left without a BYE, which may yet come
        self._waiting: dict[bytes, _Waiting] = {}

    def __bool__(self) -> bool:
        """Whether media of any may still come."""
        return bool(self._waiting)

    def __contains__(self, key: bytes) -> bool:
        return key in self._waiting

    def add(self, key: bytes, call: Dialog, record: CallRecord, partial: list[str], streams: list[Stream],
            now: int) -> int | None:  # fmt: skip
        """A record has left at `now`; when it is to be looked at again, None: never."""
        if record.end_reason in ("timeout", "rtp_timeout") and call.answer:
            self._late[key] = record, call
        if not (self._patience and call.media):
            self._release(key, call, streams)
            return None
        until = -(-(now + self._patience * SECOND) // self._grid) * self._grid
        self._waiting[key] = _Waiting(until, record, call, partial)
        return until

    def over(self, now: int) -> list[CallRecord]:
        """The records that changed, of calls of which all has come; `now`: until when everybody has told all."""
        excess = len(self._waiting) - MAX_WAITING
        keys = [key for at, (key, left) in enumerate(self._waiting.items()) if left.until <= now or at < excess]
        return [revised for key in keys for revised in self.settle(key)]

    def after(self, due: int) -> Iterator[int]:
        """When calls are to be looked at again after `due`."""
        return (left.until for left in self._waiting.values() if left.until > due)

    def finish(self) -> list[CallRecord]:
        """Nothing more comes of any."""
        return [revised for key in list(self._waiting) for revised in self.settle(key)]

    def settle(self, key: bytes) -> list[CallRecord]:
        """The time for late evidence is over: the record once more where there was some."""
        left = self._waiting.pop(key)
        streams = self._media.claim(key, left.call.media, left.call.setup)
        fresh = self._maker.make(left.call, streams, left.record.end_reason, left.partial)
        self._release(key, left.call, streams)
        same = {name: getattr(left.record, name) for name in ("revision", "clock_offset_ms")}
        fresh = msgspec.structs.replace(fresh, **same)
        if fresh == left.record:
            return []
        fresh.revision += 1
        if key in self._late:
            self._late[key] = fresh, left.call
        return [fresh]

    def bye(self, message: sip.Message, ts: int) -> list[CallRecord]:
        """A BYE of a call that had left for want of one: its record again, with the end that it really had."""
        if message.call_id not in self._late:
            return []
        call, dialog = self._late.pop(message.call_id)
        side = dialog.side(message)
        since = call.answer_time or call.setup_time
        changes = {"end_time": ts, "hung_up_by": side, "end_reason": "bye", "revision": call.revision + 1,
                   "duration": round((ts - call.setup_time) / 1e9, 6),
                   "connect_duration": round((ts - since) / 1e9, 6) if call.answer_time else 0.0}  # fmt: skip
        return [msgspec.structs.replace(call, **changes)]

    def forget(self) -> None:
        """The oldest that only a BYE could change."""
        while len(self._late) > MAX_LATE:
            del self._late[next(iter(self._late))]

    def _release(self, key: bytes, call: Dialog, streams: list[Stream]) -> None:
        for stream in streams:
            self._reports.drop(stream.src[:2], stream.dst[:2], stream.ssrc)
        self._media.release(key, call.media, streams)
