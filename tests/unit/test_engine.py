"""The engine's loop with rings and an analyser of the test's own."""

import os
import socket

import msgspec
from voipfleet import pipe
from voipfleet.engine import Engine


class Ring:
    """Hands over its blocks once; readable for poll until then."""

    errors = 0

    def __init__(self, blocks):
        self._blocks = blocks
        self._fd, self._other = os.pipe()

    def fileno(self):
        return self._fd

    def read(self, most):
        taken, self._blocks = self._blocks[:most], self._blocks[most:]
        return taken

    def statistics(self):
        return 0, 0

    def stop(self):
        pass


class Analyser:
    active_calls = 0
    counters = {}

    def __init__(self):
        self.fed = []

    def feed(self, block):
        if block == b"poison":
            raise ValueError("a defect")
        self.fed.append(block)
        return []

    def tick(self, now):
        return []

    def checkpoints(self, now):
        return (), ()

    def finish(self, reason):
        return []


def test_a_block_that_the_analyser_cannot_take_is_counted_and_told_and_capture_goes_on(caplog):
    ours, theirs = socket.socketpair()
    analyser = Analyser()
    engine = Engine([Ring([b"one", *[b"poison"] * 5, b"two"])], analyser, pipe.PipeSender(theirs), theirs)
    with ours, theirs:
        engine.stop()
        engine.run()
        theirs.close()
        data = b"".join(iter(lambda: ours.recv(65536), b""))
    assert analyser.fed == [b"one", b"two"]
    at, statuses = 0, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4] == pipe.STATUS:
            statuses.append(msgspec.msgpack.decode(data[at + 5 : at + 4 + length]))
        at += 4 + length
    assert statuses[-1]["analysis_errors_total"] == 5
    assert statuses[-1]["capture_read_packets_total"] == 3 + 5 * 6 + 3
    assert caplog.text.count("analysis of a block of 6 packets failed") == 3
