"""A message as it is kept where something of it is masked."""

from voipfleet.masking import numbers, secrets
from voipfleet.masking.filling import filled


def without_secrets(message: bytes) -> bytes:
    return filled(message, secrets.spans(message))


def without_numbers(message: bytes, keep: int) -> bytes:
    """But for their last digits, `keep`."""
    return filled(message, numbers.spans(message, keep))
