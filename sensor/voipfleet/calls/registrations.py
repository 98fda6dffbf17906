"""Registrations (RFC 3261 section 10): who is registered where, since when, and who failed. Times ns. No I/O.

A record (method REGISTER) leaves when a binding begins, again with the next revision when it ends, and when an attempt
fails, at most once a minute for one user at one address. Refreshes make no record.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from voipfleet.calls.record import CallRecord
from voipfleet.decode import sip
from voipfleet.masking.records import mask_record

MAX_BINDINGS, MAX_PENDING = 20_000, 4_096
SECOND = 1_000_000_000
NO_ANSWER = 32 * SECOND  # timer F of RFC 3261
GRACE = 10 * SECOND  # a refresh may come a little late
QUIET = 60 * SECOND  # between two records of one user who fails at one address
DEFAULT_EXPIRES = 3600
NEVER = 1 << 63
_EXPIRES = re.compile(rb";[ \t]*expires[ \t]*=[ \t]*\"?([0-9]{1,10})", re.I)
_URI = re.compile(rb"<([^>]*)>|([^;,<>\s]+)")


@dataclass(slots=True)
class _Binding:
    record: CallRecord
    until: int


@dataclass(slots=True)
class _Pending:
    """A REGISTER that has no final response yet."""

    message: sip.Message
    since: int
    src: str
    dst: str
    transport: str


class Registrations:
    """`count(name)` is told what was met; records say that they are of `sensor` at `site`, and have numbers masked but
    for `keep` digits (None: as they are)."""

    def __init__(self, sensor: str, site: str, count: Callable[..., None], keep: int | None = None):
        self._sensor, self._site, self._count, self._keep = sensor, site, count, keep
        self._pending: dict[tuple[bytes, int], _Pending] = {}
        self._bindings: dict[tuple, _Binding] = {}
        self._failed: dict[tuple, int] = {}
        self.next = NEVER  # nothing ends without a word before

    def take(self, message: sip.Message, ts: int, src: str, dst: str, transport: str) -> list[CallRecord]:
        """One message of the method REGISTER."""
        key = message.call_id, message.cseq
        if not message.status:
            self._pending.setdefault(key, _Pending(message, ts, src, dst, transport))
            self.next = min(self.next, ts + NO_ANSWER)
            if len(self._pending) > MAX_PENDING:
                del self._pending[next(iter(self._pending))]
                self._count("registers_evicted")
            return []
        if message.status < 200 or key not in self._pending:
            return []
        asked = self._pending.pop(key)
        if message.status < 300:
            return self._granted(asked, message, ts)
        challenged = message.status in (401, 407)
        again = challenged and not {b"authorization", b"proxy-authorization"} & asked.message.headers.keys()
        if again or message.status == 423 or b"stale=true" in message.headers.get(b"www-authenticate", b"").lower():
            return []  # it will ask once more, with a password or for a longer time
        return self._failure(asked, ts, message.status, message.text(b"reason"))

    def _granted(self, asked: _Pending, answer: sip.Message, ts: int) -> list[CallRecord]:
        contact = asked.message.headers.get(b"contact", b"")
        uri = _uri(contact)
        user = sip.party(asked.message.headers[b"to"])[1:]
        if uri == b"*":  # everything of this user is taken back
            return [self._end(key, ts, "unregistered") for key in list(self._bindings) if key[:2] == user]
        if not uri:
            return []  # a question, not a registration
        expires = _expires(contact, uri, asked.message, answer)
        key = (*user, uri)
        binding = self._bindings.get(key)
        if not expires:
            return [self._end(key, ts, "unregistered")] if binding else []
        until = ts + expires * SECOND
        self.next = min(self.next, until + GRACE)
        if binding:
            binding.until = until
            self._count("registrations_refreshed")
            return []
        self._count("registrations")
        out = []
        if len(self._bindings) >= MAX_BINDINGS:
            self._count("registrations_evicted")
            out.append(self._end(next(iter(self._bindings)), ts, "evicted"))
        record = self._record(asked, end_reason="registered", answer_time=ts, final_response=answer.status,
                              contact=sip.show(uri), expires=expires)  # fmt: skip
        self._bindings[key] = _Binding(record, until)
        return [*out, record]

    def _end(self, key: tuple, ts: int, reason: str) -> CallRecord:
        first = self._bindings.pop(key).record
        return msgspec.structs.replace(
            first, revision=first.revision + 1, end_time=ts, end_reason=reason,
            duration=round((ts - first.setup_time) / 1e9, 6), connect_duration=round((ts - first.answer_time) / 1e9, 6),
        )  # fmt: skip

    def _failure(self, asked: _Pending, ts: int, status: int, reason: str = "") -> list[CallRecord]:
        self._count("registrations_failed")
        key = (sip.party(asked.message.headers[b"to"])[1:], asked.src.rpartition(":")[0])
        if ts - self._failed.get(key, -QUIET) < QUIET:
            return []
        self._failed[key] = ts
        if len(self._failed) > MAX_PENDING:
            del self._failed[next(iter(self._failed))]
        return [self._record(asked, end_reason="rejected" if status else "timeout", end_time=ts, final_response=status,
                             reason=reason, duration=round((ts - asked.since) / 1e9, 6))]  # fmt: skip

    def _record(self, asked: _Pending, **more) -> CallRecord:
        name, user, domain = sip.party(asked.message.headers[b"to"])
        record = CallRecord(
            uuid=os.urandom(16), method="REGISTER", call_id=sip.show(asked.message.call_id), sensor=self._sensor,
            site=self._site, caller=user, caller_name=name, caller_domain=domain, setup_time=asked.since,
            user_agent_caller=asked.message.text(b"user-agent"), src=asked.src, dst=asked.dst,
            transport=asked.transport, **more,
        )  # fmt: skip
        return record if self._keep is None else mask_record(record, self._keep)

    def expire(self, now: int) -> list[CallRecord]:
        """Records of what has ended before `now` without a word."""
        out: list[CallRecord] = []
        if now <= self.next:
            return out
        for key, asked in list(self._pending.items()):
            if now > asked.since + NO_ANSWER:
                del self._pending[key]
                out += self._failure(asked, asked.since + NO_ANSWER, 0)
        for key, binding in list(self._bindings.items()):
            if now > binding.until + GRACE:
                out.append(self._end(key, binding.until, "expired"))
        self.next = min([NEVER, *(asked.since + NO_ANSWER for asked in self._pending.values()),
                         *(binding.until + GRACE for binding in self._bindings.values())])  # fmt: skip
        return out


def _uri(contact: bytes) -> bytes:
    """The first URI of a Contact header as it is written, in brackets or not."""
    match = _URI.search(contact.partition(b'" ')[2] if contact.lstrip().startswith(b'"') else contact)
    return (match[1] if match[1] is not None else match[2])[: sip.MAX_VALUE] if match else b""


def _expires(contact: bytes, uri: bytes, request: sip.Message, answer: sip.Message) -> int:
    """Seconds that the registrar grants to `uri`: what it says of that Contact, else what was asked for."""
    granted = answer.headers.get(b"contact", b"")
    at = granted.find(uri)
    if at >= 0:
        behind = granted[at + len(uri) :].split(b"<")[0]  # up to the next contact
        if found := _EXPIRES.search(behind):
            return int(found[1])
    asked = _EXPIRES.search(contact)
    said = (asked[1] if asked else request.headers.get(b"expires", b"")).strip()
    if said.isdigit() and not int(said[:10]):
        return 0
    for seconds in (answer.headers.get(b"expires", b"").strip(), said):
        if re.fullmatch(rb"[0-9]{1,10}", seconds):
            return int(seconds)
    return DEFAULT_EXPIRES
