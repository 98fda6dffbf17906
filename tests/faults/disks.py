"""Small file systems of a test's own, and what strace saw of a daemon's disks and sockets."""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support.daemon import Daemon

LINE = re.compile(r"^(\d+) +(?:(\w+)\((\d+)<((?:->|[^>])*)>.*?|<\.\.\. (\w+) resumed>.*?)(?:= (-?\d+)|<unfinished)")


@contextlib.contextmanager
def small(folder: Path, mebibytes: int, inodes: int = 0) -> Iterator[Path]:
    """`folder` as a file system of that size: tmpfs, or ext4 with so many inodes."""
    folder.mkdir(parents=True)
    if inodes:
        image = folder.with_name(folder.name + ".img")
        with image.open("wb") as file:
            file.truncate(mebibytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-N", str(inodes), image], check=True)
        subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    else:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "vf-faults", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path, inodes: bool) -> list[Path]:
    """Files that take all inodes there are, or else all room; remove them to make room again."""
    made = []
    with contextlib.suppress(OSError):
        for number in range(100_000 if inodes else 1):
            made.append(folder / f"ballast-{number}")
            with made[-1].open("wb", buffering=0) as file:
                for size in (1 << 20, 4096, 1):
                    with contextlib.suppress(OSError):
                        while not inodes and file.write(bytes(size)) == size:
                            pass
    return [path for path in made if path.exists()]


def start_under(daemon: Daemon, *words: str) -> None:
    """Start it with `words` before its command, which later commands to it do not have."""
    before, daemon.prefix = daemon.prefix, [*daemon.prefix, *words]
    try:
        daemon.start(wait=None)
    finally:
        daemon.prefix = before


class Call(NamedTuple):
    """A system call that has returned: on which file or socket, and what it returned."""

    name: str
    on: str
    result: int


def traced(path: Path) -> list[Call]:
    """What `strace -f -yy -o path` wrote, in the order in which the calls returned."""
    calls, open_calls = [], {}
    for line in path.read_text(errors="replace").splitlines():
        if not (found := LINE.match(line)):
            continue
        thread, name, _, on, resumed, result = found.groups()
        if resumed:
            name, on = open_calls.pop((thread, resumed), ("", ""))
        if result is None:
            open_calls[thread, name] = name, on
        elif name:
            calls.append(Call(name, on, int(result)))
    return calls
