"""`voipfleet status`: what the running daemon says of itself; with --wait, whether all is well."""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

from voipfleet import config, errors
from voipfleet.commands import DEFAULT_CONFIG
from voipfleet.manager import ask
from voipfleet.metrics.laws import NOWHERE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--wait", type=float, metavar="SECONDS",
        help="wait until the instance is healthy (active, connected, a probe record acknowledged after its commit);"
        " exit 1 if it is not by then",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    path = Path(config.load(args.config).control_socket)
    if args.wait is None:
        report, fault = asyncio.run(ask(path, "status")), ""
    else:
        report, fault = asyncio.run(_healthy(path, args.wait))
    if args.json:
        print(json.dumps(report))
    else:
        show(describe(report), sys.stdout)
    if fault:
        raise errors.VoipfleetError(fault)
    return errors.OK


def show(lines: list[str], file) -> None:
    """For a person: what others sent cannot act on the terminal, and what is a defect is red there."""
    from rich.console import Console

    from voipfleet.harmless import harmless

    console = Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)
    for line in lines:
        console.print(harmless(line), style="bold red" if NOWHERE in line else None)


async def _healthy(path: Path, seconds: float) -> tuple[dict, str]:
    """The last report and why it is not healthy ("" when it is)."""
    until = time.monotonic() + seconds
    report: dict = {}
    while True:
        try:
            report = await ask(path, "status")
            fault = _fault(report)
            if not fault:
                left = max(1.0, min(10.0, until - time.monotonic()))
                report["probe"] = await ask(path, "probe", seconds=round(left))
                if report["probe"].get("acknowledged"):
                    return report, ""
                fault = "the probe record was not acknowledged; look at the central's log"
        except errors.VoipfleetError as error:
            fault = str(error)
        if time.monotonic() >= until:
            return report, f"not healthy after {seconds:g} s: {fault}"
        await asyncio.sleep(0.5)


def _fault(report: dict) -> str:
    if not report["ready"]:
        return "it is still starting"
    link, store, packets = (report.get(name) for name in ("link", "store", "packets"))
    if link and link["state"] != "connected":
        return f"not connected to the central ({link['why'] or link['state']})"
    for one in packets["links"] if packets else ():
        if one["state"] != "connected":
            return f"not connected to the receiver of its packets ({one['why'] or one['state']})"
    if store and not store["ok"]:
        return store["error"]
    return report["records"]["outbox_error"]


def describe(report: dict) -> list[str]:
    """The report as lines for people."""
    if not report:
        return []
    records = report["records"]
    lines = [
        f"{report['name']}: voipfleet {report['version']}, {report['mode']}, up {report['uptime_seconds']:.0f} s",
        f"records: {records['created']} created = {records['acknowledged']} acknowledged"
        f" + {records['queued']} queued + {records['gaps']} given up"
        + (f"; {records['not_written']} more could not be written" if records.get("not_written") else ""),
    ]
    if capture := report.get("capture"):
        lines += _capture(capture)
    # The others are said where they belong; one that does not hold is said in any case.
    lines += [law["text"] for law in report.get("laws", ()) if law["law"] == "packets" or not law["holds"]]
    if link := report.get("link"):
        lines.append(f"link: {_state(link)}")
    if packets := report.get("packets"):
        lines += _packets(packets)
    if store := report.get("store"):
        lines.append("store: " + ("ok" if store["ok"] else store["error"]))
    for sensor in report.get("sensors", []):
        lines.append(f"{sensor['name']} sends {sensor['sends']} from {sensor['address']}, key {sensor['key']}"
                     f"{_clock(sensor)}")  # fmt: skip
    return lines


def _state(link: dict) -> str:
    up = link["state"] == "connected"
    state = f"connected to {link['central']}" if up else f"{link['state']}: {link['why']}"
    return f"{state} for {link['seconds']:.0f} s, {link['connections']} connections{_clock(link)}"


def _clock(one: dict) -> str:
    offset = one.get("clock_offset_ms")
    return "" if offset is None else f", clock {offset:+.1f} ms"


def _packets(packets: dict) -> list[str]:
    """Where packets go, what waits and what was lost; and what came from others."""
    lines = []
    for link in packets["links"]:
        buffer = link["buffer"]
        lines.append(f"packets to {link['key']}: {_state(link)}")
        lines.append(f"  {buffer['put']:,} put = {buffer['acknowledged']:,} acknowledged"
                     f" + {buffer['memory']:,} in memory + {buffer['disk']:,} on disk + {buffer['dropped']:,} dropped;"
                     f" {buffer['lag_seconds']:g} s behind")  # fmt: skip
        if link["ratio"] is not None:
            lines.append(f"  sent {link['packets']:,} packets in {link['bytes']:,} bytes, {link['ratio']:.0%} of their"
                         f" size; {link['bytes_saved']:,} bytes saved")  # fmt: skip
        if buffer["error"]:
            lines.append(f"  {buffer['error']}")
    for one in packets["received"]:
        lines.append(f"packets from {one['source'][:8]}: {one['packets']:,} in {one['bytes']:,} bytes,"
                     f" {one['lost']:,} lost before they were sent,"
                     f" {one['looped']:,} blocks refused as a loop")  # fmt: skip
    return lines


def _capture(capture: dict) -> list[str]:
    """What was captured, what became of it, and everything that was dropped or refused."""

    def several(prefix: str) -> str:
        return ", ".join(f"{name.removeprefix(prefix)} {value:,}" for name, value in sorted(capture.items())
                         if name.startswith(prefix) and value)  # fmt: skip

    get = capture.get
    own = ", ".join(capture["interfaces"])
    where = f"capture on {own}" if own else "analysis of what others capture"
    analysed = (f"{get('packets', 0):,} packets, {get('sip', 0):,} SIP, {get('rtp', 0):,} RTP, {get('rtcp', 0):,} RTCP;"
                f" {get('calls_active', 0):,} calls up, {get('calls', 0):,} ended")  # fmt: skip
    passed = f"{get('capture_read_packets_total', 0):,} packets, which another host analyses"
    lines = [f"{where}: {analysed if 'packets' in capture else passed}",
             f"dropped: kernel {get('capture_kernel_drops_total', 0):,}, between the processes records"
             f" {get('pipe_records_dropped_total', 0):,}, packets {get('pipe_packets_dropped_total', 0):,};"
             f" calls ended early for room {get('calls_evicted', 0):,}"]  # fmt: skip
    for title, prefix in (("other packets", "ignored_"), ("SIP refused", "sip_error_")):
        if found := several(prefix):
            lines.append(f"{title}: {found}")
    for name, text in (("analysis_errors_total", "blocks that could not be analysed"),
                       ("capture_interface_errors_total", "times that an interface went down"),
                       ("streams_refused", "RTP streams refused, the table is full")):  # fmt: skip
        if get(name):
            lines.append(f"{text}: {get(name):,}")
    return lines
