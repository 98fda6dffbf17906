"""How far a long file is, on a terminal: bytes read of those that the files have (gzip: compressed ones)."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from voipfleet.capture.block import Block
from voipfleet.capture.source import Source

PATIENCE = 2.0  # s of work before anything is shown


class Reading:
    """`opened` is told of each Source; `watch` passes blocks on. Nothing is shown where `file` is no terminal."""

    def __init__(self, file: TextIO | None = None, clock=time.monotonic):
        self._file, self._clock = file or sys.stderr, clock
        self._sources: list[Source] = []
        self._size = 0

    def opened(self, source: Source) -> None:
        self._sources.append(source)

    def expect(self, size: int) -> None:
        """Bytes of all files together: one may be opened long after the other."""
        self._size = size

    def watch(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The blocks; the bar goes away when they end."""
        if not self._file.isatty():
            yield from blocks
            return
        begun, bar, packets = self._clock(), None, 0
        try:
            for block in blocks:
                packets += len(block)
                if bar is None and self._clock() - begun >= PATIENCE:
                    bar = self._bar()
                    bar.start()
                    bar.add_task("", total=self._size or None)
                if bar is not None:
                    done = sum(source.position for source in self._sources)
                    bar.update(bar.task_ids[0], completed=done, description=f"{packets:,} packets")
                yield block
        finally:
            if bar is not None:
                bar.stop()

    def _bar(self) -> Progress:
        return Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
                        console=Console(file=self._file), transient=True)  # fmt: skip
