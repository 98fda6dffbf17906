"""Edits one inventory through three modes on the same hosts: client-server, packet sender, mirroring.

Calls are captured in each mode while lisbon (the central) is down, so records or packets wait on porto when the next
mode is rolled out. In the end all of them are in lisbon's table, each once.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from exchange import LISBON, PORTO, expect, roll_out, status  # beside this file
from fleet_calls import CALLS, Failed, Fleet, bed  # exchange has named its folder

STAGES = {"before": "capture+client", "packet-sender": "capture+packet sender", "mirror": "capture+mirror source"}
RTP = sum(2 * call.packets - call.lost for call in CALLS if call.kind in ("answered", "lossy"))


def waiting() -> tuple[int, int]:
    """(records, packets) that wait on porto."""
    said = status("porto")
    links = said.get("packets", {}).get("links", [])
    return said["records"]["queued"], sum(link["buffer"]["memory"] + link["buffer"]["disk"] for link in links)


def main() -> None:
    placed: list[tuple[str, Fleet]] = []
    for stage, mode in STAGES.items():
        roll_out(stage)
        expect(f"{stage}.yml: porto is {mode}", status("porto")["mode"] == mode)
        # In the table: seen by porto; analysed there, or by lisbon where packets were sent.
        # What still waits when porto is a client again it analyses itself.
        fleet = Fleet({"lisbon": LISBON, "porto": PORTO}, analysed_by="lisbon" if stage == "packet-sender" else "")
        bed("exec", "lisbon", "systemctl", "stop", "voipfleet")
        print("\n".join(fleet.place()))
        end = time.monotonic() + 20
        while not (found := waiting()[0] >= len(CALLS) or waiting()[1] >= RTP) and time.monotonic() < end:
            time.sleep(0.5)
        expect("what porto captured while lisbon was down waits there", found)
        placed.append((stage, fleet))
    roll_out("before")
    for stage, fleet in placed:
        end = time.monotonic() + 30
        beside = [other for _, other in placed if other is not fleet]
        while (faults := fleet.faults(1, beside)) and time.monotonic() < end:
            time.sleep(1)
        expect(f"{stage}.yml: lisbon has every call of that mode once: " + "; ".join(faults), not faults)


if __name__ == "__main__":
    try:
        main()
    except (Failed, RuntimeError) as fault:
        sys.exit(str(fault))
