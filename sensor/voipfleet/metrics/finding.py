"""Where the samples of a metric are in the report of `voipfleet status`. Pure.

A finder gives (values of the labels, number) for each sample; nothing where this instance has none.
"""

from collections.abc import Callable, Iterable, Mapping

from voipfleet.metrics.laws import laws

Sample = tuple[tuple[str, ...], float]
Find = Callable[[Mapping], Iterable[Sample]]
Value = Callable[[Mapping], float | None]


def one(*path: str) -> Find:
    """The number at that place of the report."""

    def find(report: Mapping) -> Iterable[Sample]:
        value = report
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        if value is not None:
            yield (), float(value)

    return find


def total(name: str) -> Find:
    """A counter of the engine, over restarts."""
    return one("totals", "counters", name)


def _counters(report: Mapping) -> Mapping[str, int]:
    """All of them."""
    return (report.get("totals") or {}).get("counters", {})


def prefixed(prefix: str) -> Find:
    """The engine's counters `prefix`REASON."""

    def find(report: Mapping) -> Iterable[Sample]:
        for name, value in _counters(report).items():
            if name.startswith(prefix):
                yield (name.removeprefix(prefix),), value

    return find


def errors(report: Mapping) -> Iterable[Sample]:
    """Of the parsers, by layer."""
    for layer in ("sip", "rtcp"):
        for labels, value in prefixed(f"{layer}_error_")(report):
            yield (layer, *labels), value


def rings(value: Value) -> Find:
    """A figure of the engine's counters, where this instance captures."""

    def find(report: Mapping) -> Iterable[Sample]:
        if report.get("capture") and (totals := report.get("totals")):
            yield (), value(totals["counters"])

    return find


def pool(name: str) -> Find:
    """A figure of the packet store, of each class of packets."""

    def find(report: Mapping) -> Iterable[Sample]:
        for kind in ("sip", "rtp", "audio"):
            if (value := (report.get("capture") or {}).get(f"pool_{kind}_{name}")) is not None:
                yield (kind,), value / 1e9 if name.endswith("_ns") else value

    return find


def pool_total(names: Mapping[str, str]) -> Find:
    """Counters of the packet store over restarts, by reason: reason -> name."""

    def find(report: Mapping) -> Iterable[Sample]:
        counters = _counters(report)
        for reason, name in names.items():
            if name in counters:
                yield (reason,), counters[name]

    return find


def _each(rows: Callable[[Mapping], Iterable[Mapping]], labels: Callable[[Mapping], tuple], value: Value) -> Find:
    """A sample of each row of a part of the report that has such a figure."""

    def find(report: Mapping) -> Iterable[Sample]:
        for row in rows(report):
            if (found := value(row)) is not None:
                yield labels(row), found

    return find


def _packets(report: Mapping, name: str) -> Iterable[Mapping]:
    return (report.get("packets") or {}).get(name, ())


def _links(report: Mapping) -> Iterable[Mapping]:
    """Every link that this instance dials; `key`: of the configuration."""
    if link := report.get("link"):
        yield {**link, "key": "server_destination"}
    yield from _packets(report, "links")


def link(value: Value) -> Find:
    return _each(_links, lambda row: (row["key"],), value)


def buffer(name: str) -> Find:
    return _each(lambda report: _packets(report, "links"), lambda row: (row["key"],), lambda row: row["buffer"][name])


def received(name: str) -> Find:
    return _each(lambda report: _packets(report, "received"), lambda row: (row["source"][:8],), lambda row: row[name])


def listeners(name: str) -> Find:
    return _each(lambda report: report.get("listeners", ()), lambda row: (str(row["port"]),),
                 lambda row: row.get(name, 0))  # fmt: skip


def _slots(report: Mapping) -> Iterable[Mapping]:
    for listener in report.get("listeners", ()):
        for slot, number in enumerate(listener["slots"]):
            yield {"port": listener["port"], "slot": slot, "number": number}


slots = _each(_slots, lambda row: (str(row["port"]), str(row["slot"])), lambda row: row["number"])


def sensors(value: Value) -> Find:
    return _each(lambda report: report.get("sensors", ()), lambda row: (row["name"], row["sends"]), value)


records = _each(lambda report: report.get("sensors", ()), lambda row: (row["name"],), lambda row: row.get("records"))


def offset(row: Mapping) -> float | None:
    """How far its clock is off, s."""
    ms = row.get("clock_offset_ms")
    return None if ms is None else ms / 1000


def refused(report: Mapping) -> Iterable[Sample]:
    """By all listeners together."""
    found: dict[str, int] = {}
    for listener in report.get("listeners", ()):
        for name, value in listener.items():
            if name.startswith("refused_"):
                found[name[8:]] = found.get(name[8:], 0) + value
    yield from (((reason,), number) for reason, number in sorted(found.items()))


def build(report: Mapping) -> Iterable[Sample]:
    yield (report["version"], report["mode"]), 1


def fetches(report: Mapping) -> Iterable[Sample]:
    for result, number in ((report.get("pool") or {}).get("fetches") or {}).items():
        yield (result,), number


def missing(report: Mapping) -> Iterable[Sample]:
    """By the laws."""
    yield from (((law.name,), abs(law.missing)) for law in laws(report))


def failing(report: Mapping) -> Iterable[Sample]:
    yield ("outbox",), float(bool(report["records"]["outbox_error"]))
    if store := report.get("store"):
        yield ("store",), float(not store["ok"])
    for row in _packets(report, "links"):
        yield (row["key"],), float(bool(row["buffer"]["error"]))
