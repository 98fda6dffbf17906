"""Exchanges the parts of lisbon (central) and porto (sensor) by editing the inventory, and back; run by verify.yml.

Calls are captured while the central is down, so porto has records that nobody has acknowledged when it becomes the
central itself: they must be in its own database afterwards, each once.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "resources"))
from fleet_calls import CALLS, Failed, Fleet, bed  # noqa: E402 # shared with the other scenarios

LISBON, PORTO = "10.80.0.11", "10.80.0.21"

TIMER = "voipfleet-maintain.timer"
SINCE = ("systemctl", "show", "voipfleet", "--property=ExecMainStartTimestamp")


def roll_out(stage: str, *variables: str) -> str:
    words = ["ansible-playbook", "-i", HERE / "inventory", "-i", HERE / "stages" / f"{stage}.yml", ROOT / "site.yml"]
    words += [word for variable in variables for word in ("-e", variable)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | {"ANSIBLE_NOCOLOR": "1"})
    if done.returncode:
        raise Failed(f"the rollout of {stage}.yml failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    return done.stdout


def says(host: str, *command: str) -> str:
    """What a command prints that may fail without being a fault."""
    return bed("exec", host, "sh", "-c", " ".join(command) + " || true").strip()


def expect(what: str, holds: bool) -> None:
    print(("ok    " if holds else "FAULT ") + what, flush=True)
    if not holds:
        raise Failed(what)


def status(host: str) -> dict:
    return json.loads(bed("exec", host, "voipfleet", "status", "--json"))


def quarter() -> int:
    """Of this machine's memory, MB, as a central gives it to MariaDB."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return min(max(memory // 4, 128), 8192)


def main() -> None:
    before = status("porto")["records"]["created"]
    bed("exec", "lisbon", "systemctl", "stop", "voipfleet")
    fleet = Fleet({"lisbon": LISBON, "porto": PORTO})
    print("\n".join(fleet.place()))
    end = time.monotonic() + 20
    while status("porto")["records"]["queued"] < len(CALLS) and time.monotonic() < end:
        time.sleep(0.5)
    expect("porto captured while its central was down", status("porto")["records"]["created"] == before + len(CALLS))

    roll_out("after", "voipfleet_rotate_key=all")  # and new keys for both, and another password
    fleet.central = "porto"
    faults = fleet.faults()
    expect("porto, now the central, has what porto, then a sensor, could not deliver: " + "; ".join(faults), not faults)
    expect("lisbon listens for nobody", ":60024" not in says("lisbon", "ss", "-ltn"))
    expect("lisbon captures and is connected", status("lisbon")["link"]["state"] == "connected")
    expect(
        "the MariaDB that lisbon had before still runs", says("lisbon", "systemctl", "is-active", "mariadb") == "active"
    )
    expect("it showed the new password", status("porto")["listeners"][0]["slots"] == [1, 0])
    keys = [(HERE / "inventory" / "keys" / f"{host}.pub").read_text().splitlines() for host in ("lisbon", "porto")]
    expect("the inventory has two keys of each", [len(set(lines)) for lines in keys] == [2, 2])
    megabytes = says("porto", "mariadb -N -e 'SELECT @@innodb_buffer_pool_size >> 20'")
    expect("MariaDB, which came with its part, has a quarter of the memory", abs(int(megabytes) - quarter()) <= 64)
    expect("its database is kept up", says("porto", "systemctl", "is-active", TIMER) == "active")
    expect("porto captures nothing", not status("porto")["capture"]["interfaces"])
    expect("porto may open no packet socket", "cap_net_raw" not in says("porto", "systemctl", "show", "voipfleet",
           "-p", "CapabilityBoundingSet").lower())  # fmt: skip

    roll_out("before", "voipfleet_end_rotation=all")
    expect("porto, a sensor again, is connected", status("porto")["link"]["state"] == "connected")
    left = [(HERE / "inventory" / "keys" / f"{host}.pub").read_text().splitlines() for host in ("lisbon", "porto")]
    expect("of the keys the new one is left", left == [lines[:1] for lines in keys])
    expect("and on the host too", "node.key.old" not in says("porto", "ls", "/var/lib/voipfleet"))
    expect("the audit log is as it was written", "each follows" in says("porto", "voipfleet", "audit", "2>&1"))
    expect("porto listens for nobody", ":60024" not in says("porto", "ss", "-ltn"))
    expect(
        "porto's MariaDB, which came with its part, rests",
        says("porto", "systemctl", "is-active", "mariadb") == "inactive",
    )
    expect("and is disabled", says("porto", "systemctl", "is-enabled", "mariadb") == "disabled")
    expect("and its data are there", "\ncalls" in says("porto", "ls", "/var/lib/mysql/voipfleet"))
    timers = [says(host, "ls", "/etc/systemd/system/timers.target.wants") for host in ("lisbon", "porto")]
    expect("its database is kept up no longer, lisbon's is", [TIMER in listed for listed in timers] == [True, False])
    expect("nothing is left to change", roll_out("before").count("changed=0") == 2)

    since = says("porto", *SINCE)
    bed("exec", "porto", "touch", "/etc/voipfleet/voipfleet.conf")  # as a rollout that was cut short leaves it
    roll_out("before")
    expect("a daemon that is older than its configuration is started anew", says("porto", *SINCE) != since)


if __name__ == "__main__":
    try:
        main()
    except (Failed, RuntimeError) as fault:
        sys.exit(str(fault))
