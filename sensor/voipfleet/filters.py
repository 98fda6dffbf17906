"""Which calls a person wants to see: pure rules over a CallRecord, and what may be written for them."""

import argparse
import datetime
import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord
from voipfleet.errors import UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_SCHEME = re.compile(r"(?:sips?|tel):")
_WRITTEN = re.compile(r"\+?[0-9 ()./-]*[0-9]")  # with visual separators (RFC 3966 5.1.1)
_ABROAD = re.compile(r"(?:\+|00|\+00)([1-9][0-9]{4,})")
_SPAN = {"m": 60, "h": 3600, "d": 86400}
_TIMES = "give 2026-01-31, 2026-01-31 14:00[:30] (local time), 2026-01-31T14:00:30Z, or 30m, 12h, 7d ago"


@dataclass(frozen=True)
class Address:
    """A network (a host being one) and, where it was named, a port."""

    network: Network
    port: int | None = None

    def has(self, endpoint: str) -> bool:
        """Whether `endpoint` (address:port, IPv6 in brackets) is in it."""
        host, _, port = endpoint.rpartition(":")
        try:
            ip = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return False
        return ip in self.network and self.port in (None, int(port) if port.isdecimal() else -1)


@dataclass(frozen=True)
class Pattern:
    """What a text begins with, has within, in this order, and ends with; or the whole of it. In lower case."""

    parts: tuple[str, ...]

    def fits(self, text: str) -> bool:
        if len(self.parts) == 1:
            return text == self.parts[0]
        first, last = self.parts[0], self.parts[-1]
        at, end = len(first), len(text) - len(last)
        if not (text.startswith(first) and text.endswith(last)):
            return False
        for part in self.parts[1:-1]:
            found = text.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return at <= end

    @property
    def single(self) -> bool:
        """Whether it asks for one thing only, so that no order is to be kept."""
        return len([part for part in self.parts if part]) == 1


@dataclass(frozen=True)
class Number:
    """What a number is one of, and its domain; where there are none, it may be any."""

    users: tuple[Pattern, ...]
    domains: tuple[Pattern, ...] = ()

    def fits(self, user: str, domain: str) -> bool:
        return _any(self.users, user) and _any(self.domains, domain)


def _any(patterns: tuple[Pattern, ...], text: str) -> bool:
    text = text.casefold()
    return not patterns or any(pattern.fits(text) for pattern in patterns)


@dataclass(frozen=True)
class Filter:
    """What a call must be; None asks for nothing. Times are nanoseconds since the epoch."""

    number: Number | None = None
    address: Address | None = None
    since: int | None = None
    until: int | None = None
    response: tuple[tuple[int, int], ...] | None = None  # ranges
    mos_below: float | None = None
    one_way: bool | None = None

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise UsageError("--since: it is not before --until; no call can begin between them")

    def __call__(self, call: CallRecord) -> bool:
        return all(getattr(self, f"_{field.name}")(call) for field in fields(self)
                   if getattr(self, field.name) is not None)  # fmt: skip

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) is not None for field in fields(self))

    def __str__(self) -> str:
        return ", ".join("--" + f.name.replace("_", "-") for f in fields(self) if getattr(self, f.name) is not None)

    def _number(self, call: CallRecord) -> bool:
        return any(self.number.fits(*end) for end in
                   ((call.caller, call.caller_domain), (call.callee, call.callee_domain)))  # fmt: skip

    def _address(self, call: CallRecord) -> bool:
        media = (end for stream in call.streams for end in (stream.src, stream.dst))
        return any(map(self.address.has, (call.src, call.dst, *media)))

    def _since(self, call: CallRecord) -> bool:
        return call.setup_time >= self.since

    def _until(self, call: CallRecord) -> bool:
        return call.setup_time < self.until

    def _response(self, call: CallRecord) -> bool:
        return any(low <= call.final_response <= high for low, high in self.response)

    def _mos_below(self, call: CallRecord) -> bool:
        return any(stream.mos is not None and stream.mos < self.mos_below for stream in call.streams)

    def _one_way(self, call: CallRecord) -> bool:
        return call.one_way == self.one_way


def number(text: str) -> Number:
    """How a number begins or ends, or with `*` the whole of it; after an @ the same for its domain.

    Where there is no `*`, a `+` or `00` before it is the same as none: a number is written otherwise on the next trunk.
    What people copy (`sip:`, spaces, a port) is taken off.
    """
    said = text.strip().casefold()
    if scheme := _SCHEME.match(said):
        said = said[scheme.end() :].partition(";")[0]
    user, _, domain = said.partition("@")
    domain = re.sub(r"^([^:]*|\[.*\]):[0-9]+$", r"\1", domain)
    if not (user + domain).strip("*"):
        raise ValueError(f"{text!r} is every number; give how it begins or ends (555), or a pattern ('*30*', '+49*')")
    if "*" in text:
        return Number(*((Pattern(tuple(part.split("*"))),) if part.strip("*") else () for part in (user, domain)))
    if _WRITTEN.fullmatch(user):
        user = re.sub(r"[ ()./-]", "", user)
    if abroad := _ABROAD.fullmatch(user):
        user = abroad[1]
    before = ("", "+", "00") if user.isdecimal() else ("",)
    return Number(_begins_or_ends(user, before), _begins_or_ends(domain, ("",)))


