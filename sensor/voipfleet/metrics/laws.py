"""The conservation laws: what came in is somewhere, by number. Pure: a report of `voipfleet status` in, laws out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

NOWHERE = "NOT ACCOUNTED FOR"
RING = "in the ring"
LEFT = "capture_left_packets_total"  # what was in the ring when an earlier process ended


@dataclass(frozen=True, slots=True)
class Law:
    """`total` (`left`, a number) is the sum of `terms` (name -> number) where the law holds."""

    name: str
    left: str
    total: int
    terms: dict[str, int]

    @property
    def missing(self) -> int:
        """What is in none of the terms; negative: what is in more than one."""
        return self.total - sum(self.terms.values())

    @property
    def holds(self) -> bool:
        """A ring cannot hold less than nothing: then something was counted twice."""
        return not self.missing and self.terms.get(RING, 0) >= 0

    def __str__(self) -> str:
        terms = " + ".join(f"{number:,} {name}" for name, number in self.terms.items() if number or name == "parsed")
        said = f"{self.name}: {self.total:,} {self.left} = {terms or '0'}"
        if self.holds:
            return said
        return said + f"; {abs(self.missing) or 'some'} packets or records are {NOWHERE}, please report this"


def laws(report: Mapping) -> Iterator[Law]:
    """All that apply to this instance."""
    if totals := report.get("totals"):
        yield _packets(totals["counters"])
    records = report["records"]
    not_written = records["not_written"]
    yield Law("records", "created", records["created"] + not_written, {
        "acknowledged": records["acknowledged"], "queued": records["queued"], "given up": records["gaps"],
        "not written": not_written,
    })  # fmt: skip
    if "pool_given_packets_total" in (capture := report.get("capture") or {}):
        yield _kept(capture)
    for link in (report.get("packets") or {}).get("links", []):
        buffer = link["buffer"]
        yield Law(f"packets to {link['key']}", "put", buffer["put"], {
            "acknowledged": buffer["acknowledged"], "in memory": buffer["memory"], "on disk": buffer["disk"],
            "dropped": buffer["dropped"],
        })  # fmt: skip


def accounted(count: Mapping[str, int]) -> int:
    """How many packets the analysis has said something of."""
    return sum(count.get(name, 0) for name in ("sip", "rtp", "rtcp", "other", "ignored", "held")) - count.get("made", 0)


def unread(count: Mapping[str, int]) -> int:
    """Packets that the kernel took and nobody has read; those that earlier processes left are none of these."""
    captured, read, dropped = (
        count.get(f"capture_{what}_total", 0) for what in ("packets", "read_packets", "kernel_drops")
    )
    return captured - dropped - read - count.get(LEFT, 0)


def _kept(count: Mapping[str, int]) -> Law:
    """Everything that this process has given to the packet store."""
    terms = {"stored": "stored_packets_total", "staged": "staged_packets", "waiting for the disk": "waiting_packets",
             "dropped, the disk was too slow": "dropped_packets_total", "refused by the disk": "failed_packets_total",
             "of no call": "stranger_packets_total"}  # fmt: skip
    return Law("kept packets", "given", count["pool_given_packets_total"],
               {said: count.get(f"pool_{name}", 0) for said, name in terms.items()})  # fmt: skip


def _packets(count: Mapping[str, int]) -> Law:
    """Everything that the kernel saw for us and that other hosts sent, analysed here or passed on."""

    def get(name: str) -> int:
        return count.get(name, 0)

    terms = {}
    if "packets" in count:
        terms |= {"parsed": get("sip") + get("rtp") + get("rtcp"), "ignored": get("other") + get("ignored"),
                  "pieces, less what they made": get("held") - get("made"),
                  "lost in analysis": get("analysis_failed_packets_total")}  # fmt: skip
    else:
        between = get("pipe_packets_dropped_total")
        terms |= {"passed on": get("forward_packets_total") - between, "dropped between the processes": between}
    terms |= {"dropped by the kernel": get("capture_kernel_drops_total"), RING: unread(count),
              "in the ring when a process ended": get(LEFT)}  # fmt: skip
    return Law("packets", "received", get("capture_packets_total") + get("handed_packets_total"), terms)
