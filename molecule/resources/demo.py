"""`make demo`: a fleet of three real hosts on this machine, real calls, and the central's table of them.

`demo.py up` makes hosts, rolls out inventories/lab with the command that any user runs, places calls and compares what
the central has with what was injected; `demo.py down` takes back what it changed. Standard library only.
"""

import contextlib
import datetime
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support import calls  # noqa: E402 # the tests' callers
from support.calls import Call, Side  # noqa: E402

BED = ROOT / "molecule/resources/bed/bed"
LAB = ROOT / "inventories/lab"
SECRET = LAB / "group_vars/all/vault.yml"
HOSTS = {
    "hq": ("10.77.0.11", "bookworm-db"),
    "branch1": ("10.77.0.21", "bookworm-sensor"),
    "branch2": ("10.77.0.22", "bookworm-sensor"),
}
PACKAGES = {  # a program and the Debian package that has it
    "mmdebstrap": "mmdebstrap", "systemd-nspawn": "systemd-container", "nft": "nftables", "ip": "iproute2",
    "ssh": "openssh-client",
}  # fmt: skip
CALLS = [
    ("branch1", Call("answered", "+351210000101", "+351220000001", packets=200)),
    ("branch1", Call("lossy", "+351210000102", "+351220000002", packets=250, lost=12)),
    ("branch1", Call("busy", "+351210000103", "+351220000003")),
    ("branch2", Call("cancelled", "+351230000201", "+351220000004")),
    ("branch2", Call("answered", "+351230000202", "+351220000005", packets=150, codec="PCMA")),
    ("branch2", Call("lossy", "+351230000203", "+351220000006", packets=200, lost=5, codec="PCMA")),
]
CHANGES = """\
What this changes on this machine:
  packages      {packages}
  hosts         hq, branch1, branch2 and their images under /var/tmp/voipfleet-bed (about 1 GB)
  network       bridge vfbed0 (10.77.0.0/24), an nft table and namespaces named after it, IPv4 forwarding on its
                uplink; nothing of it can be reached from outside
  this folder   inventories/lab/group_vars/all/vault.yml (a random password), inventories/lab/keys/, .build/
`make demo-down` takes hosts, network and these files back; images and packages stay for the next time."""


class Failed(Exception):
    """The demo cannot go on; the sentence says why."""


def up() -> None:
    begin = time.monotonic()
    if os.geteuid():
        raise Failed("the demo makes hosts and needs root; run `make demo` as root")
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    print(CHANGES.format(packages=f"installs {' '.join(missing)}" if missing else "none"), flush=True)
    install(missing)
    title("Three hosts")
    make_hosts()
    title("The rollout: ansible-playbook -i inventories/lab site.yml")
    roll_out()
    title(f"{len(CALLS)} calls by sipp, from the branches to hq")
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    sides = {name: Side((str(BED), "exec", name), address) for name, (address, _) in HOSTS.items()}
    placed = calls.place_all([(call, sides[name], sides["hq"]) for name, call in CALLS])
    for (name, call), one in zip(CALLS, placed, strict=True):
        lost = f", {call.lost} of the caller's {call.packets} packets left out" if call.lost else ""
        print(f"  {name}: {call.caller} -> {call.callee}: {call.kind} ({one.final_response}{lost})")
    records = wait_for(placed, since)
    title("The calls as hq's database has them: voipfleet calls")
    print(on_hq("calls", "--since", since), end="", flush=True)
    faults = calls.check(placed, records)
    strange = {record["call_id"] for record in records} - {one.call_id for one in placed}
    faults += [f"{call_id}: nobody placed this call" for call_id in sorted(strange)]
    if faults:
        raise Failed("the table disagrees with what was placed:\n  " + "\n  ".join(faults))
    print(f"\nEvery call that was placed is there once, with the loss that was injected ({elapsed(begin)}).\n")
    print("Look around:  molecule/resources/bed/bed exec hq voipfleet status")
    print("              molecule/resources/bed/bed exec branch1 journalctl -u voipfleet")
    print("              .venv/bin/voipfleet topology draw inventories/lab")
    print("Your fleet:   copy inventories/client-server, edit it, and run the same command on it")
    print("Clean up:     make demo-down")


def install(missing: list[str]) -> None:
    if not missing:
        return
    title(f"Debian packages: {' '.join(missing)}")
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
        done = subprocess.run(["apt-get", *words], env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # fmt: skip
        if done.returncode:
            raise Failed(f"apt-get {words[0]} failed:\n{done.stdout[-2000:]}")


def make_hosts() -> None:
    running = {line.split()[0] for line in bed("list").splitlines() if line.endswith(" running")}
    for name in HOSTS.keys() - running:  # a host that is made anew makes a key of its own, too
        with contextlib.suppress(FileNotFoundError):
            (LAB / "keys" / f"{name}.pub").unlink()
    bed("up", *(f"{name},{address},{image}" for name, (address, image) in HOSTS.items()))
    if not SECRET.exists():
        with open(os.open(SECRET, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(f'---\nvault_voipfleet_server_password: "{secrets.token_urlsafe(32)}"\n')


def roll_out() -> None:
    """The user's own command, with the virtual environment's programs first."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    words = ["ansible-playbook", "-i", "inventories/lab", "site.yml"]
    done = subprocess.run(words, cwd=ROOT, env=os.environ | {"PATH": path}, check=False)
    if done.returncode:
        raise Failed("the rollout failed; the message above says on which host and why")


def wait_for(placed: list[calls.Injected], since: str, seconds: float = 15) -> list[dict]:
    """The records of this run in the central's database, once all are there or time is up."""
    wanted, end = {one.call_id for one in placed}, time.monotonic() + seconds
    while True:
        records = [json.loads(line) for line in on_hq("calls", "--json", "--limit", "0", "--since", since).splitlines()]
        if wanted <= {record["call_id"] for record in records} or time.monotonic() > end:
            return records
        time.sleep(0.5)


def on_hq(*words: str) -> str:
    return bed("exec", "hq", "voipfleet", *words)


def bed(*words: str) -> str:
    """What it printed; its progress goes to this program's own output."""
    done = subprocess.run([BED, *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Failed(f"`bed {' '.join(words)}` failed; the message above says why")
    return done.stdout


def title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def elapsed(begin: float) -> str:
    return f"{time.monotonic() - begin:.0f} s"


def down() -> None:
    bed("down", "--all")
    SECRET.unlink(missing_ok=True)
    shutil.rmtree(LAB / "keys", ignore_errors=True)
    print("The demo's hosts, network, password and keys are gone; images for the next time: /var/tmp/voipfleet-bed")


if __name__ == "__main__":
    try:
        {"up": up, "down": down}[sys.argv[1]]()
    except (Failed, RuntimeError) as fault:
        sys.exit(f"demo: {fault}")
    except KeyboardInterrupt:
        sys.exit("\ndemo: interrupted; `make demo` goes on from here, `make demo-down` takes everything back")
