"""The endpoint for machines: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever supervises.

GET only, nothing of a request is used but its path, and a client may cost little: 4 KiB, 5 seconds, 32 at once. There
is no authentication, so it listens on loopback unless someone decides otherwise; it says nothing of calls.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from voipfleet.metrics.table import COUNTER, TABLE

log = logging.getLogger("voipfleet.metrics")
MAX_REQUEST, SECONDS, AT_ONCE = 4096, 5.0, 32
TEXT = "text/plain; charset=utf-8"
_STATUS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Families:
    """A collector (prometheus_client) of one report."""

    def __init__(self, report: Mapping):
        self._report = report

    def collect(self):
        for metric in TABLE:
            family = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
            made = family(metric.name, metric.help, labels=metric.labels)
            # Two hosts may have one name (a clone): a series that is said twice would cost the whole scrape.
            for labels, value in dict(metric.find(self._report)).items():
                made.add_metric(labels, value)
            if made.samples:
                yield made


def exposition(report: Mapping) -> bytes:
    """The report in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families(report))
    return generate_latest(registry)


def unready(report: Mapping) -> str:
    """Why it does not do its job, "" where it does. A link or a database that is away is no such reason: records wait,
    and a daemon that was restarted for it would lose calls."""
    if not report.get("ready"):
        return "starting"
    return report["records"]["outbox_error"]


class Web:
    """`report()` is what `voipfleet status` says."""

    def __init__(self, report: Callable[[], Awaitable[Mapping]]):
        self._report = report
        self._server: asyncio.Server | None = None
        self._clients = 0

    async def start(self, bind: str, port: int) -> None:
        """A port that cannot be had is told and done without: capture is worth more than its figures."""
        try:
            self._server = await asyncio.start_server(self._serve, bind, port, limit=MAX_REQUEST)
        except OSError as error:
            log.error("metrics: cannot listen on %s:%d (%s); choose another metrics_port", bind, port, error.strerror)

    @property
    def port(self) -> int:
        return self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            # Cancelled: the daemon ends, and asyncio would make a traceback of that.
            with contextlib.suppress(
                TimeoutError, OSError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError
            ):
                if self._clients <= AT_ONCE:
                    async with asyncio.timeout(SECONDS):
                        head = await reader.readuntil(b"\r\n\r\n")
                        writer.write(await self._answer(head))
                        await writer.drain()
        finally:
            self._clients -= 1
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        words = head.partition(b"\r\n")[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/"):
            return _response(400, "not a request\n")
        method, path, _ = words
        if method not in (b"GET", b"HEAD"):
            return _response(405, "GET only\n", head="Allow: GET, HEAD")
        match path.partition(b"?")[0]:
            case b"/metrics":
                said = _response(200, exposition(await self._report()), CONTENT_TYPE_PLAIN_0_0_4)
            case b"/healthz":
                said = _response(200, "ok\n")
            case b"/readyz":
                why = unready(await self._report())
                said = _response(503 if why else 200, f"{why or 'ready'}\n")
            case _:
                said = _response(404, "there are /metrics, /healthz and /readyz\n")
        return said if method == b"GET" else said.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def _response(code: int, body: str | bytes, kind: str = TEXT, head: str = "") -> bytes:
    data = body.encode() if isinstance(body, str) else body
    lines = (
        f"HTTP/1.1 {code} {_STATUS[code]}", f"Content-Type: {kind}", f"Content-Length: {len(data)}",
        "Cache-Control: no-store", "X-Content-Type-Options: nosniff", *((head,) if head else ()), "Connection: close",
    )  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode() + data
