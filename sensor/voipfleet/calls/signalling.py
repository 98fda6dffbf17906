"""SIP messages in, open calls kept: which message belongs to which call, and the bounds of that memory. No I/O."""

from collections.abc import Callable, Iterator, Mapping

from voipfleet.calls.dialog import Dialog, Endpoint, Host
from voipfleet.decode import sip

MAX_CALLS = 20_000
MAX_OF_ONE = MAX_CALLS // 4  # calls that one host may have in the table: a flood must not evict the others
KEEP_ENDED = 60_000_000_000  # ns for which the Call-ID of a call that left is known
METHODS = frozenset(("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "UPDATE", "SUBSCRIBE", "NOTIFY",
                     "PUBLISH", "INFO", "REFER", "MESSAGE"))  # fmt: skip


class Signalling:
    """The open calls of one sensor by Call-ID. `count(name)` is told what was met."""

    def __init__(self, count: Callable[..., None], alias: Mapping[Host, Host]):
        self._count, self._alias = count, alias
        self._calls: dict[bytes, Dialog] = {}
        self._half_open: dict[bytes, None] = {}  # those that nobody has answered, the oldest first
        self._of_host: dict[str, dict[bytes, None]] = {}  # by where the call came from
        self._ended: dict[bytes, tuple[int, int]] = {}  # of calls that left: when, and the last CSeq of an INVITE

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[tuple[bytes, Dialog]]:
        return iter(list(self._calls.items()))

    def get(self, key: bytes) -> Dialog | None:
        return self._calls.get(key)

    def answered(self, key: bytes) -> bool:
        call = self._calls.get(key)
        return call is None or call.answer > 0

    def crowded(self, src: str) -> bytes | None:
        """Which call must leave before another one from `src` may come; half-open ones first. None: there is room."""
        mine = self._of_host.get(src.rpartition(":")[0], {})
        if len(mine) >= MAX_OF_ONE:
            return next((key for key in list(mine)[:64] if key in self._half_open), next(iter(mine)))
        if len(self._calls) >= MAX_CALLS:
            return next(iter(self._half_open), next(iter(self._calls)))
        return None

    def concerns(self, message: sip.Message) -> bool:
        """Whether the message is of a call that has a record or will have one."""
        return _begins(message) or message.call_id in self._calls or message.call_id in self._ended

    def belongs(self, message: sip.Message) -> bool:
        """Whether the message is of a call or may begin one; what is not is counted."""
        method = message.method.lower() if message.method in METHODS else "other_method"
        self._count("sip_responses" if message.status else f"sip_{method}")
        for word in message.odd:
            self._count(f"sip_odd_{word}")
        if message.call_id in self._calls:
            return True
        begins = _begins(message)
        ended = self._ended.get(message.call_id)
        if ended is not None:
            if begins and message.cseq > ended[1]:
                return True  # the same Call-ID tries again after its call has left
            self._count("sip_after_call")
            return False
        if not begins and message.method in ("INVITE", "ACK", "BYE", "CANCEL", "PRACK", "UPDATE", "INFO", "REFER"):
            self._count("sip_without_call")
        return begins

    def open(self, message: sip.Message, ts: int, src: str, dst: str, transport: str, sensor: str) -> Dialog:
        call = Dialog(message, ts, src, dst, transport, sensor, self._alias)
        self._calls[message.call_id] = call
        self._half_open[message.call_id] = None
        self._of_host.setdefault(src.rpartition(":")[0], {})[message.call_id] = None
        return call

    def take(self, call: Dialog, message: sip.Message, ts: int, path: tuple, sensor: str) -> list[Endpoint]:
        """The message to its call; the media endpoints that it names. Raises ParseError for a bad body."""
        try:
            return call.take(message, ts, path, sensor)
        finally:
            if call.answer:
                self._half_open.pop(message.call_id, None)

    def remove(self, key: bytes, now: int) -> Dialog:
        call = self._calls.pop(key)
        self._half_open.pop(key, None)
        host = call.src.rpartition(":")[0]
        del self._of_host[host][key]
        if not self._of_host[host]:
            del self._of_host[host]
        self._ended[key] = (now, call.cseq)
        if call.strange:
            self._count("sip_out_of_state", call.strange)
        return call

    def forget(self, now: int) -> None:
        """Call-IDs of calls that left long ago."""
        for key in list(self._ended):  # in the order in which they left, nearly
            if self._ended[key][0] > now - KEEP_ENDED:
                break
            del self._ended[key]


def _begins(message: sip.Message) -> bool:
    """Whether a call may begin by it."""
    return message.method == "INVITE" and not message.status and not message.to_tag
