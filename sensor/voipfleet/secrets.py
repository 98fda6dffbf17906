"""Secrets come from files of their own: the one that the configuration names, or systemd's credential."""

import os
import unicodedata
from pathlib import Path

from voipfleet.errors import ConfigError, Fault

MIN_PASSWORD = 16  # characters


def read_secret(config, key: str) -> str | None:
    """The secret `key` (NFC, one trailing newline taken off), or None where there is none.

    Looked for in the file that `<key>_file` names, then in systemd's credentials, then in the
    configuration itself. No message of this function holds a value.
    """
    named = getattr(config, f"{key}_file", None)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if named:
        return _read(Path(named), config, f"{key}_file")
    if folder and (Path(folder) / key).exists():
        return _read(Path(folder) / key, config, key)
    value = getattr(config, key)
    return unicodedata.normalize("NFC", value) if value else None


def fleet_password(config) -> str:
    """The fleet's password, which every link needs; ConfigError where it is missing or too short."""
    password = read_secret(config, "server_password")
    if not password:
        reason = "is missing; set server_password_file to a file that holds the fleet's password"
    elif len(password) < MIN_PASSWORD:
        reason = f"has fewer than {MIN_PASSWORD} characters; take a longer one on all hosts of the fleet"
    else:
        return password
    raise ConfigError([Fault(config.where, 0, "server_password", reason)])


def _read(path: Path, config, key: str) -> str:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError([Fault(config.where, 0, key, f"{path}: cannot be read ({why}); check it")]) from None
    return unicodedata.normalize("NFC", text.removesuffix("\n"))
