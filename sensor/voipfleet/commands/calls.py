"""`voipfleet calls`: the calls in the database of this instance."""

import argparse
import datetime
import re

from voipfleet import config, errors
from voipfleet.commands import DEFAULT_CONFIG

_SPAN = {"m": 60, "h": 3600, "d": 86400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--since", type=_since, default=0, metavar="WHEN", help="30m, 12h, 7d ago, or 2026-01-31[T12:00]"
    )
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="the newest N (%(default)s; 0: all)")
    parser.add_argument("--number", default="", help="caller or callee is this number")
    parser.add_argument("--site", default="", help="the site or the sensor")
    parser.add_argument("--call-id", default="", help="the SIP Call-ID")
    parser.add_argument("--full", action="store_true", help="each call in full, with all its streams")
    parser.add_argument("--registrations", action="store_true", help="registrations instead of calls")


def run(args: argparse.Namespace) -> int:
    settings = config.load(args.config)
    from voipfleet import show, show_call, show_registrations
    from voipfleet.central.store import Store
    from voipfleet.central.url import to_ask

    store = Store(to_ask(settings))
    try:
        found = store.calls(
            since=args.since, limit=args.limit, number=args.number, site=args.site, call_id=args.call_id,
            method="REGISTER" if args.registrations else "INVITE",
        )  # fmt: skip
    finally:
        store.close()
    if args.full and not (args.json or args.registrations):
        for call in found:
            show_call.print_call(call, [])
        return errors.OK
    (show_registrations.print_registrations if args.registrations else show.print_calls)(found, json=args.json)
    return errors.OK


def _since(text: str) -> int:
    """Nanoseconds since the epoch."""
    now = datetime.datetime.now(datetime.UTC)
    try:
        if span := re.fullmatch(r"([0-9]{1,6})([mhd])", text):
            moment = now - datetime.timedelta(seconds=int(span[1]) * _SPAN[span[2]])
        else:
            moment = datetime.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give 30m, 12h, 7d or 2026-01-31") from None
    return int(moment.timestamp() * 1_000_000_000)
