"""`voipfleet erase`: a call, or all calls of a number, for good: records here, packets on every sensor with them."""

import argparse
import asyncio
import sys

from voipfleet.calls.record import CallRecord, local_time
from voipfleet.commands import DEFAULT_CONFIG
from voipfleet.errors import FAILURE, OK, UsageError
from voipfleet.fetching import daemon, fetch, reporting
from voipfleet.fetching.answers import Holder
from voipfleet.harmless import harmless
from voipfleet.manager import ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("call", metavar="CALL", nargs="?", help="its Call-ID, or its uuid (voipfleet calls --json)")
    what.add_argument(
        "--number", metavar="NUMBER", help="all calls from and to it: the whole number, as records have it"
    )
    parser.add_argument(
        "--sensor", metavar="UUID", help="only what this host has of the call, whose uuid there is CALL"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask back")
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")


def run(args: argparse.Namespace) -> int:
    if args.number is not None and (not args.number.strip() or args.sensor):
        raise UsageError("--number: give the whole number as records have it, and no --sensor")
    socket = daemon.socket(args.config)
    holders: list[Holder] = []
    if args.number:
        what = {"number": args.number}
        told = f"All calls from and to {args.number}: records here, packets and holds on all hosts that are known here"
    elif args.sensor:
        what = {"uuid": args.call, "sensor": args.sensor}
        told = f"What the host {args.sensor} has of the call {args.call}, packets and hold"
    else:
        call, holders = asyncio.run(fetch.find(socket, args.call))
        what = {"uuid": call.uuid.hex()}
        told = _told(call, holders)
    if not args.yes and not _agreed(harmless(told)):
        print("nothing was erased", file=sys.stderr)
        return FAILURE
    try:
        answer = asyncio.run(ask(socket, "erase", **what))
    except KeyboardInterrupt:
        print("interrupted; the daemon erases on all the same, `voipfleet audit --event erase` has what was done where",
              file=sys.stderr)  # fmt: skip
        raise
    done, missed = reporting.hosts(answer)
    if "records" in answer:
        print(f"{answer['records']:,} record{'s' * (answer['records'] != 1)} erased here")
    for line in (said := reporting.lines(done, _words)):
        print(line)
    left = [one for one in missed if not reporting.nothing(one["error"])]
    for one in missed:
        if one not in left:
            print(f"{one['name']}: has nothing of it")
    for line in reporting.lines(left, lambda one: f"{one['error']}; {_then(one, holders)}"):
        print(line, file=sys.stderr)
    return FAILURE if left or reporting.odd(said) or any(one.get("missing") for one in done) else OK


def _then(one: dict, holders: list[Holder]) -> str:
    """What becomes of what a host still has."""
    if one.get("later") is True:
        return "it is erased there as soon as that is back"
    parts = {holder.sensor: holder.uuid for holder in holders}
    again = f"voipfleet erase {parts[one['sensor']]} --sensor {one['sensor']}" if one["sensor"] in parts else ""
    return f"NOT erased there, ask again when it can be reached: {again or 'the same command'}"


def _told(call: CallRecord, holders: list[Holder]) -> str:
    who = f"{call.caller or '?'} to {call.callee or '?'}, {local_time(call.setup_time)}"
    places = [holder.name + ("" if holder.there else " (not connected)") for holder in holders]
    on = f", and its packets and holds on {reporting.several(places)}" if places else ""
    return f"The call {call.call_id} ({who}): its record{on}"


def _agreed(told: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("erase: this cannot be undone, and there is no terminal to ask back; give --yes")
    print(f"{told}. This cannot be undone.\nErase it? (yes/no) ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _words(one: dict) -> str:
    calls, packets = int(one["calls"]), int(one["packets"])
    missing = harmless(one.get("missing") or "")
    return f"{calls:,} call{'s' * (calls != 1)}, {packets:,} packets erased" + (f"; {missing}" if missing else "")
