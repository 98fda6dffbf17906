"""The `voipfleet` command: finds the subcommand, imports only that, and turns errors into sentences."""

import argparse
import importlib
import os
import sys

from voipfleet import __version__, errors

# name -> (module in voipfleet.commands, help). One file a subcommand; only the chosen one is imported.
COMMANDS = {
    "run": ("run", "run the daemon in the foreground (what the systemd unit starts)"),
    "check-config": ("check_config", "check a configuration file; one line a fault, exit 78 if any"),
    "read": ("read", "print the calls in a capture file"),
    "calls": ("calls", "print the calls in the database of this instance"),
    "kpi": ("kpi", "print key figures of the calls: ASR, NER, ACD, PDD, MOS, loss, by site, peer or time"),
    "sensors": ("sensors", "print every sensor that ever connected, and how it is"),
    "pcap": ("pcap", "fetch the packets of one call from the sensors that have them"),
    "ctl": ("ctl", "give a command to the daemon, to a sensor, or at a manager's port"),
    "listen": ("listen", "make the audio of a call a WAV file"),
    "hold": ("hold", "keep the packets of a call against retention"),
    "erase": ("erase", "erase a call, or all calls of a number, for good"),
    "status": ("status", "print the state of the running daemon"),
    "audit": ("audit", "print the audit log, and whether it is as it was written"),
    "keygen": ("keygen", "make the node's static key"),
    "topology": ("topology", "check or draw the topology of a fleet"),
    "db": ("db", "prepare the database"),
}


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="voipfleet",
        description="VoIP sensor: capture, call records with RTP quality, delivery to a central.",
        epilog="Exit codes: 0 ok, 1 run-time failure, 2 usage, 77 no permission to capture, 78 bad configuration.",
    )
    parser.add_argument("--version", action="version", version=f"voipfleet {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, text) in COMMANDS.items():
        sub = subparsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == chosen:
            command = importlib.import_module(f"voipfleet.commands.{module}")
            command.add_arguments(sub)
            sub.set_defaults(run=command.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    chosen = next((word for word in argv if word in COMMANDS), None)
    args = build_parser(chosen).parse_args(argv)
    try:
        return args.run(args)
    except errors.VoipfleetError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # `voipfleet read x | head`: the reader has left. Keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.FAILURE
    except OSError as error:
        # Files and sockets have sentences of their own where they are used; this is for what nobody thought of.
        name = f"{error.filename}: " if error.filename else ""
        print(f"{name}{error.strerror or error}; check that it is there and that this user may use it", file=sys.stderr)
        return errors.FAILURE
    except KeyboardInterrupt:
        return errors.INTERRUPTED
