"""The bar for long files: on a terminal only, after a while only, and by the bytes that were read."""

import io

import numpy as np
from voipfleet.capture.block import Block
from voipfleet.progress import PATIENCE, Reading

NONE = np.zeros(1, np.int64)
BLOCK = Block(data=NONE.astype(np.uint8), ts=NONE, offset=NONE, caplen=NONE, wirelen=NONE)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Opened:
    position = 0


def watched(file, seconds, size=4_000_000):
    now, opened = [0.0], Opened()
    reading = Reading(file, clock=lambda: now[0])
    reading.opened(opened)
    reading.expect(size)
    count = 0
    for _ in reading.watch([BLOCK] * 5):
        now[0] += seconds / 5
        opened.position += 800_000
        count += 1
    assert count == 5
    return file.getvalue()


def test_a_long_file_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    text = watched(Terminal(), 5 * PATIENCE)
    assert "packets" in text and "/4.0 MB" in text


def test_a_short_file_and_a_pipe_show_nothing():
    assert watched(Terminal(), PATIENCE / 2) == "" and watched(io.StringIO(), 60) == ""


def test_standard_input_has_no_size(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    assert "/?" in watched(Terminal(), 60, size=0)
