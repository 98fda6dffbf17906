"""Where the daemon of this host answers, for people who may ask it and need not be able to read its configuration."""

from pathlib import Path

from voipfleet import config
from voipfleet.options import BY_KEY


def socket(path: str) -> Path:
    """The control socket that the configuration at `path` names; its usual place where this user may not read it."""
    return Path(_value(path, "control_socket"))


def sip_ports(path: str) -> tuple[int, ...]:
    """Ports that carry SIP, likewise."""
    return tuple(_value(path, "sipport"))


def _value(path: str, key: str):
    try:
        with open(path, "rb"):
            pass
    except PermissionError:
        return config.convert(BY_KEY[key], BY_KEY[key].default)
    except OSError:
        pass  # config.load has the sentence for it
    return getattr(config.load(path), key)
