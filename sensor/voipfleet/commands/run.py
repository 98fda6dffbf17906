"""`voipfleet run`: the daemon in the foreground, as the systemd unit starts it."""

import argparse
import os

from voipfleet import config, systemd
from voipfleet.commands import DEFAULT_CONFIG

# A thread that a library starts while it is imported would keep the capabilities that this process gives up later on.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")


def run(args: argparse.Namespace) -> int:
    settings = config.load(args.config)
    systemd.log_to_stderr()
    os.environ |= ONE_THREAD
    from voipfleet.service import serve

    return serve(settings, args.config)
