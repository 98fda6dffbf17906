"""The endpoint: what it says, and what it does not take."""

import asyncio
import contextlib
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.promtool import PROMTOOL, needs_promtool
from voipfleet import reference
from voipfleet.metrics.table import TABLE
from voipfleet.metrics.web import MAX_REQUEST, Web, exposition, unready

BUFFER = {"put": 9, "acknowledged": 4, "memory": 2, "disk": 2, "dropped": 1, "lag_seconds": 3.5, "error": ""}
LINK = {"state": "connected", "connections": 2, "clock_offset_ms": -12.5, "rtt": 0.004}
ZERO = (
    "capture_kernel_drops_total", "capture_interface_errors_total", "handed_packets_total", "rtp", "rtcp", "other",
    "calls", "forward_packets_total", "held", "made",
    "span_duplicates", "analysis_errors_total", "analysis_failed_packets_total", "calls_evicted", "streams_refused",
    "pipe_records_dropped_total", "pipe_packets_dropped_total",
)  # fmt: skip
KEPT = {"given_packets": 12, "stored_packets": 6, "dropped_packets": 1, "failed_packets": 2, "stranger_packets": 1,
        "segments": 2, **{f"evicted_{why}_bytes": 7 for why in ("size", "days", "floor")}}  # fmt: skip
POOL = {f"pool_{name}_total": number for name, number in KEPT.items()}
REPORT = {
    "name": "hq", "version": "0.1.0", "mode": "capture+central", "ready": True, "uptime_seconds": 12.5,
    "records": {"created": 10, "acknowledged": 5, "queued": 3, "gaps": 2, "not_written": 0, "outbox_error": "",
                "bytes": 4096, "oldest_seconds": 7},
    "totals": {"starts": 3, "counters": {
        **dict.fromkeys(ZERO, 0), **POOL, "capture_packets_total": 5,
        "capture_read_packets_total": 5, "packets": 5, "sip": 3, "ignored": 2,
        "ignored_arp": 2, "sip_errors": 1, "sip_error_no_callid": 1}},
    "capture": {"calls_active": 4, **POOL, "pool_staged_packets": 1, "pool_waiting_packets": 1,
                "pool_damaged_segments": 0, "pool_rtp_bytes": 4096,
                "pool_rtp_oldest_ns": 1_700_000_000_500_000_000},
    "pool": {"fetches": {"ok": 3, "left": 1}, "fetched_bytes": 99},
    "link": LINK,
    "packets": {"links": [LINK | {"key": "mirror_destination", "bytes": 100, "bytes_saved": 50, "buffer": BUFFER}],
                "received": [{"source": "ab" * 16, "packets": 7, "lost": 3}]},
    "listeners": [{"port": 60024, "slots": [3, 1], "sessions": 4, "refused_password": 2}],
    "sensors": [{"name": "b1", "sends": "records", "clock_offset_ms": 3.0, "records": 6}],
    "store": {"ok": True, "records": 9, "commits": 2, "seconds": 0.5, "quarantined": 1, "gaps": 2,
              "skipped": 0},
    "disk": {"free": 10, "size": 20},
}  # fmt: skip


def samples() -> dict:
    families = text_string_to_metric_families(exposition(REPORT).decode())
    return {(sample.name, *sorted(sample.labels.values())): sample.value for f in families for sample in f.samples}


def test_every_metric_has_a_value_somewhere():
    found = samples()
    assert {name for name, *_ in found} == {metric.name for metric in TABLE}
    assert found["voipfleet_auth_failures_total", "password"] == 2
    assert found["voipfleet_link_auth_slot_sensors", "1", "60024"] == 1
    assert found["voipfleet_parse_errors_total", "no_callid", "sip"] == 1
    assert found["voipfleet_ignored_packets_total", "arp"] == 2
    assert found["voipfleet_unaccounted", "packets"] == found["voipfleet_unaccounted", "kept packets"] == 0
    assert found["voipfleet_pool_lost_packets_total", "refused"] == 2
    assert found["voipfleet_pool_oldest_timestamp_seconds", "rtp"] == 1_700_000_000.5
    assert found["voipfleet_pool_fetches_total", "left"] == 1
    assert found["voipfleet_link_clock_offset_seconds", "server_destination"] == -0.0125
    assert found["voipfleet_build_info", "0.1.0", "capture+central"] == 1


