"""Secrets come from files of their own: the one that the configuration names, or systemd's credential."""

import base64
import os
import unicodedata
from pathlib import Path

from voipfleet.errors import ConfigError, Fault

MIN_PASSWORD = 16  # characters
MAX_PASSWORDS = 4  # that a listener accepts at once
PSK_BYTES = 32


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


def fleet_secrets(config) -> tuple[str | bytes, ...]:
    """What links of this instance prove and accept: first its own, then those that its listeners accept besides.

    A password as text, a key that was derived from one as bytes. ConfigError for what is missing or unfit.
    """
    own = _derived(config) or fleet_password(config)
    further = [line for line in (read_secret(config, "server_passwords") or "").splitlines() if line]
    for password in further:
        if len(password) < MIN_PASSWORD:
            raise _fault(config, "server_passwords", f"one has fewer than {MIN_PASSWORD} characters; remove it")
    if len(further) > MAX_PASSWORDS - 1:
        raise _fault(config, "server_passwords", f"has {len(further)}; at most {MAX_PASSWORDS} passwords can be"
                     " active at once, remove what no sensor uses any more")  # fmt: skip
    return (own, *further)


def fleet_password(config) -> str:
    """The fleet's password, which every link needs; ConfigError where it is missing or too short."""
    password = read_secret(config, "server_password")
    if not password:
        reason = "is missing; set server_password_file to a file that holds the fleet's password"
    elif len(password) < MIN_PASSWORD:
        reason = f"has fewer than {MIN_PASSWORD} characters; take a longer one on all hosts of the fleet"
    else:
        return password
    raise _fault(config, "server_password", reason)


def fit_psk(text: str) -> bytes:
    """A derived key out of base64; b"" where it is none."""
    try:
        psk = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        return b""
    return psk if len(psk) == PSK_BYTES else b""


def _derived(config) -> bytes:
    text = read_secret(config, "server_psk")
    if text and not fit_psk(text):
        raise _fault(config, "server_psk", "is no derived key; take what `voipfleet keygen --psk` prints")
    return fit_psk(text or "")


def _fault(config, key: str, reason: str) -> ConfigError:
    return ConfigError([Fault(config.where, 0, key, reason)])


def _read(path: Path, config, key: str) -> str:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError([Fault(config.where, 0, key, f"{path}: cannot be read ({why}); check it")]) from None
    return unicodedata.normalize("NFC", text.removesuffix("\n"))
