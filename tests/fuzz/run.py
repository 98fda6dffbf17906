"""Fuzz one parser with libFuzzer (Atheris), led by coverage, or replay one input.

    python tests/fuzz/run.py sip --seconds 60
    python tests/fuzz/run.py sip --input .build/fuzz/sip/crash-...

What was interesting is kept in .build/fuzz/<target>/inputs and is where the next run begins. Exit status 1 where a
promise was broken: the input that did it is in a file whose name is printed.
"""

import argparse
import hashlib
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE.parents[1]))
MEMORY = 1024  # MiB that the whole process may take
ROUND = 20  # s; then a fresh process goes on, for Atheris 3.0 keeps every array that a comparison gave
FINAL = re.compile(r"stat::(\w+):\s+(\d+)")
COVER = re.compile(r"\bcov: (\d+) ft: (\d+) corp: (\d+)")


def child(name: str, arguments: list[str]) -> None:
    """The process that libFuzzer drives; it never returns."""
    import atheris

    with atheris.instrument_imports(include=["voipfleet"]):
        from fuzz.targets import TARGETS
    target = TARGETS[name]
    atheris.Setup([name, *arguments], target.check)
    atheris.Fuzz()


def fuzz(name: str, seconds: int, seeds: list[bytes]) -> int:
    """Runs of at most ROUND seconds until the time is over or something is found; 1 where it was."""
    folder = ROOT / ".build" / "fuzz" / name
    inputs = folder / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    for data in seeds:
        (inputs / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
    known, left, runs, memory = set(folder.glob("*-*")), seconds, 0, 0
    while left > 0:
        limits = (f"-max_total_time={min(left, ROUND)}", f"-rss_limit_mb={MEMORY}", "-timeout=10", "-max_len=8192")
        options = (*limits, f"-artifact_prefix={folder}/", "-print_final_stats=1")
        with (folder / "log").open("w") as log:
            status = subprocess.run([sys.executable, str(HERE), name, "--child", str(inputs), *options],
                                    stderr=subprocess.STDOUT, stdout=log, cwd=ROOT, check=False).returncode  # fmt: skip
        text = (folder / "log").read_text(errors="replace")
        numbers = {key: int(value) for key, value in FINAL.findall(text)}
        runs += numbers.get("number_of_executed_units", 0)
        memory = max(memory, numbers.get("peak_rss_mb", 0))
        found = sorted(set(folder.glob("*-*")) - known)
        if status or found:
            break
        left -= ROUND
    edges, features, kept = (COVER.findall(text) or [("?", "?", "?")])[-1]
    print(f"{name}: {runs} executions in {seconds - max(left, 0)} s, coverage {edges} edges and {features} features, "
          f"{kept} inputs kept, peak memory {memory} MiB, exit status {status}", flush=True)  # fmt: skip
    for path in found:
        print(f"{name}: an input breaks it: {path.relative_to(ROOT)}\n  replay: make fuzz TARGET={name}"
              f" INPUT={path.relative_to(ROOT)}")  # fmt: skip
    if status or found:
        print("".join(line + "\n" for line in text.splitlines()[-40:] if not line.startswith("#")), file=sys.stderr)
    return 1 if status or found else 0


def main() -> int:
    if "--child" in sys.argv:
        child(sys.argv[1], sys.argv[3:])
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--input", type=Path, help="replay this one and show what it raises")
    args = parser.parse_args()
    names = list(TARGETS) if args.target == "all" else [args.target]
    if args.input:
        TARGETS[args.target].check(args.input.read_bytes())
        print(f"{args.target}: {args.input} breaks no promise")
        return 0
    return max(fuzz(name, args.seconds, TARGETS[name].seeds) for name in names)


if __name__ == "__main__":
    sys.exit(main())
