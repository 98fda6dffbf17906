"""What the numbers and names of a record mean, in words for whoever has to act on them."""

from voipfleet.calls.record import CallRecord, StreamRecord

PHRASES = {  # IANA registry of SIP response codes
    100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress",
    199: "Early Dialog Terminated", 200: "OK", 202: "Accepted", 204: "No Notification", 300: "Multiple Choices",
    301: "Moved Permanently", 302: "Moved Temporarily", 305: "Use Proxy", 380: "Alternative Service",
    400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
    410: "Gone", 412: "Conditional Request Failed", 413: "Request Entity Too Large", 414: "Request-URI Too Long",
    415: "Unsupported Media Type", 416: "Unsupported URI Scheme", 420: "Bad Extension", 421: "Extension Required",
    422: "Session Interval Too Small", 423: "Interval Too Brief", 428: "Use Identity Header",
    429: "Provide Referrer Identity", 430: "Flow Failed", 433: "Anonymity Disallowed", 436: "Bad Identity Info",
    437: "Unsupported Credential", 438: "Invalid Identity Header", 439: "First Hop Lacks Outbound Support",
    440: "Max-Breadth Exceeded", 469: "Bad Info Package", 470: "Consent Needed", 480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete",
    485: "Ambiguous", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event",
    491: "Request Pending", 493: "Undecipherable", 494: "Security Agreement Required", 500: "Server Internal Error",
    501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Server Time-out",
    505: "Version Not Supported", 513: "Message Too Large", 555: "Push Notification Service Not Supported",
    580: "Precondition Failure", 600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere",
    606: "Not Acceptable", 607: "Unwanted", 608: "Rejected",
}  # fmt: skip
PARTIAL = {
    "open": "it was still up when the capture or the sensor ended, so its end is not known",
    "evicted": "it was recorded early because too many calls were up at once",
    "drops": "the kernel dropped packets while it was up: what seems lost may only have been missed here",
    "sip_one_sided": "the SIP of one side only was seen: the capture point misses a direction",
    "streams": "it had more RTP streams than are recorded",
}


def phrase(status: int) -> str:
    """The usual name of a response; empty where there is none."""
    return PHRASES.get(status, "")


def response(call: CallRecord) -> str:
    return f"{call.final_response} {phrase(call.final_response)}".strip() if call.final_response else "none was seen"


def half(call: CallRecord) -> str:
    """What is missing of a call of which SIP and RTP are seen at different places; empty where nothing is."""
    if call.method == "RTP":
        return "RTP without a call"
    return "no RTP seen" if call.answer_time and not call.streams and not call.t38 else ""


def ending(call: CallRecord) -> str:
    """How it ended, as a sentence."""
    if call.method == "RTP":
        return f"{half(call)}: no SIP that was seen named these addresses"
    who = {"caller": "the caller", "callee": "the callee"}.get(call.hung_up_by or "", "one side")
    answered = "" if call.answer_time else " before it was answered"
    said = {
        "bye": f"{who} hung up{answered} (BYE)",
        "cancel": f"{who} gave up before it was answered (CANCEL)",
        "rejected": f"it was refused with {response(call)}",
        "rtp_timeout": "no BYE was seen: its RTP stopped, and it was taken to be over",
        "sensor_restart": "it was still up when the sensor stopped",
        "end_of_capture": "it was still up at the end of the capture" if call.answer_time else
        "nothing had come of it at the end of the capture",
        "evicted": "it left the table of calls early, because too many were up",
        "timeout": "no BYE was seen, and nothing more of it" if call.answer_time else
        "it was never answered, and nothing more was seen of it" if call.ring_time else
        "nothing responded to the INVITE" if not call.final_response else "nothing more was seen of it",
    }.get(call.end_reason, call.end_reason or "its end is not known")  # fmt: skip
    if call.end_reason == "rejected" and call.final_response in (401, 407):
        said += ": the password was not sent, or was wrong"
    return said


def findings(call: CallRecord) -> list[str]:
    """What is worth to be looked at, the worst first."""
    found = []
    if call.one_way:
        silent = [side for side in ("caller", "callee") if f"{side}_rtp" not in call.seen]
        what = f"no audio of the {silent[0]} was seen" if len(silent) == 1 else "audio of one side only was seen"
        found.append(f"one-way audio: {what}; look at NAT, firewall and the address in that side's SDP")
    for stream in call.streams:
        who = f"the {stream.direction}'s audio" if stream.direction else f"audio {stream.src} to {stream.dst}"
        if stream.mos is not None and stream.mos < 3.6:
            found.append(f"{who} was {'bad' if stream.mos < 2.6 else 'poor'} (MOS {stream.mos:.2f})")
        if stream.expected and stream.lost * 100 >= stream.expected:
            found.append(f"{who}: {stream.lost} of {stream.expected} packets lost "
                         f"({100 * stream.lost / stream.expected:.1f} %){_bursts(stream)}")  # fmt: skip
        if stream.received and stream.discarded * 100 >= stream.received:
            found.append(f"{who}: {stream.discarded} packets came too late to be played; look at jitter")
        if stream.duplicates:
            found.append(f"{who}: {stream.duplicates} packets came twice")
    for reason in call.partial_reasons:
        found.append("this record is partial: " + PARTIAL.get(reason, reason))
    if call.drops:
        found.append(f"{call.drops} packets were dropped by the kernel of the sensor during the call")
    if call.retransmissions:
        again = "1 SIP message was" if call.retransmissions == 1 else f"{call.retransmissions} SIP messages were"
        found.append(f"{again} sent again: SIP packets get lost, or a side is slow")
    if call.clock_offset_ms is not None and abs(call.clock_offset_ms) >= 1:
        found.append(f"the sensor's clock was {call.clock_offset_ms:+.1f} ms from the central's")
    return found


def notes(call: CallRecord) -> list[str]:
    """What else happened."""
    said = []
    if call.legs > 1:
        said.append(f"responses came from {call.legs} ends: it was forked, or a proxy spoke for itself")
    if call.holds:
        said.append("put on hold once" if call.holds == 1 else f"put on hold {call.holds} times")
    if call.t38:
        said.append("fax over IP (T.38) was agreed; its packets are not measured")
    if any(stream.srtp for stream in call.streams):
        said.append("the audio is encrypted (SRTP)")
    if call.referred_to:
        said.append(f"transferred to {call.referred_to} (REFER)")
    if call.replaces:
        said.append(f"took over the call {call.replaces}")
    if call.views > 1:
        said.append(f"seen by {call.views} sensors")
    if call.analysed_by:
        said.append(f"analysed by {call.analysed_by}")
    return said


def _bursts(stream: StreamRecord) -> str:
    longest = max((n for n, count in enumerate(stream.loss_bursts, 1) if count), default=0)
    row = "" if longest < 2 else f", up to {longest}{' or more' if longest > 9 else ''} in a row"
    pause = f"; nothing came for {stream.delta_max_ms / 1000:.1f} s" if stream.delta_max_ms >= 1000 else ""
    return row + pause
