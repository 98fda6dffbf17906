"""How calls end: who hung up and why, by the messages that were seen."""

import importlib.util
from pathlib import Path

import pytest
from voipfleet.calls.analyser import Analyser

_spec = importlib.util.spec_from_file_location("live", Path(__file__).with_name("test_live.py"))
live = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(live)

TAG = ";tag=9"
INVITE, RINGING = ("INVITE sip:b@h SIP/2.0", "1 INVITE"), ("SIP/2.0 180 Ringing", "1 INVITE", TAG)
ANSWER, CANCEL = ("SIP/2.0 200 OK", "1 INVITE", TAG), ("CANCEL sip:b@h SIP/2.0", "1 CANCEL")


def result(*messages):
    analyser = Analyser()
    records = []
    for at, arguments in enumerate(messages):
        records += analyser.feed(live.block(live.T + at * 10_000_000, live.message(*arguments)))
    records += analyser.tick(live.T + 2_000_000_000)
    (call,) = records
    return call.final_response, call.end_reason, call.hung_up_by


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([INVITE, ("SIP/2.0 486 Busy", "1 INVITE", TAG)], (486, "rejected", None)),
        ([INVITE, RINGING, CANCEL, ("SIP/2.0 487 Gone", "1 INVITE", TAG)], (487, "cancel", "caller")),
        ([INVITE, RINGING, ("SIP/2.0 603 No", "1 INVITE", TAG)], (603, "rejected", None)),
        (
            [INVITE, RINGING, CANCEL, ANSWER, ("BYE sip:b@h SIP/2.0", "2 BYE", TAG), ("SIP/2.0 200 OK", "2 BYE", TAG)],
            (200, "bye", "caller"),  # the CANCEL came too late
        ),
    ],
)
def test_how_it_ended(messages, expected):
    assert result(*messages) == expected
