"""`voipfleet read FILE...`: the calls in capture files, without root and without a daemon."""

import argparse
import sys

from voipfleet.calls.analyser import Analyser, AnalyserSettings
from voipfleet.calls.record import CallRecord, to_json
from voipfleet.capture.pcapfile import read_blocks


def _port(word: str) -> int:
    if not (word.isascii() and word.isdigit() and 0 < int(word) < 65536):
        raise argparse.ArgumentTypeError(f"{word}: not a port; give numbers from 1 to 65535")
    return int(word)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="pcap or pcapng file, - for standard input")
    parser.add_argument("--json", action="store_true", help="one JSON object a call")
    parser.add_argument("--sipport", default="5060", help="ports that carry SIP, comma separated (default 5060)",
                        type=lambda text: tuple(_port(word) for word in text.split(",")))  # fmt: skip


def run(args: argparse.Namespace) -> int:
    analyser = Analyser(AnalyserSettings(sipport=args.sipport, dtmf2db=True))
    calls: list[CallRecord] = []
    for path in args.files:
        for block in read_blocks(path):
            calls += analyser.feed(block)
    calls += analyser.finish("end_of_capture")
    calls.sort(key=lambda call: (call.setup_time, call.call_id))
    _print(calls, args.json)
    count = analyser.counters
    print(f"{count['packets']} packets, {count['ignored']} ignored, {len(calls)} calls", file=sys.stderr)
    return 0


def _print(calls: list[CallRecord], as_json: bool) -> None:
    try:
        from voipfleet.show import print_calls
    except ImportError:
        for call in calls:
            print(to_json(call) if as_json else f"{call.caller} -> {call.callee} {call.final_response} "
                  f"{call.duration:.3f}s {call.end_reason} lost {sum(s.lost for s in call.streams)}")  # fmt: skip
    else:
        print_calls(calls, json=as_json)
