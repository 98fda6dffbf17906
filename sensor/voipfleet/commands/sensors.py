"""`voipfleet sensors`: every sensor that ever connected to this central, and how it is."""

import argparse
import contextlib
import json
import sys
import time

from voipfleet import config, errors, filters
from voipfleet.commands import DEFAULT_CONFIG

WATCH = 2.0  # seconds
WIDTH = 240  # columns where the table goes to no terminal
TIMES = ("at", "up_since", "connected_since", "last_seen", "last_call", "oldest")
_RIGHT = {"packets/s", "calls", "drops", "backlog", "disk free", "keeps", "clock ms", "up", "seen"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="one JSON object a line")
    how.add_argument("--csv", action="store_true", help="a header and one row each, for spreadsheets")
    how.add_argument("--watch", action="store_true", help="draw the table again every 2 s until Ctrl-C")
    how.add_argument("--forget", metavar="NAME", help="remove a sensor (name or uuid) from the list, with its"
                     " history and the key that it is bound to; its calls stay")  # fmt: skip
    parser.add_argument("--history", metavar="NAME", help="what a sensor said of itself, a row a minute, for charts")
    parser.add_argument("--since", type=filters.checked(filters.since), default=0, metavar="TIME",
                        help="of the history: from then on")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    settings = config.load(args.config)
    from voipfleet.central.store import Store
    from voipfleet.central.url import to_ask

    with contextlib.closing(Store(to_ask(settings))) as store:
        if args.forget:
            return _forget(store, args.forget)
        if args.history:
            found = store.history(args.history, args.since)
            if not found:
                raise errors.VoipfleetError(f"{args.history}: there is no history of this sensor; `voipfleet sensors`"
                                            " lists those that there are")  # fmt: skip
        elif args.watch:
            return _watch(store)
        else:
            found = store.sensors()
    if args.json:
        for one in found:
            print(json.dumps(_rfc3339(one)))
    elif args.csv:
        _csv(found)
    elif args.history:
        _history(found)
    else:
        _console().print(_table(found))
    return errors.OK


def _forget(store, name: str) -> int:
    if not store.forget(name):
        raise errors.VoipfleetError(f"{name}: no sensor of this name; `voipfleet sensors` lists them")
    print(f"{name}: removed from the list of sensors; it comes back when it connects again")
    return errors.OK


def _watch(store) -> int:
    from rich.live import Live

    with Live(_table(store.sensors()), console=_console(), auto_refresh=False) as live:
        while True:
            time.sleep(WATCH)
            live.update(_table(store.sensors()), refresh=True)


def _rfc3339(one: dict) -> dict:
    from voipfleet.calls.record import rfc3339

    return {name: rfc3339(value or 0) if name in TIMES else value for name, value in one.items()}


def _csv(found: list[dict]) -> None:
    from voipfleet.csvout import write_rows

    if found:
        write_rows(found[0], (_rfc3339(one).values() for one in found), sys.stdout)


def _console():
    from voipfleet import show

    return show.console(WIDTH)


def _drawn(names: list[str], lines: list[tuple[list[str], str]]):
    from rich.text import Text

    from voipfleet import show
    from voipfleet.harmless import harmless

    table = show.plain_table()
    for name in names:
        table.add_column(name, justify="right" if name in _RIGHT else "left", overflow="fold")
    for cells, style in lines:
        table.add_row(*(Text(harmless(cell)) for cell in cells), style=style)
    return table


def _table(found: list[dict]):
    """Who it is, how it is, and in words what is not as usual."""
    from voipfleet.central.registry import span

    now = time.time_ns()

    def ago(ns: int | None) -> str:
        return span((now - ns) / 1e9) if ns else "-"

    lines = []
    for one in found:
        address = one["address"] + (f" via {one['via']}" if one["via"] else "")
        disk = f"{_bytes(one['disk_free'])} of {_bytes(one['disk_size'])}" if one["disk_size"] else "-"
        offset = one["clock_offset_ms"]
        lines.append(([
            one["name"], str(one["id"] or "-"), one["site"] or "-", address, one["mode"], one["version"],
            ago(one["up_since"]), ago(one["last_seen"]), _number(one["packets_per_second"]), _number(one["calls"]),
            _number(one["drops"]), _number(one["backlog"]), disk, ago(one["oldest"]),
            "-" if offset is None else f"{offset:+.1f}", one["key"][:9] or "-", one["remark"] or "ok",
        ], "bold red" if one["remark"] else ""))  # fmt: skip
    return _drawn(["sensor", "id", "site", "address", "mode", "version", "up", "seen", "packets/s", "calls", "drops",
                   "backlog", "disk free", "keeps", "clock ms", "key", ""], lines)  # fmt: skip


def _history(found: list[dict]) -> None:
    from voipfleet.calls.record import local_time

    names = [name for name in found[0] if name not in ("at", "uuid", "oldest")]
    lines = [([local_time(one["at"])[:16], *(_number(one[name]) for name in names)], "") for one in found]
    _console().print(_drawn(["time", *(name.replace("_", " ") for name in names)], lines))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _bytes(value: int | None) -> str:
    size = float(value or 0)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
