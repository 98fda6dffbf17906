"""`voipfleet keygen`: make this node's static key once; print its public half."""

import argparse
from pathlib import Path

from voipfleet import errors
from voipfleet.options import BY_KEY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", default=BY_KEY["key_file"].default, help="the key's file (%(default)s)")
    parser.add_argument("--public", action="store_true", help="print the public key alone")


def run(args: argparse.Namespace) -> int:
    from voipfleet.link import keys

    path = Path(args.file)
    made = False if args.public else keys.generate(path)
    identity = keys.load(path)
    if args.public:
        print(keys.encode(identity.public))
    else:
        print(f"{path}: {'made' if made else 'is there already'}")
        print(f"public key {keys.encode(identity.public)}, fingerprint {keys.fingerprint(identity.public)}")
    return errors.OK
