"""`voipfleet keygen`: make this node's static key once; print its public half; rotate it."""

import argparse
import base64
import sys
from pathlib import Path

from voipfleet import errors
from voipfleet.options import BY_KEY
from voipfleet.secrets import MIN_PASSWORD


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", default=BY_KEY["key_file"].default, help="the key's file (%(default)s)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--public", action="store_true", help="print the public key alone; in a rotation the old one too")
    what.add_argument("--rotate", action="store_true", help="make a new key, and keep the present one in FILE.old")
    what.add_argument("--forget-old", action="store_true", help="end a rotation: remove FILE.old")
    what.add_argument("--psk", action="store_true", help="print what the password on standard input becomes, for"
                      " server_psk")  # fmt: skip
    parser.add_argument("--fleet-id", default=BY_KEY["fleet_id"].default, help="with --psk (%(default)s)")


def run(args: argparse.Namespace) -> int:
    from voipfleet.link import keys

    path = Path(args.file)
    if args.psk:
        return _psk(args.fleet_id)
    if args.public:
        for identity in keys.load_all(path):
            print(keys.encode(identity.public))
        return errors.OK
    if args.rotate:
        said = "made anew" if keys.load(path) and keys.rotate(path) else "is new already, a rotation is on"
    elif args.forget_old:
        old = keys.previous(path)
        said = "the old key is forgotten" if old.exists() else "there is no old key"
        old.unlink(missing_ok=True)
        path.touch()  # the rollout restarts a daemon that is older than its key
    else:
        said = "made" if keys.generate(path) else "is there already"
    identity = keys.load(path)
    print(f"{path}: {said}")
    print(f"public key {keys.encode(identity.public)}, fingerprint {keys.fingerprint(identity.public)}")
    return errors.OK


def _psk(fleet_id: str) -> int:
    from voipfleet.link import keys

    password = sys.stdin.read().removesuffix("\n")
    if len(password) < MIN_PASSWORD:
        raise errors.UsageError(f"standard input: fewer than {MIN_PASSWORD} characters; give the fleet's password")
    print(base64.b64encode(keys.psk_from_password(password, fleet_id)).decode())
    return errors.OK
