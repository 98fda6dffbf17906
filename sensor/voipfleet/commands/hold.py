"""`voipfleet hold`: keep the packets of a call against retention, on every sensor that has them."""

import argparse
import asyncio
import sys
from pathlib import Path

from voipfleet.calls.record import local_time
from voipfleet.commands import DEFAULT_CONFIG
from voipfleet.errors import FAILURE, OK, UsageError, VoipfleetError
from voipfleet.fetching import daemon, fetch, reporting
from voipfleet.fetching.answers import plain
from voipfleet.harmless import harmless
from voipfleet.manager import ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call", metavar="CALL", nargs="?", help="its Call-ID, or its uuid (voipfleet calls --json)")
    parser.add_argument("--why", metavar="TEXT", help="the reason; it is kept with the hold")
    parser.add_argument("--release", action="store_true", help="end the hold: retention may remove the packets again")
    parser.add_argument("--list", action="store_true", help="the calls that are held, here and on connected sensors")
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")


def run(args: argparse.Namespace) -> int:
    if args.list == (args.call is not None) or (args.list and (args.release or args.why)):
        raise UsageError("hold: give a call, or --list alone")
    if args.call is not None and bool(args.why and args.why.strip()) == args.release:
        raise UsageError("hold: give --why TEXT with the reason to hold the call, or --release to end its hold")
    socket = daemon.socket(args.config)
    return asyncio.run(_list(socket) if args.list else _hold(socket, args))


async def _hold(socket: Path, args: argparse.Namespace) -> int:
    call, _ = await fetch.find(socket, args.call)
    uuid = call.uuid.hex()
    if args.release:
        done, missed = reporting.hosts(await ask(socket, "release", uuid=uuid))
        missed = [one for one in missed if not reporting.nothing(one["error"])] if done else missed
        said = reporting.lines(done, lambda one: "released; retention may remove its packets again")
    else:
        done, missed = reporting.hosts(await ask(socket, "hold", uuid=uuid, why=args.why.strip()))
        said = reporting.lines(done, _words)
    for line in said:
        print(line)
    for line in reporting.lines(missed, lambda one: one["error"]):
        print(line, file=sys.stderr)
    return FAILURE if missed or reporting.odd(said) else OK


async def _list(socket: Path) -> int:
    """A line a hold: host, uuid of the call there, since when, who, size, why. What one host says hides no other's."""
    others = (await ask(socket, "sensors"))["sensors"]
    held, faults = [], []
    for host in [None, *others]:
        name = plain(host["name"]) or host["uuid"][:8] if host else "here"
        if host and host["state"] == "offline":
            faults.append(f"{name}: is not connected; what it holds is not listed")
            continue
        try:
            which = {"sensor": host["uuid"], "run": "pool"} if host else {}
            held += _lines(name, await ask(socket, "ctl" if host else "pool", **which))
        except VoipfleetError as error:
            if not reporting.nothing(str(error)):
                faults.append(harmless(str(error)))
        except reporting.ERRORS:
            faults.append(f"{name}: {reporting.ODD} What it holds is not listed")
    for line in held or ["No call is held."]:
        print(line)
    for fault in faults:
        print(fault, file=sys.stderr)
    return FAILURE if faults else OK


def _lines(name: str, pool: dict) -> list[str]:
    found = sorted(pool.get("held", ()), key=lambda one: one["at"])
    return [harmless(f"{name}  {one['uuid']}  {local_time(one['at'])[:16]}  {one['who']}  "
                     f"{reporting.size(one['bytes'])}  {one['why']}") for one in found]  # fmt: skip


def _words(one: dict) -> str:
    missing = harmless(one.get("missing") or "")
    return f"held, {reporting.size(int(one['bytes']))}" + (f"; {missing}" if missing else "")
