"""Rolls out each inventory of `wrong/` on two hosts that could be reached: it is refused, and nothing is touched."""

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "resources"))
from fleet_calls import Failed, bed  # noqa: E402 # shared with the other scenarios

HOSTS = ("hq", "branch1")


def logins(host: str) -> int:
    """How often somebody has come to the host by ssh."""
    return bed("exec", host, "journalctl", "-q", "--no-pager", "-t", "sshd").count("Accepted publickey")


def main() -> None:
    before = [logins(host) for host in HOSTS]
    for path in sorted((HERE / "wrong").glob("*.yml")):
        words = ["ansible-playbook", "-i", HERE / "inventory", "-i", path, ROOT / "site.yml"]
        environment = os.environ | {"ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        said = " ".join((done.stdout + done.stderr).split())
        missing = [line for line in re.findall("# expect: (.*)", path.read_text()) if line.strip() not in said]
        print(f"{path.name}: " + ("refused" if done.returncode and not missing else "FAULT"), flush=True)
        if not done.returncode or missing:
            raise Failed(f"{path.name}: exit {done.returncode}, not said: {missing}\n{done.stdout[-3000:]}")
    if [logins(host) for host in HOSTS] != before:
        raise Failed("somebody has logged in to a host")
    for host in HOSTS:
        if bed("exec", host, "sh", "-c", "ls -d /etc/voipfleet /opt/voipfleet 2>/dev/null || true").strip():
            raise Failed(f"{host} is not as it was")


if __name__ == "__main__":
    try:
        main()
    except Failed as fault:
        sys.exit(str(fault))
