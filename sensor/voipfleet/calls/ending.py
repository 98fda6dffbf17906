"""When a call ends, and by what. Times ns. No I/O."""

from collections.abc import Callable

from voipfleet.calls.dialog import Dialog
from voipfleet.calls.settings import AnalyserSettings

SECOND = 1_000_000_000
LINGER = SECOND // 2  # late RTP after the end of a call
GRID = SECOND // 10  # records leave at these times, so that the cut into blocks changes nothing
RETRY = 60  # s; a caller who is asked for a password may have to ask a person for it


def leaves(call: Dialog) -> int:
    """When the record of a call that has ended leaves."""
    return -(-(max(call.last, call.told) + LINGER) // GRID) * GRID


def why(call: Dialog) -> str:
    """By what a call has ended of which the end was seen."""
    return "cancel" if call.cancelled else "bye" if call.hung_up_by else "rejected"


def expires(call: Dialog, s: AnalyserSettings, heard: Callable[[], int], told: int) -> tuple[int, str]:
    """When the call ends if nothing more is seen of it, and by what; `wake` is when to look again at the latest.
    `heard()`: when its newest RTP came, 0: none has; `told`: until when the sensors that see it have told all."""
    patience, by, rtp_may_come = s.sipwithoutrtptimeout, "timeout", False
    since = call.last
    if call.state == "auth":
        patience, by = RETRY, "rejected"
    elif call.state == "closing":
        patience, by = s.bye_timeout, "bye"
    elif call.state == "calling" and not call.heard:
        patience = s.onewaytimeout
    elif call.state == "answered":
        if last := heard():
            patience, by, since = s.rtptimeout, "rtp_timeout", max(last, call.last)
        else:
            patience, rtp_may_come = min(patience, call.session_expires or patience), True
    when, by = min((since + patience * SECOND, by), (call.setup + s.absolute_timeout * SECOND, "timeout"))
    call.wake = min(when, told + s.rtptimeout * SECOND) if rtp_may_come else when
    return when, by


def cut(call: Dialog, end_reason: str) -> tuple[str, list[str]]:
    """By what a call ends if nothing more is seen of it, and why its record is partial then."""
    done = call.state in ("ended", "closing", "auth")
    return (why(call), []) if done else (end_reason, ["open"])
