"""`voipfleet read FILE...`: the calls in capture files, without root and without a daemon."""

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Iterable, Iterator

from voipfleet import filters, ladder
from voipfleet.calls.analyser import Analyser, AnalyserSettings
from voipfleet.calls.record import CallRecord
from voipfleet.calls.settings import GARBAGE
from voipfleet.capture.block import Block
from voipfleet.capture.merge import merge
from voipfleet.capture.pcapfile import read_blocks
from voipfleet.config import convert
from voipfleet.csvout import write_csv
from voipfleet.errors import FAILURE, INTERRUPTED, OK, UsageError, VoipfleetError
from voipfleet.harmless import harmless
from voipfleet.options import BY_KEY
from voipfleet.progress import Reading
from voipfleet.show import print_calls
from voipfleet.show_call import print_call, related
from voipfleet.show_registrations import print_registrations
from voipfleet.sipports import Elsewhere

LISTED = 20  # calls, where one was to be named and several fit


def _ports(text: str) -> tuple[int, ...]:
    try:
        return convert(BY_KEY["sipport"], text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", metavar="FILE",
        help="pcap or pcapng file, gzip or not, - for standard input; several are one capture",
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--json", action="store_true", help="one JSON object a call")
    what.add_argument("--csv", action="store_true", help="a header and one row a call, for spreadsheets")
    what.add_argument(
        "--call", metavar="ID",
        help="one call in full with its messages: its Call-ID, the beginning of it, or its number (#) in the table",
    )  # fmt: skip
    parser.add_argument("--registrations", action="store_true", help="registrations instead of calls")
    text = "ports that carry SIP, as in 5060,5070-5080 (%(default)s)"
    parser.add_argument("--sipport", type=_ports, default=BY_KEY["sipport"].default, help=text)
    filters.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    gc.set_threshold(GARBAGE)
    wanted = filters.from_arguments(args)
    if args.registrations and args.call is not None:
        raise UsageError("--call: it shows a call, and --registrations none; leave one of them out")
    if args.files.count("-") > 1:
        raise UsageError("-: standard input can be read once; name it once")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name need not be of the terminal's letters
    log = None
    if args.call is not None:  # of a number in the table the Call-ID is only known at the end
        log = ladder.Log("" if args.call.isdigit() else args.call)
    analyser = Analyser(AnalyserSettings(sipport=args.sipport, dtmf2db=True), on_message=log)
    elsewhere = Elsewhere()
    records, faults, stopped = _analyse(analyser, args.files, elsewhere)
    calls = _newest(records, "REGISTER" if args.registrations else "INVITE")
    numbered = {call.uuid: number for number, call in enumerate(calls, 1)}
    found = list(filter(wanted, calls))
    code = OK
    if log is not None:
        code = _one(args.call, calls, found, log)
    elif args.csv:
        write_csv(found, sys.stdout)
    elif args.registrations:
        print_registrations(found, json=args.json)
    else:
        print_calls(found, json=args.json, numbers=[numbered[call.uuid] for call in found])
    sys.stdout.flush()
    some = f"{len(found)} of " if wanted and log is None else ""
    kind = "registration" if args.registrations else "call"
    print(f"{summary(analyser.counters)}; {some}{len(calls)} {kind}{'s' * (len(calls) != 1)}", file=sys.stderr)
    if not analyser.counters["sip"] and (ports := elsewhere.ports()):
        there = ",".join(map(str, ports))
        print(f"--sipport: there is SIP, but not on its ports; give --sipport {there}", file=sys.stderr)
    for fault in faults:
        print(fault, file=sys.stderr)
    return INTERRUPTED if stopped else FAILURE if faults else code


def _analyse(analyser: Analyser, files: list[str],
             elsewhere: Elsewhere) -> tuple[list[CallRecord], list[VoipfleetError], bool]:  # fmt: skip
    """(records, what was wrong with the files after what could be read of them, whether Ctrl-C ended it)."""
    faults: list[VoipfleetError] = []
    reading, records, stopped = Reading(), [], False
    with contextlib.suppress(OSError):  # standard input has no size, and what is not there is told when it is opened
        # `path` is text, "-" among them, and stays it.
        reading.expect(sum(os.stat(path).st_size for path in files))  # noqa: PTH116
    sources = [_sound(read_blocks(path, opened=reading.opened), faults) for path in files]
    try:
        for block in reading.watch(merge(sources)):
            records += analyser.feed(block)
            if not analyser.counters["sip"]:
                elsewhere.look(block)
    except KeyboardInterrupt:  # `tcpdump -w - | voipfleet read -`: what came so far is the capture
        stopped = True
    return records + analyser.finish("end_of_capture"), faults, stopped


def _sound(blocks: Iterator[Block], faults: list[VoipfleetError]) -> Iterator[Block]:
    """The blocks up to a damage; a file that gives none at all is an error at once."""
    some = False
    try:
        for block in blocks:
            some = True
            yield block
    except VoipfleetError as error:
        if not some:
            raise
        faults.append(error)


def _newest(records: Iterable[CallRecord], method: str) -> list[CallRecord]:
    """The last revision of each."""
    last = {record.uuid: record for record in records if record.method == method}
    return sorted(last.values(), key=lambda call: (call.setup_time, call.call_id))


def _one(wanted: str, calls: list[CallRecord], among: list[CallRecord], log: ladder.Log) -> int:
    """Shows the one of `among` that is meant; where several are, lists them and asks back."""
    numbers = {call.uuid: number for number, call in enumerate(calls, 1)}
    found = filters.find(among, wanted, uuids=False) if wanted else among
    if wanted.isdigit() and not any(call.call_id == wanted for call in found):
        found = [call for call in among if numbers[call.uuid] == int(wanted)] or found
    if not found:
        filtered = " with these filters" if among != calls else ""
        print(f"--call {harmless(wanted)}: no such call{filtered}; run it without --call, and give a number (#) of the"
              " table", file=sys.stderr)  # fmt: skip
        return FAILURE
    if len(found) > 1:
        for call in found[:LISTED]:
            print(f"{numbers[call.uuid]:>6}  {call.caller or '-'} -> {call.callee or '-'}  {harmless(call.call_id)}")
        more = f", of which {LISTED} are listed" if len(found) > LISTED else ""
        raise UsageError(f"--call {harmless(wanted)}: {len(found)} calls fit{more}; give more of the Call-ID, or the "
                         "number before it")  # fmt: skip
    call = found[0]
    print_call(call, log.of(call, calls), left_out=log.left_out.get(call.call_id, 0), related=related(call, calls))
    return OK


def summary(count: dict[str, int]) -> str:
    """What was read, and by reason what was of no use."""
    kinds = [f"{count[name]} {title}" for name, title in
             (("sip", "SIP"), ("rtp", "RTP"), ("rtcp", "RTCP"), ("other", "other")) if count[name]]  # fmt: skip
    parts = [f"{count['packets']} packets" + (f" ({', '.join(kinds)})" if kinds else "")]
    for title, prefix in (("ignored", "ignored_"), ("SIP errors", "sip_error_"), ("RTCP errors", "rtcp_error_"),
                          ("fragment errors", "fragment_error_")):  # fmt: skip
        reasons = [f"{number} {name.removeprefix(prefix)}" for name, number in
                   sorted(count.items(), key=lambda item: -item[1]) if name.startswith(prefix) and number]  # fmt: skip
        if reasons:
            parts.append(f"{title}: {', '.join(reasons)}")
    for name, title in (("span_duplicates", "copies of a mirror port"), ("tcp_gaps", "gaps in TCP"),
                        ("fragments_expired", "datagrams with a fragment missing"), ("calls_evicted", "calls cut off"),
                        ("streams_refused", "streams not measured: too many")):  # fmt: skip
        if count.get(name):
            parts.append(f"{count[name]} {title}")
    return "; ".join(parts)
