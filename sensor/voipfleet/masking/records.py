"""Telephone numbers in records masked but for their last digits. No I/O.

Done where a record is made, so that neither the outbox nor the link ever has a whole number. Call-IDs stay: by them the
records of one call are joined. So do addresses, names of sensors and sites, and user agents.
"""

from voipfleet.calls.record import CallRecord
from voipfleet.masking import numbers

_FIELDS = (
    (numbers.number, ("caller", "callee", "caller_name", "callee_name", "referred_to")),
    (numbers.domain, ("caller_domain", "callee_domain")),
    (numbers.text, ("contact", "reason")),
)


def mask_record(call: CallRecord, keep: int) -> CallRecord:
    """The same record, changed in place: parties, their names, where a REFER went, a registration's contact, and the
    domains that are numbers."""
    for mask, names in _FIELDS:
        for name in names:
            if said := getattr(call, name):
                setattr(call, name, mask(said, keep))
    return call
