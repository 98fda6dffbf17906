"""`make demo`: a fleet of three real hosts on this machine, real calls, and the central's table of them.

`demo.py up` makes hosts, rolls out inventories/lab with the command that any user runs, places calls and compares what
the central has with what was injected; `demo.py down` takes back what it changed. Standard library only.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

from fleet_calls import Failed, Fleet, bed

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "inventories/lab"
SECRET = LAB / "group_vars/all/vault.yml"
HOSTS = {
    "hq": ("10.77.0.11", "bookworm-db"),
    "branch1": ("10.77.0.21", "bookworm-sensor"),
    "branch2": ("10.77.0.22", "bookworm-sensor"),
}
PACKAGES = {  # a program or a file, and the Debian package that has it
    "mmdebstrap": "mmdebstrap", "systemd-nspawn": "systemd-container", "nft": "nftables", "ip": "iproute2",
    "ssh": "openssh-client", "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}  # fmt: skip
CHANGES = """\
What this changes on this machine:
  packages      {packages}
  hosts         hq, branch1, branch2 and their images under /var/tmp/voipfleet-bed (about 1 GB)
  network       bridge vfbed0 (10.77.0.0/24), an nft table and namespaces named after it, IPv4 forwarding on its
                uplink; nothing of it can be reached from outside
  this folder   inventories/lab/group_vars/all/vault.yml (a random password), inventories/lab/keys/, .build/
`make demo-down` takes hosts, network and these files back; images and packages stay for the next time."""


def up() -> None:
    begin = time.monotonic()
    if os.geteuid():
        raise Failed("the demo makes hosts and needs root; run `make demo` as root")
    missing = [package for what, package in PACKAGES.items() if not (shutil.which(what) or Path(what).is_file())]
    print(CHANGES.format(packages=f"installs {' '.join(missing)}" if missing else "none"), flush=True)
    install(missing)
    title("Three hosts")
    make_hosts()
    title("The rollout: ansible-playbook -i inventories/lab site.yml")
    roll_out()
    title("Calls by sipp, from the branches to hq")
    fleet = Fleet({name: address for name, (address, _) in HOSTS.items()})
    for line in fleet.place():
        print(f"  {line}")
    faults = fleet.faults()
    title("The calls as hq's database has them: voipfleet calls")
    print(fleet.table(), end="", flush=True)
    if faults:
        raise Failed("the table disagrees with what was placed:\n  " + "\n  ".join(faults))
    title("Every sensor, as hq sees it: voipfleet sensors")
    print(bed("exec", "hq", "voipfleet", "sensors"), end="", flush=True)
    call = fleet.a_call("lossy")
    title(f"Packets stay on the sensor and come when called: voipfleet pcap {call} --ladder")
    print(bed("exec", "hq", "voipfleet", "pcap", call, "--ladder"), end="", flush=True)
    print(f"\nEvery call that was placed is there once, with the loss that was injected ({elapsed(begin)}).\n")
    print("Look around:  molecule/resources/bed/bed exec hq voipfleet status")
    print("              molecule/resources/bed/bed exec branch1 journalctl -u voipfleet")
    print(f"              molecule/resources/bed/bed exec hq voipfleet pcap {call} -o - | tshark -r -")
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


def title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def elapsed(begin: float) -> str:
    return f"{time.monotonic() - begin:.0f} s"


def down() -> None:
    bed("down", "--all")
    SECRET.unlink(missing_ok=True)
    shutil.rmtree(LAB / "keys", ignore_errors=True)  # there are none if the demo came to no end
    print("The demo's hosts, network, password and keys are gone; images for the next time: /var/tmp/voipfleet-bed")


if __name__ == "__main__":
    try:
        {"up": up, "down": down}[sys.argv[1]]()
    except (Failed, RuntimeError) as fault:
        sys.exit(f"demo: {fault}")
    except KeyboardInterrupt:
        sys.exit("\ndemo: interrupted; `make demo` goes on from here, `make demo-down` takes everything back")
