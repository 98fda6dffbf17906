"""`voipfleet topology`: check or draw a fleet, from its inventory or from rendered configurations."""

import argparse
import json
import sys
from pathlib import Path

from voipfleet import errors, inventory
from voipfleet.topology import draw, plan

SECRET_RULES = ("T13", "T14", "T15", "T16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|draw")
    check = actions.add_parser("check", help="say all that is wrong with the topology")
    check.add_argument("--strict", action="store_true", help="warnings and notes count as errors")
    check.add_argument("--json", action="store_true", help="one JSON object")
    picture = actions.add_parser("draw", help="write the topology as a picture: Mermaid text, or SVG")
    picture.add_argument(
        "--svg", metavar="FILE", type=Path, help="write an SVG drawing to FILE (default: Mermaid, here)"
    )
    for action in (check, picture):
        action.add_argument("path", type=Path, help="an inventory, or the folder that playbooks/render.yml wrote")


def run(args: argparse.Namespace) -> int:
    source = inventory.read(args.path)
    fleet, findings = plan.examine(source.groups, source.hostvars, source.own)
    if args.action == "draw":
        return _draw(args, fleet)
    unknown = {found.host for found in source.templates if "_server_password " in found.text}
    if source.rendered or unknown:  # what was not read cannot be judged
        findings = [found for found in findings if found.code not in SECRET_RULES]
    findings += source.templates
    errors_found = [found for found in findings if args.strict or found.code[0] == "T"]
    if args.json:
        print(json.dumps({"hosts": len(fleet.hosts), "findings": [
            {"code": found.code, "host": found.host, "text": found.text} for found in findings]}))  # fmt: skip
    else:
        for found in findings:
            kind = "error" if found in errors_found else "warning" if found.code[0] == "W" else "note"
            print(f"{kind}: {found}", file=sys.stderr)
        said = f"{len(errors_found)} to correct" if errors_found else "the topology is sound"
        print(f"{len(fleet.hosts)} hosts, {said}")
    return errors.BAD_CONFIG if errors_found else errors.OK


def _draw(args: argparse.Namespace, fleet) -> int:
    if args.svg is None:
        print(draw.mermaid(fleet), end="")
        return errors.OK
    try:
        args.svg.write_text(draw.svg(fleet), "utf-8")
    except OSError as error:
        raise errors.VoipfleetError(f"{args.svg}: cannot be written ({error.strerror}); choose another file") from None
    print(f"{args.svg}: {len(fleet.hosts)} hosts")
    return errors.OK
