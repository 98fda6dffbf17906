"""`voipfleet check-config`: the daemon's own parser over a file, without starting anything."""

import argparse
import sys

from voipfleet import config, errors
from voipfleet.commands import DEFAULT_CONFIG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", default=DEFAULT_CONFIG, help="configuration (%(default)s)")
    parser.add_argument("--import", dest="reference", action="store_true",
                        help="a configuration of the reference: what has no counterpart is a warning")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    settings = config.load(args.file, import_reference=args.reference)
    for warning in settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{args.file}: ok")
    return errors.OK
