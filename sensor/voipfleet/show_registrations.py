"""Registrations for people: one table, the same for a capture file and for the database."""

import sys
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console
from rich.text import Text

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord, local_time
from voipfleet.harmless import harmless
from voipfleet.show import plain_table, width_of

HEADINGS = ("since", "site", "user", "contact", "from", "state", "SIP", "expires", "until", "user agent")


def print_registrations(found: Iterable[CallRecord], *, json: bool = False, file: TextIO | None = None) -> None:
    """The newest state of each registration; with `json` every record, one object a line."""
    file = file or sys.stdout
    if json:
        for one in found:
            print(record.to_json(one), file=file)
        return
    newest: dict[bytes, CallRecord] = {}
    for one in found:
        if one.uuid not in newest or newest[one.uuid].revision < one.revision:
            newest[one.uuid] = one
    if not newest:
        print("No registrations.", file=file)
        return
    table = plain_table()
    for name in HEADINGS:
        table.add_column(name, no_wrap=True, justify="right" if name in ("SIP", "expires") else "left")
    for one in newest.values():
        table.add_row(*map(Text, cells(one)))
    Console(file=file, width=width_of(table), highlight=False, emoji=False).print(table)


def cells(one: CallRecord) -> list[str]:
    """One row, harmless to a terminal."""
    user = f"{one.caller or '-'}@{one.caller_domain}" if one.caller_domain else one.caller or "-"
    row = [local_time(one.setup_time)[:19], one.site or one.sensor or "-", user, one.contact or "-", one.src,
           one.end_reason, str(one.final_response or "-"), f"{one.expires} s" if one.expires else "-",
           local_time(one.end_time)[:19] if one.end_time else "-", one.user_agent_caller or "-"]  # fmt: skip
    return [harmless(cell if len(cell) <= 60 else cell[:57] + "...") for cell in row]
