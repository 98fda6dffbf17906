"""The messages of a fetched call as `voipfleet read --call` shows them: the call is analysed anew from its packets."""

import re
from typing import TextIO

from voipfleet import ladder
from voipfleet.calls.analyser import Analyser, AnalyserSettings
from voipfleet.calls.record import CallRecord
from voipfleet.errors import VoipfleetError
from voipfleet.fetching.merging import Merged
from voipfleet.harmless import harmless
from voipfleet.show_call import print_call


def show(call: CallRecord, merged: Merged, ports: tuple[int, ...], file: TextIO | None = None) -> None:
    """Prints the call that the record `call` is of. `ports` carry SIP, and those of the first INVITE do in any case."""
    if call.method == "REGISTER":
        raise VoipfleetError(
            f"{harmless(call.call_id)}: is a registration, and a ladder shows calls; leave --ladder out"
        )
    ends = (end.rpartition(":")[2] for end in (call.src, call.dst))
    named = {int(port) for port in ends if re.fullmatch("[0-9]{1,5}", port) and int(port) < 65536}
    log = ladder.Log(call.call_id)
    analyser = Analyser(AnalyserSettings(sipport=(*ports, *named), dtmf2db=True), on_message=log)
    records = [record for block in merged.blocks() for record in analyser.feed(block)]
    records += analyser.finish("end_of_capture")
    newest = {record.uuid: record for record in records if record.method == "INVITE" and record.call_id == call.call_id}
    found = sorted(newest.values(), key=lambda record: abs(record.setup_time - call.setup_time))
    if not found:
        raise VoipfleetError(f"{harmless(call.call_id)}: there are no SIP messages among its packets (savesip), so"
                             " there is no ladder; leave --ladder out")  # fmt: skip
    found[0].sensor, found[0].site, found[0].clock_offset_ms = call.sensor, call.site, call.clock_offset_ms
    print_call(found[0], log.of(found[0], found), left_out=log.left_out.get(call.call_id, 0), file=file)
