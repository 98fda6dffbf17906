"""Every metric: name, type, help, and where in the report of `voipfleet status` it comes from. Pure.

Labels are names of this fleet's own parts (a key of the configuration, a host of the inventory, a reason out of a
closed list), never anything out of a call. docs/metrics.md is made of this table.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from voipfleet.metrics.laws import LEFT, laws, unread

Sample = tuple[tuple[str, ...], float]
COUNTER, GAUGE = "counter", "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """`find(report)` gives (values of the labels, number) for each sample; nothing where this instance has none."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    find: Callable[[Mapping], Iterable[Sample]]


def _one(*path: str) -> Callable[[Mapping], Iterable[Sample]]:
    """The number at that place of the report."""

    def find(report: Mapping) -> Iterable[Sample]:
        value = report
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        if value is not None:
            yield (), float(value)

    return find


def _total(name: str) -> Callable[[Mapping], Iterable[Sample]]:
    """A counter of the engine, over restarts."""
    return _one("totals", "counters", name)


def _prefixed(prefix: str) -> Callable[[Mapping], Iterable[Sample]]:
    """The engine's counters `prefix`REASON."""

    def find(report: Mapping) -> Iterable[Sample]:
        for name, value in (report.get("totals") or {}).get("counters", {}).items():
            if name.startswith(prefix):
                yield (name.removeprefix(prefix),), value

    return find


def _links(report: Mapping) -> Iterable[tuple[str, Mapping]]:
    """(key of the configuration, what is said of it) of every link that this instance dials."""
    if link := report.get("link"):
        yield "server_destination", link
    for link in (report.get("packets") or {}).get("links", ()):
        yield link["key"], link


def _link(value: Callable[[Mapping], float | None]) -> Callable[[Mapping], Iterable[Sample]]:
    def find(report: Mapping) -> Iterable[Sample]:
        for key, link in _links(report):
            if (found := value(link)) is not None:
                yield (key,), found

    return find


def _buffer(name: str) -> Callable[[Mapping], Iterable[Sample]]:
    def find(report: Mapping) -> Iterable[Sample]:
        for link in (report.get("packets") or {}).get("links", ()):
            yield (link["key"],), link["buffer"][name]

    return find


def _received(name: str) -> Callable[[Mapping], Iterable[Sample]]:
    def find(report: Mapping) -> Iterable[Sample]:
        for one in (report.get("packets") or {}).get("received", ()):
            yield (one["source"][:8],), one[name]

    return find


def _refused(report: Mapping) -> Iterable[Sample]:
    found: dict[str, int] = {}
    for listener in report.get("listeners", ()):
        for name, value in listener.items():
            if name.startswith("refused_"):
                found[name[8:]] = found.get(name[8:], 0) + value
    yield from (((reason,), number) for reason, number in sorted(found.items()))


def _listeners(name: str) -> Callable[[Mapping], Iterable[Sample]]:
    def find(report: Mapping) -> Iterable[Sample]:
        for listener in report.get("listeners", ()):
            yield (str(listener["port"]),), listener.get(name, 0)

    return find


def _slots(report: Mapping) -> Iterable[Sample]:
    for listener in report.get("listeners", ()):
        for slot, number in enumerate(listener["slots"]):
            yield (str(listener["port"]), str(slot)), number


def _sensors(value: Callable[[Mapping], float | None]) -> Callable[[Mapping], Iterable[Sample]]:
    def find(report: Mapping) -> Iterable[Sample]:
        for sensor in report.get("sensors", ()):
            if (found := value(sensor)) is not None:
                yield (sensor["name"], sensor["sends"]), found

    return find


def _records(report: Mapping) -> Iterable[Sample]:
    for sensor in report.get("sensors", ()):
        if "records" in sensor:
            yield (sensor["name"],), sensor["records"]


def _offset(one: Mapping) -> float | None:
    offset = one.get("clock_offset_ms")
    return None if offset is None else offset / 1000


def _build(report: Mapping) -> Iterable[Sample]:
    yield (report["version"], report["mode"]), 1


def _ring(report: Mapping) -> Iterable[Sample]:
    if report.get("capture") and (totals := report.get("totals")):
        yield (), unread(totals["counters"])


