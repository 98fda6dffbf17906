"""Files of a person who fetched a call: whole or not at all, for his eyes only, never over what is there."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from voipfleet.errors import VoipfleetError
from voipfleet.whole import sync_folder

MODE = 0o600


def free(path: Path, force: bool) -> None:
    """VoipfleetError where a file may not be written there."""
    if not force and os.path.lexists(path):
        raise VoipfleetError(f"{path}: is there already; give -o another name, or --force to replace it")
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise VoipfleetError(f"{path}: {what}; give -o the name of a file in a folder that is there")


def write(path: Path, pieces: Iterable[bytes], force: bool) -> int:
    """`pieces` one after the other as the file; their bytes. It has its name only when it is on the disk as a whole."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    size = 0
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE), "wb") as file:
            for piece in pieces:
                size += file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        _named(part, path, force)
        sync_folder(path.parent)
    except OSError as error:
        raise VoipfleetError(f"{path}: cannot be written ({error.strerror}); make room, or give -o a place that this"
                             " user may write to") from None  # fmt: skip
    finally:
        part.unlink(missing_ok=True)
    return size


def _named(part: Path, path: Path, force: bool) -> None:
    """Without `force` by a second name, which the kernel gives to no file that is there."""
    if force:
        part.replace(path)
        return
    try:
        path.hardlink_to(part)
    except FileExistsError:
        free(path, force)
    except OSError:  # a file system without second names
        free(path, force)
        part.rename(path)
