"""`voipfleet pcap CALL`: the packets of one call, from whichever sensors have them, as one file."""

import argparse
import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from voipfleet.commands import DEFAULT_CONFIG
from voipfleet.errors import FAILURE, INTERRUPTED, OK, UsageError, VoipfleetError
from voipfleet.fetching import daemon, files, flow, writing
from voipfleet.fetching.gathering import Gathered, found, gathered

NONE = ("there is no wireshark on PATH; install it, or leave --wireshark out and open the file elsewhere:"
        " ssh HOST voipfleet pcap CALL -o - | wireshark -k -i -")  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call", metavar="CALL", help="its Call-ID, or its uuid (voipfleet calls --json)")
    parser.add_argument(
        "-o", "--output", metavar="FILE",
        help="where to: NAME.pcap, NAME.pcapng (an interface a sensor), or - for standard output (default: the first 8"
        " digits of the uuid, .pcap)",
    )  # fmt: skip
    parser.add_argument("--pcapng", action="store_true", help="as pcapng, whatever FILE is called")
    parser.add_argument("--force", action="store_true", help="replace FILE where it is there")
    parser.add_argument("--ladder", action="store_true", help="print its messages; no file unless -o is given")
    parser.add_argument("--wireshark", action="store_true", help="open it in Wireshark; no file unless -o is given")
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")


def run(args: argparse.Namespace) -> int:
    wireshark = shutil.which("wireshark") if args.wireshark else None
    if args.wireshark and not wireshark:
        raise VoipfleetError(f"--wireshark: {NONE}")
    if args.output == "-":
        _standard(args)
    socket = daemon.socket(args.config)
    call, holders = found(socket, args.call)
    path = None
    if args.output not in (None, "-") or not (args.output or args.ladder or args.wireshark):
        path = Path(args.output or f"{call.uuid.hex()[:8]}.pcap{'ng' if args.pcapng else ''}")
        args.pcapng |= path.suffix == ".pcapng"
        files.free(path, args.force)
    try:
        with gathered(socket, call, holders, path) as have:
            for line in have.notes:
                print(line, file=sys.stderr)
            if path is not None:
                files.write(path, _format(have, args.pcapng), args.force)
            elif args.output:
                _pour(sys.stdout.buffer, _format(have, args.pcapng))
            if args.ladder:
                if hasattr(sys.stdout, "reconfigure"):
                    sys.stdout.reconfigure(errors="backslashreplace")  # a name need not be of the terminal's letters
                flow.show(have.call, have.merged, daemon.sip_ports(args.config))
            if wireshark:
                _open(wireshark, have)
            print(have.summary(str(path or call.uuid.hex()[:8])), file=sys.stderr)
            return FAILURE if have.faults else OK
    except KeyboardInterrupt:
        again = "; the same command goes on where it stopped" if path else ""
        print(f"{path or call.uuid.hex()[:8]}: interrupted{again}", file=sys.stderr)
        return INTERRUPTED


def _standard(args: argparse.Namespace) -> None:
    if args.ladder:
        raise UsageError("-o -: --ladder prints to standard output too; leave one of them out")
    if sys.stdout.isatty():
        raise UsageError("-o -: packets are nothing for a terminal; send them into a file or a pipe")


def _format(have: Gathered, ng: bool) -> Iterable[bytes]:
    return writing.pcapng(have.merged) if ng else writing.pcap(have.merged)


def _pour(file, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[file.write(view) :]
    file.flush()


def _open(wireshark: str, have: Gathered) -> None:
    """Waits until Wireshark is closed."""
    how = {"stdin": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen([wireshark, "-k", "-i", "-"], **how) as process, contextlib.suppress(BrokenPipeError):
        _pour(process.stdin, writing.pcapng(have.merged))  # it may be closed before it has all
    if process.returncode:
        raise VoipfleetError(f"wireshark: ended with code {process.returncode}; is there a display? Leave --wireshark"
                             " out to have a file")  # fmt: skip
