"""What the courier asks of the engine while it runs: one dict an order, `what` and its fields; one dict back.

* `seal`: everything that is staged becomes part of the packet store; answered once it is written
* `look`, uuid: the record of an open call as it is now (msgpack), or an error
* `filter`, programs by link type: the capture filter of all interfaces until the next start, or of none of them
* `keep`, path of the configuration: its limits of the packet store from now on
"""

import logging
from collections.abc import Iterator

import msgspec

from voipfleet.errors import VoipfleetError

log = logging.getLogger("voipfleet.engine")


class Orders:
    """Taken one by one; `done` gives the answers that are ready, as the pipe carries them."""

    def __init__(self, rings: list, analyser, store):
        self._rings, self._analyser, self._store = rings, analyser, store
        self._answers: list[bytes] = []
        self._sealing: list[tuple[int, int]] = []  # order, and the segment through which all must be written

    def take(self, body: bytes) -> None:
        order = msgspec.msgpack.decode(body)
        number = order.pop("n")
        try:
            said = getattr(self, "_" + order.pop("what"))(number, **order)
        except VoipfleetError as error:
            said = {"error": str(error)}
        except Exception as error:  # an order must not end the capture
            log.exception("an order failed unexpectedly, report this")
            said = {"error": f"internal error ({type(error).__name__}); the log has more, report it"}
        if said is not None:
            self._answer(number, said)

    def done(self) -> Iterator[bytes]:
        while self._sealing and self._store.written(self._sealing[0][1]):
            self._answer(self._sealing.pop(0)[0], {})
        answers, self._answers = self._answers, []
        yield from answers

    def _answer(self, number: int, said: dict) -> None:
        self._answers.append(msgspec.msgpack.encode({"n": number, **said}))

    def _seal(self, number: int) -> dict | None:
        if self._store is None:
            return {}
        self._sealing.append((number, self._store.seal()))
        return None

    def _look(self, number: int, uuid: bytes) -> dict:
        from voipfleet.calls import record

        if self._analyser is None or (call := self._analyser.look(uuid)) is None:
            raise VoipfleetError("this call is not up any more; look for it among the calls that have ended")
        return {"record": record.encode(call)}

    def _filter(self, number: int, programs: dict[int, bytes]) -> dict:
        """Compiled by who orders it: libpcap looks names up, for which no packet waits here."""
        changed = []
        try:
            for ring in self._rings:
                before = ring.program
                ring.filter(programs)
                changed.append((ring, before))
        except VoipfleetError:
            for ring, before in changed:
                ring.use(before)
            raise
        return {}

    def _keep(self, number: int, path: str) -> dict:
        from voipfleet.config import load
        from voipfleet.packetstore.writer import StoreSettings

        if self._store:
            self._store.limit(StoreSettings.from_config(load(path)))
        return {}
