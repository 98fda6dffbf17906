"""How far a fetch is, on a terminal: bytes and their rate, a line for each sensor."""

import sys
from typing import TextIO

from rich.console import Console
from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn


class Showing:
    """A context; `tell(who, size)` within it. Nothing is shown where `file` is no terminal."""

    def __init__(self, file: TextIO | None = None):
        file = file or sys.stderr
        self._tasks: dict[str, int] = {}
        self._progress = None
        if file.isatty():
            self._progress = Progress(SpinnerColumn(), TextColumn("{task.description}", markup=False), DownloadColumn(),
                                      TransferSpeedColumn(), console=Console(file=file), transient=True)  # fmt: skip

    def __enter__(self) -> "Showing":
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, *_) -> None:
        if self._progress:
            self._progress.stop()

    def tell(self, who: str, size: int) -> None:
        """`size` bytes of `who` so far."""
        if self._progress is None:
            return
        if who not in self._tasks:
            self._tasks[who] = self._progress.add_task(who, total=None, completed=size)
        self._progress.update(self._tasks[who], completed=size)
