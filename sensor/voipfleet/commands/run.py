"""`voipfleet run`: the daemon in the foreground, as the systemd unit starts it."""

import argparse

from voipfleet import config, systemd
from voipfleet.commands import DEFAULT_CONFIG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")


def run(args: argparse.Namespace) -> int:
    settings = config.load(args.config)
    systemd.log_to_stderr()
    from voipfleet.service import serve

    return serve(settings, args.config)