def test_an_instance_says_nothing_of_parts_that_it_does_not_have():
    small = {key: REPORT[key] for key in ("version", "mode", "ready", "uptime_seconds", "records")}
    names = exposition(small).decode()
    assert "voipfleet_records_created_total 10.0" in names
    assert "voipfleet_store" not in names and "voipfleet_link" not in names


def test_hosts_of_one_name_are_one_series():
    twice = REPORT | {"sensors": [*REPORT["sensors"], REPORT["sensors"][0] | {"records": 8}]}
    said = exposition(twice).decode()
    assert said.count("voipfleet_sensor_connected{") == said.count("voipfleet_sensor_records_total{") == 1


@needs_promtool
def test_promtool_has_nothing_to_say():
    said = subprocess.run([PROMTOOL, "check", "metrics"], input=exposition(REPORT), capture_output=True, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, b"")


def test_names_are_the_fields_own():
    for metric in TABLE:
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert metric.help.endswith(".") and metric.name in reference.metrics_table()


def test_a_link_that_is_down_is_no_reason_to_start_it_anew():
    assert unready(REPORT) == unready(REPORT | {"link": LINK | {"state": "disconnected"}}) == ""
    assert unready(REPORT | {"ready": False}) == "starting"
    full = REPORT["records"] | {"outbox_error": "disk full"}
    assert unready(REPORT | {"records": full}) == "disk full"


def run(work):
    async def main():
        async def report():
            return REPORT

        web = Web(report)
        await web.start("127.0.0.1", 0)
        try:
            await work(web)
        finally:
            await web.close()

    asyncio.run(main())


async def ask(web: Web, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    writer.write(data)
    answer = b""
    with contextlib.suppress(ConnectionError):  # what was not read of a request makes the end of it a reset
        answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


@pytest.mark.parametrize(("request_", "first", "body"), [
    (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK", b"voipfleet_ready 1.0"),
    (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK", b"voipfleet_ready 1.0"),
    (b"GET /healthz HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK", b"ok"),
    (b"GET /readyz HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK", b"ready"),
    (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found", b"/metrics, /healthz and /readyz"),
    (b"POST /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed", b"Allow: GET, HEAD"),
    (b"\x16\x03\x01 hello\r\n\r\n", b"HTTP/1.1 400 Bad Request", b"not a request"),
])  # fmt: skip
def test_requests(request_, first, body):
    async def work(web):
        answer = await ask(web, request_)
        assert answer.startswith(first + b"\r\n") and body in answer

    run(work)


def test_a_head_has_no_body_and_says_how_long_it_would_be():
    async def work(web):
        answer = await ask(web, b"HEAD /healthz HTTP/1.1\r\n\r\n")
        assert b"Content-Length: 3\r\n" in answer and answer.endswith(b"\r\n\r\n")

    run(work)


def test_too_much_and_too_slow_and_too_many(monkeypatch):
    monkeypatch.setattr("voipfleet.metrics.web.SECONDS", 0.3)
    monkeypatch.setattr("voipfleet.metrics.web.AT_ONCE", 2)

    async def work(web):
        assert await ask(web, b"GET /" + b"x" * 2 * MAX_REQUEST) == b""
        assert await ask(web, b"GET /metr") == b""
        silent = [await asyncio.open_connection("127.0.0.1", web.port) for _ in range(2)]
        assert await ask(web, b"GET /healthz HTTP/1.1\r\n\r\n") == b""
        for _, writer in silent:
            writer.close()
        await asyncio.sleep(0.4)
        assert b"ok" in await ask(web, b"GET /healthz HTTP/1.1\r\n\r\n")

    run(work)


def test_a_port_that_is_taken_is_told_and_done_without(caplog):
    async def work(web):
        second = Web(web._report)
        await second.start("127.0.0.1", web.port)
        await second.close()
        assert "choose another metrics_port" in caplog.text

    run(work)
