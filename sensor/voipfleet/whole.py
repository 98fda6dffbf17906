"""Files that are whole when they are there, also after a kill or a power cut."""

import os
from collections.abc import Iterable
from pathlib import Path

PART = ".part"  # behind the name of a file that is being written


def put(path: Path, content: Iterable[bytes] | bytes) -> None:
    """A file for its owner only, in the place of any other; `sync_folder` makes its name durable. Raises OSError."""
    part = path.with_name(path.name + PART)
    part.unlink(missing_ok=True)
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.writelines([content] if isinstance(content, bytes) else content)
            out.flush()
            os.fsync(out.fileno())  # else a power cut may leave the name with nothing in it
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """What was renamed in it is on the disk after that. Raises OSError."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
