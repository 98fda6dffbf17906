"""Calls and packets on the interface `va` of a namespace, sent by the test process itself."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from support import netns
from support.caller import TO_A, TO_B, Wire, sdp, sip


class Calls:
    """Complete calls without media, one after the other, each with a number and a Call-ID of its own.

    `placed`: (number, monotonic s of its end). As a context, `rate` calls/s until it is left.
    """

    def __init__(self, namespace: str, rate: float = 100, first: int = 1000):
        self.placed: list[tuple[int, float]] = []
        self.rate, self._next = rate, first
        self.wire = inside(namespace, lambda: Wire("va"))
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def place(self, count: int) -> None:
        for _ in range(count):
            number = str(self._next)
            self.begin(number)
            self.wire.udp(TO_B, 5060, 5060, sip(number, "BYE sip:200@b SIP/2.0", "2 BYE"))
            self.wire.udp(TO_A, 5060, 5060, sip(number, "SIP/2.0 200 OK", "2 BYE"))
            self.placed.append((self._next, time.monotonic()))
            self._next += 1

    def begin(self, number: str) -> None:
        """A call that is answered and goes on."""
        media = 20_000 + 4 * (int(number) % 1000)
        self.wire.udp(TO_B, 5060, 5060, sip(number, "INVITE sip:200@b SIP/2.0", "1 INVITE", sdp("10.0.0.1", media)))
        self.wire.udp(TO_A, 5060, 5060, sip(number, "SIP/2.0 200 OK", "1 INVITE", sdp("10.0.0.2", media + 2)))
        self.wire.udp(TO_B, 5060, 5060, sip(number, "ACK sip:200@b SIP/2.0", "1 ACK"))

    def _run(self) -> None:
        start, done = time.monotonic(), 0
        while not self._end.wait(0.05):
            due = int((time.monotonic() - start) * self.rate) - done
            self.place(due)
            done += due

    def __enter__(self) -> "Calls":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._end.set()
        self._thread.join()


def inside(namespace: str, make: Callable):
    """What `make()` returns in the namespace; its sockets stay of there."""

    def run():
        netns.enter(namespace)
        return make()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()