def _begins_or_ends(text: str, before: tuple[str, ...]) -> tuple[Pattern, ...]:
    return (*(Pattern((one + text, "")) for one in before), Pattern(("", text))) if text else ()


def address(text: str) -> Address:
    """An address, a network, or address:port as it is printed."""
    wrong = ValueError(f"{text!r} is no address; give 192.0.2.7, 192.0.2.0/24, 192.0.2.7:5060 or [2001:db8::7]:5060")
    found = re.fullmatch(r"\[([^]]*)\](?::([0-9]{1,5}))?|([0-9.]+):([0-9]{1,5})", text)
    host, port = (found[1] or found[3], found[2] or found[4]) if found else (text, None)
    try:
        return Address(ipaddress.ip_network(host, strict=False), None if port is None else int(port))
    except ValueError:
        raise wrong from None


def since(text: str, now: datetime.datetime | None = None) -> int:
    """Nanoseconds since the epoch of a moment; of a day its start."""
    return _moment(text, now)[0]


def until(text: str, now: datetime.datetime | None = None) -> int:
    """The same; of a day its end."""
    ns, day = _moment(text, now)
    return ns + 86_400_000_000_000 if day else ns


def _moment(text: str, now: datetime.datetime | None) -> tuple[int, bool]:
    """(ns, whether it is a day and no time)."""
    try:
        if ago := re.fullmatch(r"([0-9]{1,6})([mhd])", text):
            span = datetime.timedelta(seconds=int(ago[1]) * _SPAN[ago[2]])
            return record.ns_of((now or datetime.datetime.now(datetime.UTC)) - span), False
        if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:\Z|[T ])", text):  # not the other forms of ISO 8601
            raise ValueError
        moment = datetime.datetime.fromisoformat(text)
        return record.ns_of(moment.astimezone() if moment.tzinfo is None else moment), len(text) == 10
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is no time; {_TIMES}") from None


def response(text: str) -> tuple[tuple[int, int], ...]:
    """Ranges of final responses: 486, 4xx, 500-599, none (no final response was seen), and several with commas."""
    ranges = []
    for word in text.lower().split(","):
        word = word.strip()
        if word == "none":
            ranges.append((0, 0))
        elif re.fullmatch(r"[1-6]xx", word):
            ranges.append((int(word[0]) * 100, int(word[0]) * 100 + 99))
        elif match := re.fullmatch(r"([1-6][0-9]{2})(?:-([1-6][0-9]{2}))?", word):
            ranges.append((int(match[1]), int(match[2] or match[1])))
        else:
            raise ValueError(f"{word!r} is no response; give 486, 4xx, 500-599, none, or several as in 486,5xx")
    return tuple(ranges)


def mos(text: str) -> float:
    if not re.fullmatch(r"[0-9](?:\.[0-9]{1,4})?", text) or not 1 < float(text) <= 5:
        raise ValueError(f"{text!r} is no MOS; give a number above 1 and up to 5, as in 3.6")
    return float(text)


# option, its parser, what it takes, help
OPTIONS: tuple[tuple[str, Callable[[str], Any], str, str], ...] = (
    ("number", number, "TEXT", "calls whose caller or callee begins or ends so (4930, 555), whether or not it has a +"
     " or 00 before it; with * it is a pattern for the whole number ('*30*')"),
    ("address", address, "IP", "calls with signalling or media from or to this address or network"),
    ("since", since, "TIME", "calls that began then or later: 2026-01-31, '2026-01-31 14:00' (local time), RFC 3339, "
     "or 30m, 12h, 7d ago"),
    ("until", until, "TIME", "calls that began before; of a day its end"),
    ("response", response, "CODES", "calls with this final response: 486, 4xx, 500-599, none, or several with commas"),
    ("mos-below", mos, "MOS", "calls with a stream worse than this"),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a filter."""
    group = parser.add_argument_group("which calls", "All that is given must be true of a call.")
    for name, convert, metavar, text in OPTIONS:
        group.add_argument(f"--{name}", type=checked(convert), metavar=metavar, help=text)
    group.add_argument("--one-way", action="store_true", default=None, help="calls in which only one side was heard")


def from_arguments(args: argparse.Namespace) -> Filter:
    """Raises UsageError where the options contradict each other."""
    return Filter(**{field.name: getattr(args, field.name) for field in fields(Filter)})


def find(calls: Iterable[CallRecord], wanted: str, *, uuids: bool = True) -> list[CallRecord]:
    """The calls with this Call-ID or uuid; where there are none, those of which it is the beginning (uuid: 8 digits).

    Without `uuids` those do not count: of a capture they are new at every run.
    """
    calls = list(calls)
    short = wanted.replace("-", "").lower() if uuids else ""
    if exact := [call for call in calls if wanted == call.call_id or short == call.uuid.hex()]:
        return exact
    return [call for call in calls
            if call.call_id.startswith(wanted) or (len(short) >= 8 and call.uuid.hex().startswith(short))]  # fmt: skip


def checked(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def checked(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked
