"""The hosts of this scenario, the calls on them, and what the two programs (fetch.py, strain.py) say of both."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "resources"))
sys.path.insert(0, str(HERE))
from fleet_calls import BED, Failed, bed  # noqa: E402 # shared with the other scenarios
from support.calls import MEDIA_PORT, Call, Injected, Side, place  # noqa: E402 # the tests' callers

HQ, BRANCH1, BRANCH2 = "10.89.0.11", "10.89.0.21", "10.89.0.22"
CALLER, CALLEE = Side((str(BED), "exec", "branch1"), BRANCH1), Side((str(BED), "exec", "hq"), HQ)
SIP, MEDIA = "5056/0xfff0", "19456/0xfc00"  # ports of the calls, as a mirror port of the switch chooses them

__all__ = ["BED", "Call", "Failed", "Injected", "bed"]


def expect(what: str, holds: object, why: str = "") -> None:
    print(("ok    " if holds else "FAULT ") + what, flush=True)
    if not holds:
        raise Failed(f"{what}\n{why}".strip())


def until(holds: Callable[[], object], seconds: float) -> object:
    """The first answer that is one, else the last."""
    end = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(0.3)
    return found


def call(one: Call, slot: int) -> Injected:
    """Place it from branch1 to hq: branch1's sensor sees it, and branch2's by its mirror port."""
    return place(one, CALLER, CALLEE, slot=slot)


def ports(slot: int) -> range:
    """RTP and RTCP of the call in that slot."""
    return range(MEDIA_PORT + 10 * slot, MEDIA_PORT + 10 * slot + 2)


def voipfleet(host: str, *words: str, user: str = "root") -> subprocess.CompletedProcess:
    """What a user of the host gets for `voipfleet ...`."""
    as_user = [] if user == "root" else ["runuser", "-u", user, "--"]
    command = [BED, "exec", host, *as_user, "voipfleet", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def answer(host: str, *words: str) -> list[dict]:
    """What a command with --json prints, an object a line."""
    done = voipfleet(host, *words, "--json")
    if done.returncode:
        raise Failed(f"{host}: voipfleet {' '.join(words)}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def records(call_id: str) -> list[dict]:
    """The central's records of a call."""
    return [one for one in answer("hq", "calls", "--since", "10m", "--limit", "0") if one["call_id"] == call_id]


def fetched(call_id: str, folder: Path, name: str = "call.pcap", user: str = "root") -> Path:
    """A call's packets as `voipfleet pcap` on the central writes them, brought here. Failed in its own words."""
    there = f"/tmp/{user}-{name}"
    done = voipfleet("hq", "pcap", call_id, "-o", there, "--force", user=user)
    if done.returncode:
        raise Failed(f"voipfleet pcap {call_id} as {user}: {done.stderr}")
    return brought(there, folder)


def brought(path: str, folder: Path) -> Path:
    """A file of the central, here."""
    here = folder / Path(path).name
    done = subprocess.run([BED, "exec", "hq", "cat", path], stdout=subprocess.PIPE, check=True)
    here.write_bytes(done.stdout)
    return here
