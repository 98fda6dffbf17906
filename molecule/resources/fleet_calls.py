"""Calls on bed hosts, and whether their central has them: `fleet_calls.py CENTRAL=ADDRESS SENSOR=ADDRESS ...`.

The demo and the molecule scenarios use it. A call goes from a sensor's host to the central's, which does not capture,
so each crosses exactly one sensor. Standard library only.
"""

import datetime
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support import calls  # noqa: E402 # the tests' callers
from support.calls import Call, Side  # noqa: E402

BED = ROOT / "molecule/resources/bed/bed"
CALLS = (  # one after the other to the sensors
    Call("answered", "210000101", "220000001", packets=200),
    Call("cancelled", "230000201", "220000004"),
    Call("lossy", "210000102", "220000002", packets=250, lost=12),
    Call("answered", "230000202", "220000005", packets=150, codec="PCMA"),
    Call("busy", "210000103", "220000003"),
    Call("lossy", "230000203", "220000006", packets=200, lost=5, codec="PCMA"),
)


class Failed(Exception):
    """It cannot go on; the sentence says why."""


class Fleet:
    """Hosts of the bed by name, the central first, and the calls that were placed between them."""

    def __init__(self, addresses: dict[str, str]):
        sides = {name: Side((str(BED), "exec", name), address) for name, address in addresses.items()}
        (self.central, self._callee), *self._sensors = sides.items()
        self._placed: list[calls.Injected] = []
        self._since = ""

    def place(self) -> list[str]:
        """Place all calls at the same time; what was injected, a line a call. RuntimeError as in `calls.place`."""
        self._since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        from_where = [self._sensors[n % len(self._sensors)] for n in range(len(CALLS))]
        jobs = [(call, side, self._callee) for call, (_, side) in zip(CALLS, from_where, strict=True)]
        self._placed = calls.place_all(jobs)
        lines = []
        for (name, _), one in zip(from_where, self._placed, strict=True):
            call = one.call
            lost = f", {call.lost} of the caller's {call.packets} packets left out" if call.lost else ""
            lines.append(f"{name}: {call.caller} -> {call.callee}: {call.kind} ({one.final_response}{lost})")
        return lines

    def faults(self, seconds: float = 15) -> list[str]:
        """Where the central's database disagrees, once all records are there or time is up."""
        wanted, end = {one.call_id for one in self._placed}, time.monotonic() + seconds
        while True:
            said = self._voipfleet("calls", "--json", "--limit", "0", "--since", self._since)
            records = [json.loads(line) for line in said.splitlines()]
            found = {record["call_id"] for record in records}
            if wanted <= found or time.monotonic() > end:
                break
            time.sleep(0.5)
        strange = [f"{call_id}: nobody placed this call" for call_id in sorted(found - wanted)]
        return calls.check(self._placed, records) + strange

    def table(self) -> str:
        """The calls as an operator sees them on the central."""
        return self._voipfleet("calls", "--since", self._since)

    def _voipfleet(self, *words: str) -> str:
        return bed("exec", self.central, "voipfleet", *words)


def bed(*words: str) -> str:
    """What it printed; its progress goes to this program's own output."""
    done = subprocess.run([BED, *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Failed(f"`bed {' '.join(words)}` failed; the message above says why")
    return done.stdout


def main() -> None:
    fleet = Fleet(dict(word.split("=") for word in sys.argv[1:]))
    print("\n".join(fleet.place()))
    faults = fleet.faults()
    print(fleet.table())
    if faults:
        raise Failed("\n".join(faults))


if __name__ == "__main__":
    try:
        main()
    except (Failed, RuntimeError) as fault:
        sys.exit(str(fault))
