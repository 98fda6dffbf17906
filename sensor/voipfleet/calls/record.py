"""What is known of one call when it has ended, as it is stored, sent and shown.

The field names are the names in JSON (`voipfleet read --json`, `voipfleet calls --json`) and, for the
promoted ones, of the database's columns. Times are nanoseconds since the Unix epoch (UTC) here and
RFC 3339 with microseconds in JSON. Addresses are `address:port`, IPv6 in brackets.
"""

import datetime
from typing import Literal

import msgspec


class StreamRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One RTP stream: one SSRC from one socket to one socket, as counted by RFC 3550 appendix A."""

    direction: str  # who sent it: caller, callee, or "" where neither side's SDP says
    sensor: str = ""
    src: str
    dst: str
    ssrc: int
    codec: str = ""
    payload_types: list[int] = []
    ptime: float = 0.0  # ms, as its time stamps say; as the SDP says where they do not
    first: int = 0  # ns
    last: int = 0  # ns
    expected: int = 0
    received: int = 0
    lost: int = 0
    discarded: int = 0  # would have come too late for a fixed de-jitter buffer
    duplicates: int = 0
    reordered: int = 0
    loss_bursts: list[int] = []  # how many gaps of 1, 2, ... 9, 10 or more packets
    jitter_mean_ms: float = 0.0
    jitter_max_ms: float = 0.0
    delta_max_ms: float = 0.0
    markers: int = 0  # packets with the marker bit: where talk begins after silence, mostly
    srtp: bool = False  # by its SDP
    mos: float | None = None
    r_factor: float | None = None
    rtcp_lost: int | None = None  # as its receiver said last (RTCP), in all
    rtcp_jitter_ms: float | None = None  # likewise
    rtcp_mos: float | None = None  # likewise, by XR VoIP metrics (MOS-LQ)
    rtcp_rtt_ms: float | None = None  # from this sensor to its receiver and back, the mean of what was answered
    rtcp_delay_ms: int | None = None  # round trip as its receiver says (XR)
    dtmf: str = ""


class MediaRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Where one side of a call takes media, by its SDP: what finds and names a stream that another sensor saw."""

    side: Literal["caller", "callee"]  # who receives there
    address: str
    codecs: dict[int, tuple[str, int]] = {}  # payload type: name, clock rate (ticks/s)
    ptime: float = 0.0  # ms; 0: not said
    secure: bool = False  # SRTP
    awaited: bool = True  # the other side had agreed to send
    until: int = 0  # ns; a later call of the same sensor has the address from then on; 0: none has


class CallRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One call (an INVITE dialog with its streams), or with method REGISTER one registration.

    With method RTP it is streams that no SDP named where they were seen (`stream_records`): no Call-ID, no parties,
    `setup_time` the first packet, `end_time` the last, direction "". A central joins it to the call that it is of.
    """

    uuid: bytes  # 16 random bytes, made when the call begins
    revision: int = 1
    call_id: str
    sensor: str = ""  # who saw the call
    analysed_by: str = ""  # who analysed the packets, where that is another instance
    site: str = ""
    method: str = "INVITE"
    caller: str = ""
    caller_name: str = ""
    caller_domain: str = ""
    callee: str = ""
    callee_name: str = ""
    callee_domain: str = ""
    setup_time: int  # ns; the first INVITE
    ring_time: int = 0
    answer_time: int = 0
    end_time: int = 0
    duration: float = 0.0  # s, setup to end
    connect_duration: float = 0.0  # s, answer to end
    pdd: float | None = None  # s, post-dial delay: INVITE to the first 18x or final response
    final_response: int = 0  # 0: none seen
    reason: str = ""  # the Reason header
    hung_up_by: str | None = None  # caller, callee
    end_reason: str = ""  # one of END_REASONS
    retransmissions: int = 0
    user_agent_caller: str = ""
    user_agent_callee: str = ""
    src: str = ""  # where the first INVITE came from
    dst: str = ""
    transport: str = "udp"
    one_way: bool = False
    partial: bool = False  # something is missing, and `partial_reasons` says what
    partial_reasons: list[str] = []  # of voipfleet.words.PARTIAL
    seen: list[str] = []  # of SEEN: what this sensor saw of the call
    legs: int = 0  # ends that responded beyond 100: more than one where a proxy forked the call
    holds: int = 0  # how often one side put the other on hold
    t38: bool = False  # fax over IP was agreed
    dtmf: str = ""  # the caller's digits by SIP INFO
    dtmf_callee: str = ""  # likewise the callee's
    referred_to: str = ""  # where a REFER sent one side
    replaces: str = ""  # Call-ID of the call that this one took over (RFC 3891)
    contact: str = ""  # of a registration: where the user is, and the seconds that the registrar granted
    expires: int = 0
    drops: int = 0  # packets that the kernel dropped on this sensor during the call
    clock_offset_ms: float | None = None
    views: int = 1
    streams: list[StreamRecord] = []
    media: list[MediaRecord] = []  # endpoints of the call to which none of the streams went


END_REASONS = (
    "bye", "cancel", "rejected", "timeout", "rtp_timeout", "sensor_restart", "end_of_capture", "evicted",
    "registered", "unregistered", "expired",  # of registrations
    "silent",  # of streams without a call: no packet for some seconds
)  # fmt: skip

SEEN = ("caller_sip", "callee_sip", "caller_rtp", "callee_rtp")
OTHER = {"caller": "callee", "callee": "caller"}  # the other side

TIMES = ("setup_time", "ring_time", "answer_time", "end_time")

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(CallRecord).decode


def of_side(call: CallRecord, side: str) -> list[StreamRecord]:
    """What a side sent, as one sensor saw it where several did: the record's own if it can be, so as to count once."""
    found = [stream for stream in call.streams if stream.direction == side]
    sensors = {stream.sensor: None for stream in found} if len(found) > 1 else ()
    if len(sensors) < 2:
        return found
    best = call.sensor if call.sensor in sensors else next(iter(sensors))
    return [stream for stream in found if stream.sensor == best]


def sensors(call: CallRecord) -> list[str]:
    """Who saw it, whoever says most of it first."""
    names = dict.fromkeys([call.sensor, *(stream.sensor for stream in call.streams)])
    return [name for name in names if name]


def rfc3339(ns: int) -> str | None:
    """`ns` since the epoch as RFC 3339 UTC with microseconds; None for 0 (not seen)."""
    if not ns:
        return None
    moment = datetime.datetime.fromtimestamp(ns // 1_000_000_000, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{ns // 1000 % 1_000_000:06d}Z"


def local_time(ns: int) -> str:
    """`ns` since the epoch as this host's time with milliseconds, for people."""
    moment = datetime.datetime.fromtimestamp(ns // 1_000_000_000).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S") + f".{ns // 1_000_000 % 1000:03d}"


def ns_of(moment: datetime.datetime) -> int:
    """The inverse: `moment` as nanoseconds since the epoch."""
    past = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (past.days * 86_400 + past.seconds) * 1_000_000_000 + past.microseconds * 1000


def to_json(call: CallRecord) -> str:
    """One line of JSON with every field of the call, also those that have their default value; a terminal only shows
    it."""
    row = msgspec.structs.asdict(call)
    row["uuid"] = call.uuid.hex()
    row.update({name: rfc3339(row[name]) for name in TIMES})
    row["streams"] = []
    for stream in call.streams:
        fields = msgspec.structs.asdict(stream)
        fields.update(first=rfc3339(stream.first), last=rfc3339(stream.last), ssrc=f"0x{stream.ssrc:08x}")
        row["streams"].append(fields)
    row["media"] = [msgspec.structs.asdict(media) for media in call.media]
    for fields in row["media"]:
        fields["until"] = rfc3339(fields["until"])
    text = msgspec.json.encode(row).decode()
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
