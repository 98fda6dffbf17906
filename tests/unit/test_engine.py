"""The engine's loop with rings and an analyser of the test's own."""

import os
import socket
import time

import msgspec
from voipfleet import pipe
from voipfleet.calls import record
from voipfleet.calls.record import CallRecord
from voipfleet.engine import Engine
from voipfleet.relay import codec
from voipfleet.relay.messages import Handed


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

    def clock(self, sensor, now=0, offset_ms=None):
        pass

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


class WithCalls(Analyser):
    """Has a call that another host's packets began, and one that is due."""

    def checkpoints(self, now):
        return iter([call("begun")]), iter([call("due")])


def call(call_id):
    return CallRecord(uuid=call_id.encode().ljust(16), call_id=call_id, setup_time=1)


def test_what_began_in_blocks_is_written_down_before_it_is_said_that_they_are_analysed():
    ours, theirs = socket.socketpair()
    engine = Engine([], WithCalls(), pipe.PipeSender(theirs), theirs)
    with ours, theirs:
        block = codec.dropped(0)
        ours.send(pipe.frame(pipe.PACKETS, msgspec.msgpack.encode(Handed("branch1", 0, 0.0, 7, block))))
        engine._turn()
        engine._sender.flush(time.monotonic() + 1)
        found = pipe.PipeReader(ours).read()
    order = [(kind, body) for kind, body in found if kind in (pipe.CHECKPOINT, pipe.DONE)]
    through = (7).to_bytes(8, "big")
    assert [kind for kind, _ in order] == [pipe.CHECKPOINT, pipe.DONE, pipe.CHECKPOINT]
    assert [record.decode(body[8:]).call_id for kind, body in order if kind == pipe.CHECKPOINT] == ["begun", "due"]
    assert {body[:8] for _, body in order} == {through}


def test_a_call_that_cannot_be_written_down_ends_nothing(caplog):
    class Broken(Analyser):
        def checkpoints(self, now):
            return (1 / 0 for _ in range(1)), iter([call("due")])

    ours, theirs = socket.socketpair()
    engine = Engine([], Broken(), pipe.PipeSender(theirs), theirs)
    with ours, theirs:
        engine._turn()
        found = pipe.PipeReader(ours).read()
    assert pipe.CHECKPOINT in [kind for kind, _ in found]
    assert "a call that is up could not be written down" in caplog.text
