#!/usr/bin/env python3
"""Builds what a host installs: one tar of wheels, made on the controller for the host's Python and machine.

    wheelhouse.py --python 3.13 --machine x86_64 --lock central [--into FOLDER] [--name-only]

Every wheel is one that the lock names, checked against the lock's hash; the daemon's own wheel is built by the locked
flit_core. The release's name digests source, lock, Python and machine, so an unchanged tree is not built again. Prints
one JSON object: release, archive, pip (the wheel in it that installs the others), built. Needs Python 3.9, pip, and on
the first build the package index.
"""

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3] / "sensor"
LAYOUT = "1"  # raise it when the archive's content changes though source and lock do not
GLIBC = range(36, 4, -1)  # manylinux tags down from the oldest supported host's glibc (Debian 12)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="the host's Python, as in 3.11")
    parser.add_argument("--machine", required=True, choices=["x86_64", "aarch64"])
    parser.add_argument("--lock", required=True, choices=["daemon", "central"])
    parser.add_argument("--into", type=Path, default=PROJECT.parent / ".build" / "wheelhouse")
    parser.add_argument("--name-only", action="store_true", help="say the release's name, build nothing")
    args = parser.parse_args()
    release = name(args)
    archive = args.into / f"{release}.tar"
    missing = not archive.exists()
    if missing and not args.name_only:
        missing = build(args, release, archive)
    built = missing and not args.name_only
    print(json.dumps({"release": release, "archive": str(archive), "pip": pip_wheel(args.lock), "built": built}))
    return 0


def name(args) -> str:
    """`version-digest-py3.11-x86_64`."""
    digest = hashlib.sha256("\0".join((LAYOUT, args.python, args.machine, args.lock)).encode())
    sources = sorted(p for p in (PROJECT / "voipfleet").rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    for path in [*sources, PROJECT / "pyproject.toml", lock_file(args.lock)]:
        digest.update(f"\0{path.relative_to(PROJECT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return f"{version()}-{digest.hexdigest()[:12]}-py{args.python}-{args.machine}"


def version() -> str:
    return re.search(r'__version__ = "([^"]+)"', (PROJECT / "voipfleet" / "__init__.py").read_text("utf-8"))[1]


def lock_file(lock: str) -> Path:
    return PROJECT / "requirements" / f"{lock}.txt"


def pip_wheel(lock: str) -> str:
    return f"pip-{re.search(r'^pip==([0-9.]+)', lock_file(lock).read_text('utf-8'), re.MULTILINE)[1]}-py3-none-any.whl"


def build(args, release: str, archive: Path) -> bool:
    """Make the archive unless another process of this rollout has made it meanwhile; whether it was made here."""
    args.into.mkdir(parents=True, exist_ok=True)
    with open(args.into / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if archive.exists():
            return False
        with tempfile.TemporaryDirectory(dir=args.into) as scratch:
            wheels = Path(scratch) / "wheels"
            wheels.mkdir()
            download(args, wheels)
            own = own_wheel(Path(scratch), wheels)
            lines = lock_file(args.lock).read_text("utf-8")
            digest = hashlib.sha256(own.read_bytes()).hexdigest()
            (wheels / "requirements.txt").write_text(f"{lines}\nvoipfleet=={version()} --hash=sha256:{digest}\n")
            part = Path(scratch) / "archive"
            with tarfile.open(part, "w") as tar:
                tar.add(wheels, release, filter=plain)
            part.replace(archive)
    return True


def download(args, wheels: Path) -> None:
    """The locked wheels of that Python and machine. The lock is complete, so nothing is resolved."""
    tags = [f"manylinux_2_{minor}_{args.machine}" for minor in GLIBC] + [f"manylinux2014_{args.machine}", "any"]
    platforms = [word for tag in tags for word in ("--platform", tag)]
    pip("download", "--dest", wheels, "--require-hashes", "--no-deps", "--only-binary", ":all:",
        "--implementation", "cp", "--python-version", args.python, *platforms, "-r", lock_file(args.lock))  # fmt: skip


def own_wheel(scratch: Path, wheels: Path) -> Path:
    """The daemon's wheel, from a copy of the source, by the flit_core that the developers' lock names."""
    pinned = re.search(r"^flit[-_]core==(?:.*\\\n)*.*$", lock_file("dev").read_text("utf-8"), re.MULTILINE)[0]
    (scratch / "flit.txt").write_text(pinned + "\n")
    pip("install", "--require-hashes", "--no-deps", "--target", scratch / "flit", "-r", scratch / "flit.txt")
    source = scratch / "source"
    source.mkdir()
    shutil.copy(PROJECT / "pyproject.toml", source)
    shutil.copytree(PROJECT / "voipfleet", source / "voipfleet", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import sys, flit_core.buildapi as b; b.build_wheel(sys.argv[1])"
    run([sys.executable, "-c", code, str(wheels)], cwd=source, PYTHONPATH=str(scratch / "flit"))
    return next(wheels.glob("voipfleet-*.whl"))


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member that belongs to root and that everybody may read, whoever built it."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def pip(*words) -> None:
    run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, words)])


def run(command: list, cwd=None, **environment: str) -> None:
    """Run it; where it fails, say with its last line what failed."""
    ran = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True)
    if ran.returncode:
        if "No module named pip" in ran.stderr:
            sys.exit(f"wheelhouse: {sys.executable} has no pip; install it there (Debian: python3-pip)")
        said = (ran.stderr or ran.stdout).strip().splitlines() or ["no output"]
        sys.exit("wheelhouse: cannot collect the packages; see whether the package index is reachable\n"
                 + "\n".join(said[-5:]))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
