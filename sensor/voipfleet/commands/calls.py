"""`voipfleet calls`: the calls in the database of this instance."""

import argparse
import contextlib
import sys

from voipfleet import config, errors, filters
from voipfleet.commands import DEFAULT_CONFIG

NEWEST = "setup_time-desc"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="one JSON object a line")
    how.add_argument("--csv", action="store_true", help="a header and one row a call, for spreadsheets")
    how.add_argument("--full", action="store_true", help="each call in full, with all its streams")
    parser.add_argument("--registrations", action="store_true", help="registrations instead of calls")
    parser.add_argument("--limit", type=_count, default=100, metavar="N", help="N calls (%(default)s; 0: all)")
    parser.add_argument(
        "--sort", metavar="ORDER",
        help="setup_time, duration, mos, lost or pdd, with -desc the other way round (without: the newest calls)",
    )  # fmt: skip
    parser.add_argument("--after", default="", metavar="TOKEN", help="the page after that one")
    add_which(parser)


def add_which(parser: argparse.ArgumentParser) -> None:
    """The options that say which calls, for `kpi` too."""
    filters.add_arguments(parser)
    group = parser.add_argument_group("by where and by name")
    group.add_argument("--site", default="", help="calls of this site or this sensor")
    group.add_argument("--sensor", default="", help="calls that this sensor saw first")
    group.add_argument("--call-id", default="", help="the call of this SIP Call-ID")
    group.add_argument("--uuid", type=_uuid, default=b"", help="the call of this uuid")


def which(args: argparse.Namespace, kind: int):
    """The voipfleet.central.conditions.Query of these options."""
    from voipfleet.central.conditions import Query

    return Query(filters.from_arguments(args), args.site, args.sensor, args.call_id, args.uuid, kind)


def run(args: argparse.Namespace) -> int:
    settings = config.load(args.config)
    from voipfleet.central import facts, search
    from voipfleet.central.store import Store
    from voipfleet.central.url import to_ask

    query = which(args, facts.REGISTRATIONS if args.registrations else facts.INVITES)
    ordered = search.order(args.sort or NEWEST, args.after)
    with contextlib.closing(Store(to_ask(settings))) as store:
        page = store.search(query, ordered, args.limit)
    _print(page.calls if args.sort else page.calls[::-1], args)
    sys.stdout.flush()
    for line in (page.note, f"more: --after {page.more}" if page.more else ""):
        if line:
            print(line, file=sys.stderr)
    return errors.OK


def _print(found: list, args: argparse.Namespace) -> None:
    from voipfleet import csvout, show, show_call, show_registrations

    if args.csv:
        csvout.write_csv(found, sys.stdout)
    elif args.registrations:
        show_registrations.print_registrations(found, json=args.json)
    elif args.full:
        for call in found:
            show_call.print_call(call, [])
    else:
        show.print_calls(found, json=args.json)


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of calls; give 100, or 0 for all")
    return int(text)


def _uuid(text: str) -> bytes:
    digits = text.replace("-", "")
    try:
        if len(digits) == 32:
            return bytes.fromhex(digits)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no uuid; it has 32 hex digits")
