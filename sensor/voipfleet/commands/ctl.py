"""`voipfleet ctl`: a command for the daemon of this host, for a sensor behind it, or at a manager's port."""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path

from voipfleet import config, errors
from voipfleet.commands import DEFAULT_CONFIG
from voipfleet.errors import UsageError, VoipfleetError
from voipfleet.fetching.reporting import ERRORS
from voipfleet.manager import ask

# The daemon's table (manage/table.py) is the one that counts; this is so that `ctl WORD` is known to be no host.
OWN = ("status", "version", "probe", "active", "call", "pool", "sensors", "loglevel", "filter", "reload")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="+", metavar="[SENSOR] COMMAND [KEY=VALUE ...]",
        help="a command, alone for this host's daemon, behind a sensor's name or uuid for that one: " + ", ".join(OWN),
    )  # fmt: skip
    parser.add_argument("--at", metavar="HOST:PORT", help="ask at a manager's port, with this node's key")
    parser.add_argument("--server-key", metavar="BASE64", help="its public key (default: server_key, or learnt)")
    parser.add_argument("--json", action="store_true", help="the answer as one JSON object")
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")


def run(args: argparse.Namespace) -> int:
    sensor, command, arguments = _parsed(args.words)
    found = config.load(args.config)
    if args.at:
        from voipfleet.asking.remote import ask_at

        if sensor:
            raise UsageError("--at: asks that host itself; leave the sensor's name out, or ask at the central")
        _find_secret(found, Path(args.config).resolve().parent / "secrets")
        said = asyncio.run(ask_at(found, *_place(args.at), command, arguments, args.server_key))
    elif sensor:
        said = asyncio.run(ask(Path(found.control_socket), "ctl", sensor=sensor, run=command, arguments=arguments))
    else:
        said = asyncio.run(ask(Path(found.control_socket), command, **arguments))
    if args.json:
        print(json.dumps(said))
    else:
        _show(command, said)
    return errors.FAILURE if command == "reload" and said.get("failed") else errors.OK


def _parsed(words: list[str]) -> tuple[str, str, dict]:
    """(sensor or "", command, arguments)."""
    names = [word for word in words if "=" not in word]
    pairs = [word.partition("=") for word in words if "=" in word]
    if words[: len(names)] != names or len(names) not in (1, 2) or (len(names) == 1 and names[0] not in OWN):
        raise UsageError(f"ctl: give [SENSOR] COMMAND [KEY=VALUE ...]; commands are {', '.join(OWN)}")
    return names[0] if len(names) == 2 else "", names[-1], {key: value for key, _, value in pairs}


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError("--at: give HOST:PORT, as in sensor1:5029")
    return host.strip("[]"), int(port)


def _find_secret(found: config.Config, folder: Path) -> None:
    """A rollout puts what every link needs into `folder`, which root reads; systemd hands it to the daemon only."""
    for key in ("server_password", "server_psk"):
        path = folder / key
        if not found.values[f"{key}_file"] and os.access(path, os.R_OK):
            found.values[f"{key}_file"] = str(path)


# -- for people ------------------------------------------------------------------------------------------------------


def _show(command: str, said: dict) -> None:
    from voipfleet.commands import status

    try:
        found = status.describe(said) if command == "status" else list(lines(said))
    except (*ERRORS, RecursionError):
        raise VoipfleetError(f"{command}: the answer is not as expected, another release may run there; --json has it"
                             " as it came") from None  # fmt: skip
    status.show(found, sys.stdout)


def lines(said: dict, indent: str = ""):
    """`key: value` lines; lists of objects as tables, other objects indented below their key."""
    for key, value in said.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{key}:"
            yield from lines(value, indent + "  ")
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            yield f"{indent}{key}:"
            yield from (f"{indent}  {line}" for line in _table(value))
        else:
            yield f"{indent}{key}: {_text(value, key)}"


def _table(objects: list[dict]) -> list[str]:
    """One line an object under a line of names; what is no plain value is left to --json."""
    from voipfleet.harmless import harmless

    names = [name for name in dict.fromkeys(name for one in objects for name in one)
             if not any(isinstance(one.get(name), dict | list) for one in objects)]  # fmt: skip
    rows = [names, *([harmless(_text(one.get(name, ""), name)) for name in names] for one in objects)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _text(value, name: str = "") -> str:
    if name == "since" and isinstance(value, int | float) and 0 <= value < 1 << 40:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == [] or value == {}:
        return "-"
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)