def _left(report: Mapping) -> Iterable[Sample]:
    if report.get("capture") and (totals := report.get("totals")):
        yield (), totals["counters"].get(LEFT, 0)


def _fetches(report: Mapping) -> Iterable[Sample]:
    for result, number in ((report.get("pool") or {}).get("fetches") or {}).items():
        yield (result,), number


def _pool(name: str) -> Callable[[Mapping], Iterable[Sample]]:
    """A figure of the packet store, of each class of packets."""

    def find(report: Mapping) -> Iterable[Sample]:
        for kind in ("sip", "rtp", "audio"):
            if (value := (report.get("capture") or {}).get(f"pool_{kind}_{name}")) is not None:
                yield (kind,), value / 1e9 if name.endswith("_ns") else value

    return find


def _pool_total(names: Mapping[str, str]) -> Callable[[Mapping], Iterable[Sample]]:
    """Counters of the packet store over restarts, by reason: reason -> name."""

    def find(report: Mapping) -> Iterable[Sample]:
        counters = (report.get("totals") or {}).get("counters", {})
        for reason, name in names.items():
            if name in counters:
                yield (reason,), counters[name]

    return find


def _laws(report: Mapping) -> Iterable[Sample]:
    yield from (((law.name,), abs(law.missing)) for law in laws(report))


def _failing(report: Mapping) -> Iterable[Sample]:
    yield ("outbox",), float(bool(report["records"]["outbox_error"]))
    if store := report.get("store"):
        yield ("store",), float(not store["ok"])
    for link in (report.get("packets") or {}).get("links", ()):
        yield (link["key"],), float(bool(link["buffer"]["error"]))


def _status(report: Mapping) -> Iterable[Sample]:
    for name in ("sip_errors", "rtcp_errors"):
        for labels, value in _prefixed(name.removesuffix("s") + "_")(report):
            yield (name.removesuffix("_errors"), *labels), value


