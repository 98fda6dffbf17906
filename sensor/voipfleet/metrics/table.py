"""Every metric: name, type, help, and where in the report of `voipfleet status` it comes from. Pure.

Labels are names of this fleet's own parts (a key of the configuration, a host of the inventory, a reason out of a
closed list), never anything out of a call. docs/metrics.md is made of this table.
"""

from dataclasses import dataclass

from voipfleet.metrics.finding import (
    Find,
    buffer,
    build,
    errors,
    failing,
    fetches,
    link,
    listeners,
    missing,
    offset,
    one,
    pool,
    pool_total,
    prefixed,
    received,
    records,
    refused,
    rings,
    sensors,
    slots,
    total,
)
from voipfleet.metrics.laws import LEFT, unread

COUNTER, GAUGE = "counter", "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """`find(report)` gives its samples (voipfleet.metrics.finding)."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    find: Find


TABLE: tuple[Metric, ...] = tuple(Metric(f"voipfleet_{name}", *rest) for name, *rest in (
    ("build_info", GAUGE, "Version and mode; always 1.", ("version", "mode"), build),
    ("ready", GAUGE, "1 once all parts run.", (), one("ready")),
    ("uptime_seconds", GAUGE, "Seconds since the daemon was started.", (), one("uptime_seconds")),
    ("starts_total", COUNTER, "How many processes the counters of this host are of.", (), one("totals", "starts")),
    ("unaccounted", GAUGE, "What is missing in a conservation law; anything but 0 is a defect.", ("law",), missing),
    ("failing", GAUGE, "1 while a part cannot write: outbox, store, or the buffer of a destination.",
     ("part",), failing),
    # capture and analysis, over restarts
    ("capture_packets_total", COUNTER, "Packets that the kernel saw for us, with those it dropped.", (),
     total("capture_packets_total")),
    ("capture_kernel_drops_total", COUNTER, "Packets that the kernel had no room for in the ring.", (),
     total("capture_kernel_drops_total")),
    ("capture_read_packets_total", COUNTER, "Packets that were read from the rings.", (),
     total("capture_read_packets_total")),
    ("capture_ring_packets", GAUGE, "Packets in the rings that nobody has read yet.", (), rings(unread)),
    ("capture_left_packets_total", COUNTER, "Packets that were in the rings when a process was killed.", (),
     rings(lambda count: count.get(LEFT, 0))),
    ("capture_interface_errors_total", COUNTER, "Times that an interface went down.", (),
     total("capture_interface_errors_total")),
    ("handed_packets_total", COUNTER, "Packets of other hosts that were analysed here.", (),
     total("handed_packets_total")),
    ("sip_messages_total", COUNTER, "SIP messages.", (), total("sip")),
    ("rtp_packets_total", COUNTER, "RTP packets.", (), total("rtp")),
    ("rtcp_packets_total", COUNTER, "RTCP packets.", (), total("rtcp")),
    ("other_packets_total", COUNTER, "UDP packets that are neither.", (), total("other")),
    ("pieces_packets_total", COUNTER, "TCP segments and fragments.", (), total("held")),
    ("pieces_made_total", COUNTER, "Messages and packets that were put together of them.", (), total("made")),
    ("forward_packets_total", COUNTER, "Packets that were packed for another host.", (),
     total("forward_packets_total")),
    ("ignored_packets_total", COUNTER, "Packets of no use, by reason.", ("reason",), prefixed("ignored_")),
    ("span_duplicates_total", COUNTER, "Frames that a mirror port delivered twice.", (), total("span_duplicates")),
    ("parse_errors_total", COUNTER, "Messages that are none, by layer and kind.", ("layer", "kind"), errors),
    ("analysis_errors_total", COUNTER, "Blocks that the analysis failed at: defects.", (),
     total("analysis_errors_total")),
    ("analysis_failed_packets_total", COUNTER, "Packets lost by such a failure.", (),
     total("analysis_failed_packets_total")),
    ("calls_active", GAUGE, "Calls that are up.", (), one("capture", "calls_active")),
    ("calls_total", COUNTER, "Calls that ended.", (), total("calls")),
    ("calls_evicted_total", COUNTER, "Calls that ended early because there was no room.", (), total("calls_evicted")),
    ("streams_refused_total", COUNTER, "RTP streams that found no room.", (), total("streams_refused")),
    ("pipe_records_dropped_total", COUNTER, "Records that were dropped between the processes.", (),
     total("pipe_records_dropped_total")),
    ("pipe_packets_dropped_total", COUNTER, "Packets that were dropped between the processes.", (),
     total("pipe_packets_dropped_total")),
    # packets that are kept
    ("pool_given_packets_total", COUNTER, "Packets that were to be kept.", (), total("pool_given_packets_total")),
    ("pool_stored_packets_total", COUNTER, "Of these, those that are in the packet store.", (),
     total("pool_stored_packets_total")),
    ("pool_lost_packets_total", COUNTER, "Of these, those that are not, by reason: the disk was too slow, it refused,"
     " or no call named their stream.", ("reason",),
     pool_total({"slow": "pool_dropped_packets_total", "refused": "pool_failed_packets_total",
                  "no_call": "pool_stranger_packets_total"})),
    ("pool_segments_total", COUNTER, "Segments that were written.", (), total("pool_segments_total")),
    ("pool_evicted_bytes_total", COUNTER, "Bytes that were removed for a limit: size, days, or free space.",
     ("reason",), pool_total({why: f"pool_evicted_{why}_bytes_total" for why in ("size", "days", "floor")})),
    ("pool_bytes", GAUGE, "Bytes of the packet store, by class.", ("class",), pool("bytes")),
    ("pool_oldest_timestamp_seconds", GAUGE, "When the oldest kept packet was captured; 0: none is kept.", ("class",),
     pool("oldest_ns")),
    ("pool_damaged_segments", GAUGE, "Segments in which nothing can be found, as of the start.", (),
     one("capture", "pool_damaged_segments")),
    ("pool_fetches_total", COUNTER, "Fetches of packets of calls that were served since the start, by result.",
     ("result",), fetches),
    ("pool_fetched_bytes_total", COUNTER, "Bytes that went to them.", (), one("pool", "fetched_bytes")),
    # records
    ("records_created_total", COUNTER, "Records that were written to the outbox.", (), one("records", "created")),
    ("records_acknowledged_total", COUNTER, "Records that a store has committed.", (), one("records", "acknowledged")),
    ("records_gaps_total", COUNTER, "Records that were given up; the store was told which.",
     (), one("records", "gaps")),
    ("records_not_written_total", COUNTER, "Records lost because the disk refused for too long.", (),
     one("records", "not_written")),
    ("outbox_rows", GAUGE, "Records that wait for an acknowledgement.", (), one("records", "queued")),
    ("outbox_bytes", GAUGE, "Size of the outbox.", (), one("records", "bytes")),
    ("outbox_oldest_age_seconds", GAUGE, "Age of the oldest record that waits; 0: none does.", (),
     one("records", "oldest_seconds")),
    # links that this instance dials
    ("link_up", GAUGE, "1 while connected.", ("destination",), link(lambda link: float(link["state"] == "connected"))),
    ("link_connections_total", COUNTER, "Connections since the start.", ("destination",),
     link(lambda link: link["connections"])),
    ("link_rtt_seconds", GAUGE, "Shortest of the last round trips.",
     ("destination",), link(lambda link: link.get("rtt"))),
    ("link_clock_offset_seconds", GAUGE, "Our clock minus that of the other end.", ("destination",), link(offset)),
    ("link_sent_bytes_total", COUNTER, "Bytes of packets that were sent.", ("destination",),
     link(lambda link: link.get("bytes"))),
    ("link_bytes_saved_total", COUNTER, "Bytes that compression saved.", ("destination",),
     link(lambda link: link.get("bytes_saved"))),
    ("buffer_put_packets_total", COUNTER, "Packets put into the buffer of a destination.", ("destination",),
     buffer("put")),
    ("buffer_acknowledged_packets_total", COUNTER, "Of these, those that are in safe hands.", ("destination",),
     buffer("acknowledged")),
    ("buffer_dropped_packets_total", COUNTER, "Of these, those that were dropped.",
     ("destination",), buffer("dropped")),
    ("buffer_memory_packets", GAUGE, "Packets that wait in memory.", ("destination",), buffer("memory")),
    ("buffer_disk_packets", GAUGE, "Packets that wait on disk.", ("destination",), buffer("disk")),
    ("buffer_lag_seconds", GAUGE, "Age of the oldest packets that wait.", ("destination",), buffer("lag_seconds")),
    # who connects here
    ("auth_failures_total", COUNTER, "Connections that were refused, by reason (docs/link.md).", ("reason",), refused),
    ("link_sessions_total", COUNTER, "Connections that came in.", ("port",), listeners("sessions")),
    ("link_flapping_total", COUNTER, "Times that two copies of one sensor came by turns.", ("port",),
     listeners("flapping")),
    ("link_evicted_total", COUNTER, "Silent connections that made room for others.", ("port",), listeners("evicted")),
    ("link_auth_slot_sensors", GAUGE, "Hosts connected with each active password, the present one first.",
     ("port", "slot"), slots),
    ("sensor_connected", GAUGE, "1 for each host that is connected, and what it sends.", ("sensor", "sends"),
     sensors(lambda sensor: 1.0)),
    ("sensor_clock_offset_seconds", GAUGE, "A connected host's clock minus ours.", ("sensor", "sends"),
     sensors(offset)),
    ("sensor_records_total", COUNTER, "Records of a connected host that were committed since our start.", ("sensor",),
     records),
    ("received_packets_total", COUNTER, "Packets that came from a source (its uuid's beginning).", ("source",),
     received("packets")),
    ("received_lost_packets_total", COUNTER, "Packets that a source had to drop.", ("source",), received("lost")),
    # the store
    ("store_up", GAUGE, "1 while the database answers.", (), one("store", "ok")),
    ("store_records_total", COUNTER, "Records committed since the start.", (), one("store", "records")),
    ("store_commits_total", COUNTER, "Transactions with records since the start.", (), one("store", "commits")),
    ("store_commit_seconds_total", COUNTER, "Seconds spent in them.", (), one("store", "seconds")),
    ("quarantine_rows_total", COUNTER, "Records kept aside since the start because they cannot be stored.", (),
     one("store", "quarantined")),
    ("gap_records_total", COUNTER, "Records that sensors said they gave up, since the start.",
     (), one("store", "gaps")),
    ("sequence_skipped_total", COUNTER, "Numbers of records that never came, since the start; gap records say why.", (),
     one("store", "skipped")),
    # the host
    ("disk_free_bytes", GAUGE, "Free space where the spool is.", (), one("disk", "free")),
    ("disk_size_bytes", GAUGE, "Size of that file system.", (), one("disk", "size")),
))  # fmt: skip
