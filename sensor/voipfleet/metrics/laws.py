"""The conservation laws: what came in is somewhere, by number. Pure: a report of `voipfleet status` in, laws out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

RING = "in the ring"


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
        return said + f"; {abs(self.missing) or 'some'} packets or records are NOT ACCOUNTED FOR, please report this"


def laws(report: Mapping) -> Iterator[Law]:
    """All that apply to this instance."""
    if totals := report.get("totals"):
        yield _packets(totals["counters"])
    records = report["records"]
    terms = {"acknowledged": records["acknowledged"], "queued": records["queued"], "given up": records["gaps"]}
    yield Law("records", "created", records["created"], terms)
    for link in (report.get("packets") or {}).get("links", []):
        buffer = link["buffer"]
        yield Law(f"packets to {link['key']}", "put", buffer["put"], {
            "acknowledged": buffer["acknowledged"], "in memory": buffer["memory"], "on disk": buffer["disk"],
            "dropped": buffer["dropped"],
        })  # fmt: skip


def accounted(count: Mapping[str, int]) -> int:
    """How many packets the analysis has said something of."""
    return sum(count.get(name, 0) for name in ("sip", "rtp", "rtcp", "other", "ignored", "held")) - count.get("made", 0)


def _packets(count: Mapping[str, int]) -> Law:
    """Everything that the kernel saw for us and that other hosts sent, analysed here or passed on."""

    def get(name: str) -> int:
        return count.get(name, 0)

    captured, read, dropped = (get(f"capture_{name}_total") for name in ("packets", "read_packets", "kernel_drops"))
    terms = {}
    if "packets" in count:
        terms |= {"parsed": get("sip") + get("rtp") + get("rtcp"), "ignored": get("other") + get("ignored"),
                  "in pieces that were put together": get("held") - get("made"),
                  "lost in analysis": get("analysis_failed_packets_total")}  # fmt: skip
    else:
        terms["passed on"] = get("forward_packets_total")
    terms |= {"dropped by the kernel": dropped, RING: captured - dropped - read}
    return Law("packets", "received", captured + get("handed_packets_total"), terms)
