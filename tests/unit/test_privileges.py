"""Privileges are dropped where there are any; a service that may not ask for that need not."""

import ctypes

import pytest
from voipfleet import privileges


class Libc:
    """Says that this thread has the capabilities in `has` (bytes of capget), and refuses capset as a sandbox does."""

    def __init__(self, has: bytes):
        self.has = has

    def prctl(self, *_):
        return 0

    def capget(self, _, into):
        into.raw = self.has
        return 0

    def capset(self, *_):
        ctypes.set_errno(1)
        return -1


def test_where_there_is_nothing_to_drop_it_is_not_asked_for(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Libc(bytes(24)))
    privileges.drop_all()


def test_a_refusal_is_an_error_where_there_is_something(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Libc(b"\0\x20" + bytes(22)))
    with pytest.raises(OSError, match="not permitted"):
        privileges.drop_all()
