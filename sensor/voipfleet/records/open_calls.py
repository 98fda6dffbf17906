"""The calls that are up, as their newest checkpoints have them. No I/O."""

from collections.abc import Iterator

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord

MAX_OPEN = 20_000  # as many as an analysis keeps


class OpenCalls:
    def __init__(self) -> None:
        self._calls: dict[bytes, tuple[str, bytes]] = {}  # uuid: Call-ID, msgpack; who said something last stands last

    def put(self, call: CallRecord, body: bytes) -> None:
        """What is known of an open call now."""
        self._calls.pop(call.uuid, None)
        self._calls[call.uuid] = call.call_id, body
        if len(self._calls) > MAX_OPEN:
            del self._calls[next(iter(self._calls))]

    def ended(self, uuid: bytes) -> None:
        self._calls.pop(uuid, None)

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[CallRecord]:
        """The one first of which something was said last."""
        for _, body in reversed(list(self._calls.values())):
            yield record.decode(body)

    def find(self, uuid: bytes, call_id: str) -> CallRecord | None:
        """The call of that uuid, or else the last one of that Call-ID."""
        if found := self._calls.get(uuid):
            return record.decode(found[1])
        return next((record.decode(body) for name, body in reversed(self._calls.values()) if name == call_id), None)
