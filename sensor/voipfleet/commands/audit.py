"""`voipfleet audit`: the audit log in words, and whether it is as it was written."""

import argparse
import json
import sys
from pathlib import Path

from voipfleet import audit, config, errors
from voipfleet.commands import DEFAULT_CONFIG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")
    parser.add_argument("--event", metavar="NAME", help="only these events, as in link_refused")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="the newest N lines, 0: all (%(default)s)")
    parser.add_argument("--json", action="store_true", help="lines as they are in the file")


def run(args: argparse.Namespace) -> int:
    path = Path(config.load(args.config).spooldir) / "audit.log"
    try:
        found = list(audit.read(path))
    except OSError as error:
        raise errors.VoipfleetError(f"{error.filename}: cannot be read ({error.strerror}); run this as root") from None
    if not found:
        raise errors.VoipfleetError(f"{path}: there is no audit log here yet; it begins with the daemon's first start")
    lines = [line for _, _, line, _ in found if line and args.event in (None, line.get("event"))]
    for line in lines[-args.limit :]:
        print(json.dumps(line) if args.json else _words(line))
    following = [*(line for _, _, line, _ in found[1:]), None]
    broken = [f"{file}:{number}" for (file, number, line, holds), after in zip(found, following, strict=True)
              if not holds and not (line is None and after and after["event"] == "cut")]  # fmt: skip
    if broken:
        print(f"{broken[0]}: does not follow from the line before it ({len(broken)} such lines): the log was changed;"
              " compare it with a copy", file=sys.stderr)  # fmt: skip
        return errors.FAILURE
    print(f"{len(found)} lines, each follows from the one before", file=sys.stderr)
    return errors.OK


def _words(line: dict) -> str:
    """Every value as JSON writes it, so that nothing in it can steer a terminal."""
    rest = " ".join(f"{name}={json.dumps(value)}" for name, value in line.items() if name not in ("at", "event"))
    return f"{json.dumps(line.get('at'))[1:-1]}  {json.dumps(line.get('event'))[1:-1]}  {rest}"
