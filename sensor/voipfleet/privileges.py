"""Give up every privilege of this process, for good (capabilities(7), prctl(2))."""

import ctypes
import os
import struct

_VERSION_3 = 0x20080522
_NO_NEW_PRIVS, _CAP_AMBIENT, _AMBIENT_CLEAR_ALL = 38, 47, 4


def drop_all() -> None:
    """Drop all capabilities of this thread and forbid new ones; without any to drop nothing changes.

    capset works on one thread, so call it before others start, and after the sockets are open. Where there is nothing
    to drop it is not asked for: a service that never had any is not allowed it. Raises OSError where the kernel
    refuses: going on with privileges would be worse than not starting.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0)  # not known to old kernels; capset clears it too
    _check(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    has = ctypes.create_string_buffer(24)
    _check(libc.capget(struct.pack("=Ii", _VERSION_3, 0), has))
    if any(has.raw):
        _check(libc.capset(struct.pack("=Ii", _VERSION_3, 0), bytes(24)))


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
