"""`voipfleet read FILE...`: the calls in capture files, without root and without a daemon."""

import argparse
import sys

from voipfleet.calls.analyser import Analyser, AnalyserSettings
from voipfleet.calls.record import CallRecord
from voipfleet.capture.merge import merge
from voipfleet.capture.pcapfile import read_blocks
from voipfleet.config import convert
from voipfleet.options import BY_KEY
from voipfleet.show import print_calls


def _ports(text: str) -> tuple[int, ...]:
    try:
        return convert(BY_KEY["sipport"], text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="pcap or pcapng file, - for standard input; several are one capture"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a call")
    text = "ports that carry SIP, as in 5060,5070-5080 (%(default)s)"
    parser.add_argument("--sipport", type=_ports, default=BY_KEY["sipport"].default, help=text)


def run(args: argparse.Namespace) -> int:
    analyser = Analyser(AnalyserSettings(sipport=args.sipport, dtmf2db=True))
    calls: list[CallRecord] = []
    for block in merge([read_blocks(path) for path in args.files]):
        calls += analyser.feed(block)
    calls += analyser.finish("end_of_capture")
    calls.sort(key=lambda call: (call.setup_time, call.call_id))
    print_calls(calls, json=args.json)
    count = analyser.counters
    print(f"{count['packets']} packets, {count['ignored']} ignored, {len(calls)} calls", file=sys.stderr)
    return 0
