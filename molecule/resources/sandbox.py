"""Run on a host of the fleet (as root): what the running daemon may do, and who may read what it has. Prints faults.

sandbox.py captures|receives
"""

import grp
import pwd
import stat
import subprocess
import sys
from pathlib import Path

NOTHING = "0" * 16
# (path, owner, mode); what is not there is passed over but for the first ones
MODES = [
    ("/etc/voipfleet/voipfleet.conf", "root:voipfleet", 0o640), ("/etc/voipfleet/secrets", "root:root", 0o700),
    ("/var/lib/voipfleet", "voipfleet:voipfleet", 0o750), ("/run/voipfleet", "voipfleet:voipfleet", 0o755),
    ("/run/voipfleet/control", "voipfleet:voipfleet", 0o666),
    ("/var/lib/voipfleet/node.key", "voipfleet:voipfleet", 0o600),
    ("/var/lib/voipfleet/outbox.db", "voipfleet:voipfleet", 0o600),
    ("/var/lib/voipfleet/audit.log", "voipfleet:voipfleet", 0o600),
]  # fmt: skip


def show(name: str) -> str:
    words = ["systemctl", "show", "voipfleet", f"--property={name}", "--value"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def processes() -> list[int]:
    """The courier and its engine."""
    main = int(show("MainPID"))
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    return [main, *map(int, children)]


def threads() -> list[tuple[int, str]]:
    """(process, status) of each of their threads: capabilities are a thread's."""
    return [(pid, (task / "status").read_text()) for pid in processes() for task in Path(f"/proc/{pid}/task").iterdir()]


def faults(captures: bool) -> list[str]:
    found = []
    for pid, status in threads():
        status = dict(line.split(":\t", 1) for line in status.splitlines())
        for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            held = status[name].strip()
            if held != NOTHING:
                found.append(f"process {pid} has {name} {held}")
        if captures and int(status["CapBnd"], 16) & ~(1 << 13):
            found.append(f"process {pid} could get more than CAP_NET_RAW ({status['CapBnd']})")
        for name, wanted in (("NoNewPrivs", "1"), ("Seccomp", "2")):
            if status[name].strip() != wanted:
                found.append(f"process {pid} has {name} {status[name].strip()}")
        if status["Uid"].split()[0] == "0":
            found.append(f"process {pid} runs as root")
        limits = Path(f"/proc/{pid}/limits").read_text()
        if "Max core file size        0                    0" not in limits:
            found.append(f"process {pid} may write a core dump")
    for path, owner, mode in MODES:
        there = Path(path)
        if not there.exists():
            found.append(f"{path} is not there")
            continue
        about = there.stat()
        who = f"{pwd.getpwuid(about.st_uid).pw_name}:{grp.getgrgid(about.st_gid).gr_name}"
        if (who, stat.S_IMODE(about.st_mode)) != (owner, mode):
            found.append(f"{path} is {who} {stat.S_IMODE(about.st_mode):o}, not {owner} {mode:o}")
    for secret in Path("/etc/voipfleet/secrets").iterdir():
        if stat.S_IMODE(secret.stat().st_mode) != 0o400:
            found.append(f"{secret} may be read by more than root")
        found += leaks(secret.name, secret.read_text().strip())
    return found


def leaks(name: str, value: str) -> list[str]:
    """Where a secret stands that it must not."""
    journal = subprocess.run(
        ["journalctl", "-u", "voipfleet", "--no-pager"], capture_output=True, text=True, check=True
    )
    places = {"the journal": journal.stdout, "the configuration": Path("/etc/voipfleet/voipfleet.conf").read_text()}
    for pid in filter(str.isdigit, (path.name for path in Path("/proc").iterdir())):
        for what in ("cmdline", "environ"):
            try:
                places[f"{what} of process {pid}"] = Path(f"/proc/{pid}/{what}").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue  # it has ended
    return [f"{name} stands in {place}" for place, text in places.items() if value and value in text]


if __name__ == "__main__":
    said = faults(sys.argv[1] == "captures")
    print("\n".join(said))
    sys.exit(bool(said))
