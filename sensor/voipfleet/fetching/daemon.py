"""Where the daemon of this host answers, for people who may ask it and need not be able to read its configuration."""

import grp
import os
from pathlib import Path

from voipfleet import config
from voipfleet.manage.peer import name_of
from voipfleet.manage.request import LISTENERS, refusal


def socket(path: str) -> Path:
    """The control socket that the configuration at `path` names; its usual place where this user may not read it."""
    return Path(_value(path, "control_socket"))


def sip_ports(path: str) -> tuple[int, ...]:
    """Ports that carry SIP, likewise."""
    return tuple(_value(path, "sipport"))


def may_not_listen(socket: Path) -> str:
    """Why the daemon would leave the audio out for this user: the sentence of a refusal; "" where it would not."""
    user = os.geteuid()
    try:
        if user in (0, socket.stat().st_uid) or grp.getgrnam(LISTENERS).gr_gid in {os.getegid(), *os.getgroups()}:
            return ""
    except (OSError, KeyError):
        pass  # no daemon, which is told when it is asked; no such group on this host
    return refusal(name_of(user), LISTENERS)


def _value(path: str, key: str):
    try:
        with open(path, "rb"):
            pass
    except PermissionError:
        return config.DEFAULTS[key]
    except OSError:
        pass  # config.load has the sentence for it
    return getattr(config.load(path), key)
