"""`voipfleet listen CALL`: a stereo WAV of a G.711 call, the caller left, the callee right."""

import argparse
import sys
from pathlib import Path

from voipfleet.commands import DEFAULT_CONFIG
from voipfleet.errors import FAILURE, INTERRUPTED, OK, VoipfleetError
from voipfleet.fetching import daemon, files
from voipfleet.fetching.g711 import RATE
from voipfleet.fetching.gathering import found, gathered
from voipfleet.fetching.voices import Voices
from voipfleet.fetching.wav import wav


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("call", metavar="CALL", help="its Call-ID, or its uuid (voipfleet calls --json)")
    parser.add_argument(
        "-o", "--output", metavar="FILE.wav", help="where to (default: the first 8 digits of the uuid, .wav)"
    )
    parser.add_argument("--force", action="store_true", help="replace FILE.wav where it is there")
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")


def run(args: argparse.Namespace) -> int:
    socket = daemon.socket(args.config)
    if refusal := daemon.may_not_listen(socket):
        raise VoipfleetError(refusal)
    call, holders = found(socket, args.call)
    path = Path(args.output or f"{call.uuid.hex()[:8]}.wav")
    files.free(path, args.force)
    voices = Voices(call)
    try:
        with gathered(socket, call, holders, path) as have:
            for block in have.merged.blocks():
                voices.feed(block)
            count = voices.settle()
            files.write(path, wav(count, voices.pieces()), args.force)
            faults = [*have.faults, *voices.faults()]
            said = [f"{path}: {count / RATE:.1f} s", *(f"missing: {fault}" for fault in faults)]
            print("; ".join(said), file=sys.stderr)
            return FAILURE if have.faults else OK
    except KeyboardInterrupt:
        print(f"{path}: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED
