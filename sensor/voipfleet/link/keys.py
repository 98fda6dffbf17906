"""The node's static key, what a password becomes, and how keys are written down."""

import base64
import binascii
import hashlib
import os
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from nacl.pwhash import argon2id

from voipfleet.errors import ConfigError, Fault, VoipfleetError
from voipfleet.link.noise import public_key
from voipfleet.secrets import PSK_BYTES

PSK_OPS, PSK_MEMORY = 3, 64 << 20  # Argon2id: passes, bytes; about 0.25 s, spent once at start


@dataclass(frozen=True, repr=False)
class Identity:
    """A node's X25519 key pair (32 bytes each)."""

    private: bytes
    public: bytes


def previous(path: Path) -> Path:
    """Where the key that was replaced by that in `path` is kept until nobody knows it any more."""
    return path.with_name(path.name + ".old")


def load_all(path: Path) -> tuple[Identity, ...]:
    """The key in `path`, and behind it the one that it replaces while a rotation lasts."""
    old = previous(path)
    return (load(path), *((load(old),) if old.exists() else ()))


def load(path: Path) -> Identity:
    """The key in `path`; a sentence where it is missing, readable by others, or no key."""
    try:
        mode = path.stat().st_mode
        text = path.read_text("ascii")
        private = base64.b64decode(text.strip(), validate=True)
    except FileNotFoundError:
        raise VoipfleetError(f"{path}: this node has no key yet; make one with `voipfleet keygen`") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a key"
        raise VoipfleetError(f"{path}: cannot be used as this node's key ({why}); restore it") from None
    if stat.S_IMODE(mode) & 0o077:
        raise VoipfleetError(f"{path}: others may read this node's key; chmod 0600 it, or make a new one")
    if len(private) != 32:
        raise VoipfleetError(f"{path}: holds no key of 32 bytes; restore it")
    return Identity(private, public_key(private))


def generate(path: Path) -> bool:
    """Make a key in `path` (0600) unless there is one; whether it was made. Never overwrites."""
    if path.exists():
        return False
    _make(path)
    return True


def rotate(path: Path) -> bool:
    """Make a new key in `path` and keep the present one as `previous`; False where a rotation is on already."""
    if previous(path).exists():
        return False
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)  # of a rotation that was cut off
    _make(new)
    os.link(path, previous(path))  # at no moment is there no key
    new.replace(path)
    return True


def _make(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise VoipfleetError(f"{path}: cannot make a key here ({error.strerror}); check the folder") from None
    with os.fdopen(handle, "wb") as file:
        file.write(base64.b64encode(os.urandom(32)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def psk_from_password(password: str, fleet_id: str) -> bytes:
    """The pre-shared key of a password: Argon2id, salted with the fleet's name. Slow on purpose."""
    salt = hashlib.blake2b(b"VFL1 psk salt" + fleet_id.encode(), digest_size=16).digest()
    secret = unicodedata.normalize("NFC", password).encode()
    return argon2id.kdf(PSK_BYTES, secret, salt, opslimit=PSK_OPS, memlimit=PSK_MEMORY)


def psks(secrets: tuple[str | bytes, ...], fleet_id: str) -> tuple[bytes, ...]:
    """The pre-shared keys of passwords (text) and of what was derived from one already (bytes)."""
    return tuple(each if isinstance(each, bytes) else psk_from_password(each, fleet_id) for each in secrets)


def fingerprint(public: bytes) -> str:
    """BLAKE2b-16 of a public key in groups of four hex digits."""
    digest = hashlib.blake2b(public, digest_size=16).hexdigest()
    return "-".join(digest[at : at + 4] for at in range(0, 32, 4))


def encode(public: bytes) -> str:
    return base64.b64encode(public).decode()


def decode(text: str, key: str, where: str = "") -> bytes:
    """A public key from base64; ConfigError naming the configuration key `key`."""
    try:
        public = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        public = b""
    if len(public) != 32:
        raise ConfigError([Fault(where, 0, key, f"{text[:60]!r} is no public key; take it from `voipfleet keygen`")])
    return public


def parse_pins(words, host: str = "") -> tuple[bytes, ...]:
    """`server_key`: public keys of receivers, each as base64 for all of them or as `host:base64` for that one; those
    for `host`, all where it is not given."""
    found = []
    for word in words or ():
        of, _, text = word.rpartition(":")  # a host may be an IPv6 address
        pin = decode(text, "server_key")
        if not host or of in ("", host):
            found.append(pin)
    return tuple(dict.fromkeys(found))


def parse_named(words, key: str) -> dict[bytes, str]:
    """`sensor_keys` or `manager_keys`: `name:base64` words as public key -> name."""
    found = {}
    for word in words or ():
        name, _, text = word.rpartition(":")  # a name may be an IPv6 address
        found[decode(text, key)] = name
    return found
