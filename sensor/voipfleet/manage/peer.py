"""Who is at the other end of a Unix socket: the kernel says, not he."""

import grp
import os
import pwd
import socket
import struct

from voipfleet.beside import Beside
from voipfleet.errors import VoipfleetError
from voipfleet.manage.request import ALL, GROUPS, held

SO_PEERGROUPS = 59  # not in the module `socket`
_CREDENTIALS = struct.Struct("@iII")  # pid_t, uid_t, gid_t
MAX_GROUPS = 65536  # NGROUPS_MAX
SECONDS = 5.0  # until a look-up is given up
_looking = Beside("user", 128)  # as many as may be connected


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


async def asker(uid: int, gids: set[int]) -> tuple[str, frozenset[str]]:
    """His name, and what of request.ALL he has: root and this process's own user have all. VoipfleetError where the
    host's user database, which may be another host's, does not say in time."""
    try:
        return await _looking.call(SECONDS, _look, uid, gids)
    except TimeoutError:
        if is_privileged(uid):  # nobody needs to look up what he may
            return "root" if uid == 0 else str(uid), ALL
        raise VoipfleetError(f"not known yet who you are: this host's user database did not answer within {SECONDS:g} s"
                             f" (sssd, LDAP); ask again, or as root, and see whether `getent passwd {uid}` answers"
                             ) from None  # fmt: skip


def _look(uid: int, gids: set[int]) -> tuple[str, frozenset[str]]:
    return name_of(uid), _holds(uid, gids)


def name_of(uid: int) -> str:
    """The user's name, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _holds(uid: int, gids: set[int]) -> frozenset[str]:
    if is_privileged(uid):
        return ALL
    names = set()
    for name in GROUPS:
        try:
            if grp.getgrnam(name).gr_gid in gids:
                names.add(name)
        except KeyError:
            continue  # this host has no such group
    return held(names)


def is_privileged(uid: int) -> bool:
    return uid in (0, os.geteuid())
