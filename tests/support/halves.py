"""Parts of calls as several sensors send them, and stores that take them."""

import itertools
import json
import os

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord, MediaRecord, StreamRecord
from voipfleet.central.store import Peer, Store
from voipfleet.records.messages import CALL, Batch, Row

T, S = 1_700_000_000_000_000_000, 1_000_000_000
A, B = "10.0.0.1:4000", "10.0.0.2:5000"


def signalling(at: float = 0.0, length: float = 20.0, ends: tuple[str, str] = (A, B), **more) -> CallRecord:
    """A call that its sensor saw no RTP of: INVITE after `at` s, answered 1 s later, BYE after `length`."""
    start = T + round(at * S)
    end = start + round(length * S)
    media = [MediaRecord(side=side, address=address, codecs={8: ("PCMA", 8000)})
             for side, address in zip(("caller", "callee"), ends, strict=True)]  # fmt: skip
    fields = {"call_id": f"{at}@sip", "setup_time": start, "answer_time": start + S, "end_time": end,
              "duration": length, "connect_duration": length - 1, "end_reason": "bye", "hung_up_by": "caller",
              "final_response": 200, "caller": "100", "callee": "200", "seen": ["caller_sip", "callee_sip"],
              "media": media}  # fmt: skip
    return CallRecord(uuid=os.urandom(16), **(fields | more))


def media(first: float, last: float, ends: tuple[str, str] = (A, B), both: bool = True, ssrc: int = 7,
          **more) -> CallRecord:  # fmt: skip
    """What a sensor that sees no SIP says of RTP between two ends, from and to seconds; `both`: back, too."""
    ways = [ends, ends[::-1]][: 1 + both]
    begin, end = T + round(first * S), T + round(last * S)
    streams = [StreamRecord(direction="", src=src, dst=dst, ssrc=ssrc + n, payload_types=[8], first=begin, last=end,
                            expected=100, received=99, lost=1, loss_bursts=[1] + [0] * 9)
               for n, (src, dst) in enumerate(ways)]  # fmt: skip
    fields = {"call_id": "", "method": "RTP", "setup_time": streams[0].first, "end_time": streams[0].last,
              "duration": last - first, "end_reason": "silent", "streams": streams}  # fmt: skip
    return CallRecord(uuid=os.urandom(16), **(fields | more))


class Sensors:
    """Sends records to a store under names; a sensor's uuid follows from its name."""

    def __init__(self):
        self._seq = itertools.count(1)
        self._epoch = os.urandom(16)

    @staticmethod
    def peer(name: str) -> Peer:
        return Peer(name.encode().ljust(16, b"-"), name, "", "127.0.0.1")

    def send(self, store: Store, name: str, *calls: CallRecord) -> None:
        store.ingest(*self.batch(name, *calls))

    def batch(self, name: str, *calls: CallRecord) -> tuple[Peer, Batch]:
        rows = [Row(next(self._seq), call.uuid, call.revision, CALL, record.encode(call)) for call in calls]
        return self.peer(name), Batch(self._epoch, rows)


def told(store: Store) -> list[dict]:
    """The table of calls without what depends on the order of arrival."""
    found = [json.loads(record.to_json(call)) for call in store.calls()]
    for call in found:
        del call["uuid"], call["revision"]
    return sorted(found, key=lambda call: json.dumps(call, sort_keys=True))
