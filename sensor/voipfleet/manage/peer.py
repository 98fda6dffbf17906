"""Who is at the other end of a Unix socket: the kernel says, not he."""

import grp
import os
import pwd
import socket
import struct

from voipfleet.manage.request import GROUPS, held

SO_PEERGROUPS = 59  # not in the module `socket`
_CREDENTIALS = struct.Struct("@iII")  # pid_t, uid_t, gid_t
MAX_GROUPS = 65536  # NGROUPS_MAX


def credentials(plain: socket.socket) -> tuple[int, set[int]]:
    """uid and groups of the process that connected, as they were then."""
    raw = plain.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(raw)
    return uid, {gid, *_more(plain)}


def _more(plain: socket.socket) -> tuple[int, ...]:
    for size in (256, 4 * MAX_GROUPS):
        try:
            raw = plain.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, size)
        except OSError:  # ERANGE: there are more
            continue
        return struct.unpack(f"@{len(raw) // 4}I", raw)
    return ()


def name_of(uid: int) -> str:
    """The user's name, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def holds(uid: int, gids: set[int]) -> frozenset[str]:
    """What of request.ALL that user has: root and this process's own user have all."""
    names = set()
    for name in GROUPS:
        try:
            if grp.getgrnam(name).gr_gid in gids:
                names.add(name)
        except KeyError:
            continue  # this host has no such group
    return held(names, privileged=is_privileged(uid))


def is_privileged(uid: int) -> bool:
    return uid in (0, os.geteuid())
