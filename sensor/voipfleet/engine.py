"""The engine process: capture, analysis, and what they find handed to the courier.

Started by the courier as `python -m voipfleet.engine FD CONFIG`; FD is its end of a socket pair. It ends on
SIGTERM or when the courier has gone.
"""

import gc
import logging
import os
import select
import signal
import socket
import sys
import time

import msgspec

from voipfleet import pipe, privileges, systemd
from voipfleet.errors import FAILURE, OK, VoipfleetError

POLL_MS = 60
PACE = 0.04  # s between turns, while the rings fill: a pass over many packets costs hardly more than one over few
BEHIND = 20_000  # packets in one turn from which on there is no waiting
DRAIN_SECONDS = 2.0
FLUSH_SECONDS = 3.0
STATUS_EVERY = 1.0
ERRORS_TOLD = 3  # a defect that every block meets would fill the journal
log = logging.getLogger("voipfleet.engine")


class Engine:
    """`rings` are read, `analyser` is fed, `sender` gets the records. `stop()` may be called by a signal."""

    def __init__(self, rings: list, analyser, sender: pipe.PipeSender, sock: socket.socket):
        self._rings, self._analyser, self._sender, self._sock = rings, analyser, sender, sock
        self._stopping = False
        self._read_packets = 0
        self._next_status = 0.0
        self._analysis_errors = 0

    def stop(self, *_) -> None:
        self._stopping = True

    def run(self) -> None:
        """Until stopped; then drain the rings and hand over every open call as a partial record."""
        poll = select.poll()
        by_fd = {ring.fileno(): ring for ring in self._rings}
        for fd in by_fd:
            poll.register(fd, select.POLLIN | select.POLLERR)
        poll.register(self._sock, select.POLLIN | select.POLLHUP)
        while not (self._stopping or self._sender.closed):
            for fd, event in poll.poll(POLL_MS):
                if fd not in by_fd:
                    self._listen()
                elif event & ~select.POLLIN:
                    by_fd[fd].clear_error()
            if self._turn() < BEHIND:
                time.sleep(PACE)
        self._drain()
        self._send(self._analyser.finish("sensor_restart"))
        self._status()
        self._sender.send(pipe.FINISHED)
        self._sender.flush(time.monotonic() + FLUSH_SECONDS)

    def _turn(self) -> int:
        """Feed what the rings hold now; how many packets that were."""
        packets = 0
        for ring in self._rings:
            for block in ring.read(16):
                packets += len(block)
                self._read_packets += len(block)
                self._feed(block)
        self._send(self._analyser.tick(time.time_ns()))
        self._sender.pump()
        if time.monotonic() >= self._next_status:
            self._next_status = time.monotonic() + STATUS_EVERY
            self._status()
        return packets

    def _feed(self, block) -> None:
        """One block that the analyser cannot take must not end the capture, nor the calls that are up."""
        try:
            self._send(self._analyser.feed(block))
        except Exception:
            self._analysis_errors += 1
            if self._analysis_errors <= ERRORS_TOLD:
                log.exception(
                    "analysis of a block of %d packets failed; the rest of it is lost, report this", len(block)
                )

    def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        for ring in self._rings:
            ring.stop()
        time.sleep(2 * POLL_MS / 1000)  # the kernel hands over its last block when that is due
        while self._turn() and time.monotonic() < deadline:
            pass

    def _listen(self) -> None:
        try:
            if not self._sock.recv(4096):
                self.stop()
        except BlockingIOError:
            pass
        except OSError:
            self.stop()

    def _send(self, records) -> None:
        from voipfleet.calls import record

        for call in records:
            self._sender.send(pipe.RECORD, record.encode(call))

    def _status(self) -> None:
        totals = [ring.statistics() for ring in self._rings]
        status = {
            **self._analyser.counters,
            "calls_active": self._analyser.active_calls,
            "capture_packets_total": sum(packets for packets, _ in totals),
            "capture_kernel_drops_total": sum(drops for _, drops in totals),
            "capture_read_packets_total": self._read_packets,
            "capture_interface_errors_total": sum(ring.errors for ring in self._rings),
            "analysis_errors_total": self._analysis_errors,
            "pipe_records_dropped_total": self._sender.records_dropped,
        }
        self._sender.send(pipe.STATUS, msgspec.msgpack.encode(status))


def _prepare(config_path: str, sender: pipe.PipeSender, sock: socket.socket) -> Engine:
    # Capabilities belong to a thread: NumPy's BLAS must not start threads that would keep them.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    from voipfleet.calls.analyser import Analyser, AnalyserSettings
    from voipfleet.calls.settings import GARBAGE
    from voipfleet.capture.afpacket import open_ring
    from voipfleet.config import load

    gc.set_threshold(GARBAGE)
    config = load(config_path)
    rings = [
        open_ring(name, ring_mb=config.ringbuffer, snaplen=config.snaplen, promisc=config.promisc, bpf=config.filter)
        for name in config.interface
    ]
    privileges.drop_all()
    return Engine(
        rings,
        Analyser(
            AnalyserSettings.from_config(config),
            sensor=config.name_sensor or socket.gethostname(),
            site=config.site or "",
        ),
        sender,
        sock,
    )


def main(fd: int, config_path: str) -> int:
    """Run the engine over the socket `fd`; its exit code. A fault goes to the courier as FAILED."""
    systemd.log_to_stderr()
    sock = socket.socket(fileno=fd)
    sender = pipe.PipeSender(sock)
    stopped = []  # a SIGTERM before the engine is ready
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    try:
        engine = _prepare(config_path, sender, sock)
    except Exception as error:
        known = isinstance(error, VoipfleetError)
        sentence = str(error) if known else f"capture: internal error ({type(error).__name__}: {error}); report it"
        code = error.exit_code if known else FAILURE
        sender.send(pipe.FAILED, msgspec.msgpack.encode({"exit_code": code, "sentence": sentence}))
        sender.flush(time.monotonic() + FLUSH_SECONDS)
        return code
    signal.signal(signal.SIGTERM, engine.stop)
    if stopped:
        engine.stop()
    sender.send(pipe.READY)
    engine.run()
    # The service manager and the courier may both send one; Python's shutdown would let the second kill.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return OK


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
