"""The engine process: capture, analysis of what is captured here and on other hosts, packing of what goes on to others.

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

from voipfleet import memory, pipe, privileges, systemd
from voipfleet.duties import duties
from voipfleet.errors import FAILURE, OK, VoipfleetError
from voipfleet.metrics.laws import accounted
from voipfleet.orders import Orders
from voipfleet.relay.messages import Handed

POLL_MS = 60
PACE = 0.04  # s between turns, while the rings fill: a pass over many packets costs hardly more than one over few
BEHIND = 20_000  # packets in one turn from which on there is no waiting
DRAIN_SECONDS = 2.0
FLUSH_SECONDS = 3.0
LAST_AT_ONCE = 1000  # records of open calls at the end
STATUS_EVERY = 1.0
ERRORS_TOLD = 3  # a defect that every block meets would fill the journal
RING_NS = 200_000_000  # how long the kernel may keep a packet before the ring shows it, with room
LATE = 8  # s by which another host's packets may be later than ours and still be joined in one record
MAX_HANDED = 4 << 20  # bytes of a block that was packed elsewhere
log = logging.getLogger("voipfleet.engine")
_decode_handed = msgspec.msgpack.Decoder(Handed).decode


class Engine:
    """`rings` are read; `analyser` (None: analysed elsewhere) is fed with it and with what the courier hands over;
    `packer` (None: not sent on) packs it; `store` keeps packets of what is analysed. `sender` gets what comes of it.
    `stop()` may be called by a signal."""

    def __init__(self, rings: list, analyser, sender: pipe.PipeSender, sock: socket.socket, packer=None, store=None):
        self._rings, self._analyser, self._packer, self._sender = rings, analyser, packer, sender
        self._store, self._orders = store, Orders(rings, analyser, store)
        self._reader, self._sock = pipe.PipeReader(sock), sock
        self._stopping = False
        self._read_packets = 0
        self._next_status = 0.0
        self._analysis_errors = self._failed_packets = self._handed_packets = 0
        self._records = self._through = 0  # how many have left; the last block that was handed over and is analysed
        self._told = (0, 0)

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
                if fd in by_fd and event & ~select.POLLIN:
                    by_fd[fd].clear_error()
            if self._turn() < BEHIND:
                self._sender.flush(time.monotonic() + PACE, whole=True)
        self._drain()
        end = time.monotonic() + FLUSH_SECONDS
        if self._analyser:
            last = self._analyser.finish("sensor_restart")
            for at in range(0, len(last), LAST_AT_ONCE):  # thousands may be up; the pipe has room for some of them
                self._send(last[at : at + LAST_AT_ONCE])
                self._sender.flush(end)
        if self._store:
            self._store.close(end)
        self._done()
        self._status()
        self._sender.send(pipe.FINISHED)
        self._sender.flush(max(end, time.monotonic() + 0.5))

    def _turn(self) -> int:
        """Feed what the rings and the courier hold now; how many packets that were."""
        begun, packets = time.time_ns(), 0
        for ring in self._rings:
            for block in ring.read(16):
                packets += len(block)
                self._read_packets += len(block)
                if self._packer:
                    self._packer.take(block)
                self._feed(block)
        if self._packer:
            self._packer.heard(begun - RING_NS)
        packets += self._handed()
        if self._analyser:
            self._send(self._analyser.tick(time.time_ns()))
            self._checkpoint()
            if self._store:
                self._store.tick()
        else:
            self._done()
        for answer in self._orders.done():
            self._sender.send(pipe.ANSWER, answer)
        self._sender.pump()
        if time.monotonic() >= self._next_status:
            self._next_status = time.monotonic() + STATUS_EVERY
            self._status()
        return packets

    def _handed(self) -> int:
        """What other hosts captured: fed, and the courier told how far that is."""
        from voipfleet.relay import codec

        packets = 0
        for kind, body in self._reader.read():
            if kind == pipe.ORDER:
                self._orders.take(body)
                continue
            handed = _decode_handed(body)
            if kind == pipe.PACKETS:
                self._through = handed.seq
                try:
                    block = codec.unpack(handed.body, max_bytes=MAX_HANDED, sensor=handed.sensor)
                except codec.PackedError as error:
                    self._failed("a block of packets from %s is none (%s); it is lost", handed.sensor, error)
                    continue
                packets += len(block)
                self._handed_packets += len(block)
                block.ts = block.ts - handed.shift
                self._analyser.clock(handed.sensor, offset_ms=handed.offset)
                self._feed(block)
            elif kind == pipe.HEARD:
                self._analyser.clock(handed.sensor, handed.clock, handed.offset)
        if self._reader.closed:
            self.stop()
        return packets

    def _done(self) -> None:
        """The courier keeps records together with how far they are the records of what it handed over."""
        if self._told != (self._through, self._records):
            self._told = self._through, self._records
            self._sender.send(pipe.DONE, self._through.to_bytes(8, "big"))

    def _checkpoint(self) -> None:
        """Open calls as they are now. Each says through which block it goes, and the courier keeps none ahead of DONE:
        so a block that is sent again after a kill cannot begin a call once more that was kept."""
        from voipfleet.calls import record

        through = self._through.to_bytes(8, "big")
        begun, due = self._analyser.checkpoints(time.monotonic())
        for calls, first in ((begun, True), (due, False)):
            try:
                for call in calls:
                    self._sender.checkpoint(call.uuid, through + record.encode(call), in_order=first)
            except Exception:
                self._failed("a call that is up could not be written down, report this", exc_info=True)
            if first:
                self._done()

    def _feed(self, block) -> None:
        """One block that the analyser cannot take must not end the capture, nor the calls that are up."""
        if not self._analyser:
            return
        counters = self._analyser.counters
        before = accounted(counters)
        try:
            self._send(self._analyser.feed(block))
        except Exception:
            self._failed_packets += len(block) - (accounted(counters) - before)
            self._failed("analysis of a block of %d packets failed; the rest of it is lost, report this", len(block),
                         exc_info=True)  # fmt: skip

    def _failed(self, text: str, *values, exc_info: bool = False) -> None:
        self._analysis_errors += 1
        if self._analysis_errors <= ERRORS_TOLD:
            log.error(text, *values, exc_info=exc_info)

    def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        for ring in self._rings:
            ring.stop()
        time.sleep(2 * POLL_MS / 1000)  # the kernel hands over its last block when that is due
        while self._turn() and time.monotonic() < deadline:
            pass

    def _send(self, records) -> None:
        from voipfleet.calls import record

        for call in records:
            self._records += 1
            if self._sender.send(pipe.RECORD, record.encode(call)):
                self._sender.forget(call.uuid)

    def _status(self) -> None:
        totals = [ring.statistics() for ring in self._rings]
        status = {
            **(self._analyser.counters if self._analyser else {}),
            **(self._packer.counters if self._packer else {}),
            **(self._store.counters if self._store else {}),
            "calls_active": self._analyser.active_calls if self._analyser else 0,
            "capture_packets_total": sum(packets for packets, _ in totals),
            "capture_kernel_drops_total": sum(drops for _, drops in totals),
            "capture_read_packets_total": self._read_packets,
            "capture_interface_errors_total": sum(ring.errors for ring in self._rings),
            "analysis_errors_total": self._analysis_errors,
            "analysis_failed_packets_total": self._failed_packets,
            "handed_packets_total": self._handed_packets,
            "pipe_records_dropped_total": self._sender.records_dropped,
            "pipe_packets_dropped_total": self._sender.packets_dropped,
            "pipe_checkpoints_dropped_total": self._sender.checkpoints_dropped,
        }
        self._sender.send(pipe.STATUS, msgspec.msgpack.encode(status))


def _prepare(config_path: str, sender: pipe.PipeSender, sock: socket.socket) -> Engine:
    # Capabilities belong to a thread: NumPy's BLAS must not start threads that would keep them.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    from voipfleet.calls.analyser import Analyser, AnalyserSettings
    from voipfleet.calls.settings import GARBAGE
    from voipfleet.capture.afpacket import open_ring
    from voipfleet.config import load
    from voipfleet.packer import Packer
    from voipfleet.storing import open_store

    gc.set_threshold(GARBAGE)
    config = load(config_path)
    todo = duties(config)
    rings = [
        open_ring(name, ring_mb=config.ringbuffer, snaplen=config.snaplen, promisc=config.promisc, bpf=config.filter)
        for name in config.interface or ()
    ]
    if rings:  # who captures nothing was given none
        privileges.drop_all()
    analyser = packer = store = None
    if todo.analyses:
        name = config.name_sensor or socket.gethostname()
        store, keep = open_store(config, name, all_rtp=bool(config.stream_records or todo.receives))
        settings = AnalyserSettings.from_config(config, checkpoints=True, late=LATE if todo.receives else 0)
        analyser = Analyser(settings, sensor=name, site=config.site or "", keep=keep)
    if todo.sends:
        method = config.packetbuffer_compress_method if config.packetbuffer_compress else "none"
        packer = Packer(sender, method, config.packetbuffer_compress_ratio)
    return Engine(rings, analyser, sender, sock, packer, store)


def main(fd: int, config_path: str) -> int:
    """Run the engine over the socket `fd`; its exit code. A fault goes to the courier as FAILED."""
    systemd.log_to_stderr()
    memory.keep()
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