TABLE: tuple[Metric, ...] = tuple(Metric(f"voipfleet_{name}", *rest) for name, *rest in (
    ("build_info", GAUGE, "Version and mode; always 1.", ("version", "mode"), _build),
    ("ready", GAUGE, "1 once all parts run.", (), _one("ready")),
    ("uptime_seconds", GAUGE, "Seconds since the daemon was started.", (), _one("uptime_seconds")),
    ("starts_total", COUNTER, "How many processes the counters of this host are of.", (), _one("totals", "starts")),
    ("unaccounted", GAUGE, "What is missing in a conservation law; anything but 0 is a defect.", ("law",), _laws),
    ("failing", GAUGE, "1 while a part cannot write: outbox, store, or the buffer of a destination.",
     ("part",), _failing),
    # capture and analysis, over restarts
    ("capture_packets_total", COUNTER, "Packets that the kernel saw for us, with those it dropped.", (),
     _total("capture_packets_total")),
    ("capture_kernel_drops_total", COUNTER, "Packets that the kernel had no room for in the ring.", (),
     _total("capture_kernel_drops_total")),
    ("capture_read_packets_total", COUNTER, "Packets that were read from the rings.", (),
     _total("capture_read_packets_total")),
    ("capture_ring_packets", GAUGE, "Packets in the rings that nobody has read yet.", (), _ring),
    ("capture_left_packets_total", COUNTER, "Packets that were in the rings when a process was killed.", (), _left),
    ("capture_interface_errors_total", COUNTER, "Times that an interface went down.", (),
     _total("capture_interface_errors_total")),
    ("handed_packets_total", COUNTER, "Packets of other hosts that were analysed here.", (),
     _total("handed_packets_total")),
    ("sip_messages_total", COUNTER, "SIP messages.", (), _total("sip")),
    ("rtp_packets_total", COUNTER, "RTP packets.", (), _total("rtp")),
    ("rtcp_packets_total", COUNTER, "RTCP packets.", (), _total("rtcp")),
    ("other_packets_total", COUNTER, "UDP packets that are neither.", (), _total("other")),
    ("pieces_packets_total", COUNTER, "TCP segments and fragments.", (), _total("held")),
    ("pieces_made_total", COUNTER, "Messages and packets that were put together of them.", (), _total("made")),
    ("forward_packets_total", COUNTER, "Packets that were packed for another host.", (),
     _total("forward_packets_total")),
    ("ignored_packets_total", COUNTER, "Packets of no use, by reason.", ("reason",), _prefixed("ignored_")),
    ("span_duplicates_total", COUNTER, "Frames that a mirror port delivered twice.", (), _total("span_duplicates")),
    ("parse_errors_total", COUNTER, "Messages that are none, by layer and kind.", ("layer", "kind"), _status),
    ("analysis_errors_total", COUNTER, "Blocks that the analysis failed at: defects.", (),
     _total("analysis_errors_total")),
    ("analysis_failed_packets_total", COUNTER, "Packets lost by such a failure.", (),
     _total("analysis_failed_packets_total")),
    ("calls_active", GAUGE, "Calls that are up.", (), _one("capture", "calls_active")),
    ("calls_total", COUNTER, "Calls that ended.", (), _total("calls")),
    ("calls_evicted_total", COUNTER, "Calls that ended early because there was no room.", (), _total("calls_evicted")),
    ("streams_refused_total", COUNTER, "RTP streams that found no room.", (), _total("streams_refused")),
    ("pipe_records_dropped_total", COUNTER, "Records that were dropped between the processes.", (),
     _total("pipe_records_dropped_total")),
    ("pipe_packets_dropped_total", COUNTER, "Packets that were dropped between the processes.", (),
     _total("pipe_packets_dropped_total")),
    # packets that are kept
    ("pool_given_packets_total", COUNTER, "Packets that were to be kept.", (), _total("pool_given_packets_total")),
    ("pool_stored_packets_total", COUNTER, "Of these, those that are in the packet store.", (),
     _total("pool_stored_packets_total")),
    ("pool_lost_packets_total", COUNTER, "Of these, those that are not, by reason: the disk was too slow, it refused,"
     " or no call named their stream.", ("reason",),
     _pool_total({"slow": "pool_dropped_packets_total", "refused": "pool_failed_packets_total",
                  "no_call": "pool_stranger_packets_total"})),
    ("pool_segments_total", COUNTER, "Segments that were written.", (), _total("pool_segments_total")),
    ("pool_evicted_bytes_total", COUNTER, "Bytes that were removed for a limit: size, days, or free space.",
     ("reason",), _pool_total({why: f"pool_evicted_{why}_bytes_total" for why in ("size", "days", "floor")})),
    ("pool_bytes", GAUGE, "Bytes of the packet store, by class.", ("class",), _pool("bytes")),
    ("pool_oldest_timestamp_seconds", GAUGE, "When the oldest kept packet was captured; 0: none is kept.", ("class",),
     _pool("oldest_ns")),
    ("pool_damaged_segments", GAUGE, "Segments in which nothing can be found, as of the start.", (),
     _one("capture", "pool_damaged_segments")),
    ("pool_fetches_total", COUNTER, "Fetches of packets of calls that were served since the start, by result.",
     ("result",), _fetches),
    ("pool_fetched_bytes_total", COUNTER, "Bytes that went to them.", (), _one("pool", "fetched_bytes")),
    # records
    ("records_created_total", COUNTER, "Records that were written to the outbox.", (), _one("records", "created")),
    ("records_acknowledged_total", COUNTER, "Records that a store has committed.", (), _one("records", "acknowledged")),
    ("records_gaps_total", COUNTER, "Records that were given up; the store was told which.",
     (), _one("records", "gaps")),
    ("records_not_written_total", COUNTER, "Records lost because the disk refused for too long.", (),
     _one("records", "not_written")),
    ("outbox_rows", GAUGE, "Records that wait for an acknowledgement.", (), _one("records", "queued")),
    ("outbox_bytes", GAUGE, "Size of the outbox.", (), _one("records", "bytes")),
    ("outbox_oldest_age_seconds", GAUGE, "Age of the oldest record that waits; 0: none does.", (),
     _one("records", "oldest_seconds")),
    # links that this instance dials
    ("link_up", GAUGE, "1 while connected.", ("destination",), _link(lambda link: float(link["state"] == "connected"))),
    ("link_connections_total", COUNTER, "Connections since the start.", ("destination",),
     _link(lambda link: link["connections"])),
    ("link_rtt_seconds", GAUGE, "Shortest of the last round trips.",
     ("destination",), _link(lambda link: link.get("rtt"))),
    ("link_clock_offset_seconds", GAUGE, "Our clock minus that of the other end.", ("destination",), _link(_offset)),
    ("link_sent_bytes_total", COUNTER, "Bytes of packets that were sent.", ("destination",),
     _link(lambda link: link.get("bytes"))),
    ("link_bytes_saved_total", COUNTER, "Bytes that compression saved.", ("destination",),
     _link(lambda link: link.get("bytes_saved"))),
    ("buffer_put_packets_total", COUNTER, "Packets put into the buffer of a destination.", ("destination",),
     _buffer("put")),
    ("buffer_acknowledged_packets_total", COUNTER, "Of these, those that are in safe hands.", ("destination",),
     _buffer("acknowledged")),
    ("buffer_dropped_packets_total", COUNTER, "Of these, those that were dropped.",
     ("destination",), _buffer("dropped")),
    ("buffer_memory_packets", GAUGE, "Packets that wait in memory.", ("destination",), _buffer("memory")),
    ("buffer_disk_packets", GAUGE, "Packets that wait on disk.", ("destination",), _buffer("disk")),
    ("buffer_lag_seconds", GAUGE, "Age of the oldest packets that wait.", ("destination",), _buffer("lag_seconds")),
    # who connects here
    ("auth_failures_total", COUNTER, "Connections that were refused, by reason (docs/link.md).", ("reason",), _refused),
    ("link_sessions_total", COUNTER, "Connections that came in.", ("port",), _listeners("sessions")),
    ("link_flapping_total", COUNTER, "Times that two copies of one sensor came by turns.", ("port",),
     _listeners("flapping")),
    ("link_evicted_total", COUNTER, "Silent connections that made room for others.", ("port",), _listeners("evicted")),
    ("link_auth_slot_sensors", GAUGE, "Hosts connected with each active password, the present one first.",
     ("port", "slot"), _slots),
    ("sensor_connected", GAUGE, "1 for each host that is connected, and what it sends.", ("sensor", "sends"),
     _sensors(lambda sensor: 1.0)),
    ("sensor_clock_offset_seconds", GAUGE, "A connected host's clock minus ours.", ("sensor", "sends"),
     _sensors(_offset)),
    ("sensor_records_total", COUNTER, "Records of a connected host that were committed since our start.", ("sensor",),
     _records),
    ("received_packets_total", COUNTER, "Packets that came from a source (its uuid's beginning).", ("source",),
     _received("packets")),
    ("received_lost_packets_total", COUNTER, "Packets that a source had to drop.", ("source",), _received("lost")),
    # the store
    ("store_up", GAUGE, "1 while the database answers.", (), _one("store", "ok")),
    ("store_records_total", COUNTER, "Records committed since the start.", (), _one("store", "records")),
    ("store_commits_total", COUNTER, "Transactions with records since the start.", (), _one("store", "commits")),
    ("store_commit_seconds_total", COUNTER, "Seconds spent in them.", (), _one("store", "seconds")),
    ("quarantine_rows_total", COUNTER, "Records kept aside since the start because they cannot be stored.", (),
     _one("store", "quarantined")),
    ("gap_records_total", COUNTER, "Records that sensors said they gave up, since the start.",
     (), _one("store", "gaps")),
    ("sequence_skipped_total", COUNTER, "Numbers of records that never came, since the start; gap records say why.", (),
     _one("store", "skipped")),
    # the host
    ("disk_free_bytes", GAUGE, "Free space where the spool is.", (), _one("disk", "free")),
    ("disk_size_bytes", GAUGE, "Size of that file system.", (), _one("disk", "size")),
))  # fmt: skip


HEAD = "| name | type | labels | what |"


def page() -> str:
    """docs/metrics.md's table."""
    lines = [HEAD, "|---|---|---|---|"]
    for metric in TABLE:
        lines.append(f"| `{metric.name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.help} |")
    return "\n".join(lines) + "\n"
