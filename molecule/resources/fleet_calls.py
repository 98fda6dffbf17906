"""Calls on bed hosts, and whether the store has them: `fleet_calls.py --callee HQ=ADDRESS BRANCH=ADDRESS ...`.

The demo and the molecule scenarios use it. A call goes from one of the hosts to the callee's, which does not capture,
so each crosses exactly one sensor, its caller's host, unless the options say who sees what. Standard library only.
"""

import argparse
import datetime
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support import calls  # noqa: E402 # the tests' callers
from support.calls import Call, Side  # noqa: E402

BED = ROOT / "molecule/resources/bed/bed"
RTP_PORTS = "19456/0xfc00"  # and the 1,023 behind, among which are those of the calls
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
    """Hosts of the bed by name, the callee's first, and the calls that were placed between them.

    `central` has the records (the callee's host if not said). `sensor` (else the caller's host) sees a call,
    `streams_by` (else the same) its media, `analysed_by` analyses it (empty: the sensor).
    """

    def __init__(self, addresses: dict[str, str], *, central: str = "", sensor: str = "", streams_by: str = "",
                 analysed_by: str = ""):  # fmt: skip
        sides = {name: Side((str(BED), "exec", name), address) for name, address in addresses.items()}
        (callee, self._callee), *self._sensors = sides.items()
        self.central, self._sensor, self._streams_by, self._by = central or callee, sensor, streams_by, analysed_by
        self._placed: list[calls.Injected] = []
        self._from: dict[str, str] = {}  # call_id -> the host that called
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
            self._from[one.call_id] = name
            lost = f", {call.lost} of the caller's {call.packets} packets left out" if call.lost else ""
            lines.append(f"{name}: {call.caller} -> {call.callee}: {call.kind} ({one.final_response}{lost})")
        return lines

    def faults(self, seconds: float = 15, beside: Iterable["Fleet"] = ()) -> list[str]:
        """Where the central's database disagrees, once all records are there or time is up. It may have the calls of
        the fleets `beside` this one, too."""
        others = {one.call_id for fleet in beside for one in fleet._placed}
        wanted, end = {one.call_id for one in self._placed}, time.monotonic() + seconds
        while True:
            said = self._voipfleet("calls", "--json", "--limit", "0", "--since", self._since)
            records = [record for record in map(json.loads, said.splitlines()) if record["call_id"] not in others]
            strange = sorted({record["call_id"] for record in records} - wanted)
            faults = calls.check(self._placed, records) + [f"{call_id}: nobody placed this call" for call_id in strange]
            faults += self._misplaced(records)
            if not faults or time.monotonic() > end:
                return faults
            time.sleep(0.5)

    def _misplaced(self, records: list[dict]) -> list[str]:
        """Records that name another host than the one that saw the call, or that analysed it."""
        faults = []
        for record in records:
            seen_by = self._sensor or self._from.get(record["call_id"], "")
            media = {stream["sensor"] for stream in record["streams"]} - {self._streams_by or seen_by}
            if (record["sensor"], record["analysed_by"]) != (seen_by, self._by) or media:
                faults.append(f"{record['call_id']}: seen by {record['sensor']}, media also by {sorted(media)},"
                              f" analysed by {record['analysed_by'] or 'the same'}; not {seen_by} and"
                              f" {self._by or 'the same'}")  # fmt: skip
        return faults

    def a_call(self, kind: str) -> str:
        """The Call-ID of one that was placed."""
        return next(one.call_id for one in self._placed if one.call.kind == kind)

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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("callers", nargs="+", metavar="NAME=ADDRESS")
    parser.add_argument("--callee", required=True, metavar="NAME=ADDRESS")
    for option in ("store", "sensor", "streams-by", "analysed-by"):
        parser.add_argument(f"--{option}", default="", metavar="NAME")
    parser.add_argument("--span", action="append", default=[], metavar="FROM,TO", help="mirror FROM's RTP to TO first")
    args = parser.parse_args()
    for span in args.span:
        bed("span", *span.split(","), RTP_PORTS)
    fleet = Fleet(dict(word.split("=") for word in [args.callee, *args.callers]), central=args.store,
                  sensor=args.sensor, streams_by=args.streams_by, analysed_by=args.analysed_by)  # fmt: skip
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
