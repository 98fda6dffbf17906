"""`voipfleet kpi`: key figures of the calls in the database of this instance."""

import argparse
import contextlib
import json
import sys

from voipfleet import config, errors
from voipfleet.commands import DEFAULT_CONFIG
from voipfleet.commands.calls import add_which, which

_TITLES = {"attempts": "attempts", "answered": "answered", "asr": "ASR %", "ner": "NER %", "acd": "ACD s",
           "pdd_mean": "PDD s", "pdd_p95": "PDD p95", "mos": "MOS", "loss": "loss %", "one_way": "one-way"}  # fmt: skip
WIDTH = 200  # columns where the table goes to no terminal
_DIGITS = {"asr": 1, "ner": 1, "acd": 1, "pdd_mean": 2, "pdd_p95": 2, "mos": 2, "loss": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")
    parser.add_argument("--by", choices=("site", "sensor", "peer", "hour", "day"), default="site",
                        help="groups: peer is the address of either side of the INVITE; hours and days are of UTC"
                             " (%(default)s)")  # fmt: skip
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="one JSON object a line; seconds, percent")
    how.add_argument("--csv", action="store_true", help="a header and one row a group, for spreadsheets")
    add_which(parser)


def run(args: argparse.Namespace) -> int:
    settings = config.load(args.config)
    from voipfleet.central import facts
    from voipfleet.central.store import Store
    from voipfleet.central.url import to_ask

    with contextlib.closing(Store(to_ask(settings))) as store:
        found = store.figures(which(args, facts.INVITES), args.by)
    if args.json:
        for one in found:
            print(json.dumps({args.by: one.pop("group"), **one}))
    elif args.csv:
        from voipfleet.csvout import write_rows

        write_rows([args.by, *_TITLES], (one.values() for one in found), sys.stdout)
    else:
        _table(args.by, found)
    return errors.OK


def _table(by: str, found: list[dict]) -> None:
    from rich.text import Text

    from voipfleet import show
    from voipfleet.harmless import harmless

    table = show.plain_table()
    table.add_column(by, overflow="fold")
    for title in _TITLES.values():
        table.add_column(title, justify="right", no_wrap=True)
    for one in found:
        if one is found[-1]:
            table.add_section()
        table.add_row(Text(harmless(one["group"])), *(_figure(name, one[name]) for name in _TITLES))
    show.console(WIDTH).print(table)


def _figure(name: str, value: float | None) -> str:
    return "-" if value is None else f"{value:,.{_DIGITS.get(name, 0)}f}"
