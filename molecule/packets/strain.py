"""A sensor is killed while it writes, and another one has a disk of 64 MiB: neither loses what it had kept."""

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import compare
import wire
from stage import HQ, Call, Failed, Injected, bed, call, expect, fetched, ports, records, until, voipfleet

SHORT = Call("answered", "210000111", "220000011", packets=60)
LONG = Call("answered", "210000112", "220000012", packets=200)
SPOOL = "/srv/voipfleet"
DISK, FLOOD = 64, 20  # MiB of it; seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        before = killed(Path(name))
    small_disk()
    not_there(before)


def killed(folder: Path) -> Injected:
    """The call before."""
    before = call(SHORT, 4)
    until(lambda: [r for r in records(before.call_id) if r["views"] == 2], 20)
    first = compare.read(fetched(before.call_id, folder))
    with ThreadPoolExecutor() as pool:
        during = pool.submit(call, LONG, 5)
        time.sleep(2)
        pid = main_pid()
        bed("exec", "branch1", "systemctl", "kill", "--signal=KILL", "voipfleet")
        during.result()
    well = voipfleet("branch1", "status", "--wait", "30").returncode == 0
    expect("a sensor was killed while a call was up, and runs again", well and main_pid() != pid)
    until(lambda: voipfleet("hq", "ctl", "branch1", "version").returncode == 0, 10)
    again = compare.read(fetched(before.call_id, folder, "again.pcapng"))
    expect("what it had written of an earlier call is served as before", not compare.differences(again, first))
    names = (folder / "root-again.pcapng").read_bytes()
    expect("by the sensor that was killed, too", b"branch1" in names)
    left = bed("exec", "branch1", "find", "/var/lib/voipfleet/pool", "-name", "*.part").split()
    expect("nothing half written is left", not left, str(left))
    return before


def main_pid() -> str:
    return bed("exec", "branch1", "systemctl", "show", "voipfleet", "--property=MainPID", "--value").strip()


def small_disk() -> None:
    """RTP of a call, more than the disk holds; the records of what branch2 sees meanwhile reach the central."""
    free, began = [], time.monotonic()
    with ThreadPoolExecutor() as pool:
        carrying = pool.submit(call, Call("answered", "210000113", "220000013", packets=50 * FLOOD), 6)
        time.sleep(1)
        sending = wire.flood("branch1", HQ, ports(6)[0], FLOOD - 2)
        while sending.poll() is None:
            size, left = df()
            free.append(left)
            if len(free) == 20:
                meanwhile = pool.submit(call, SHORT, 7)
            time.sleep(0.4)
        sent = int(sending.communicate()[0])
        one = meanwhile.result()
        carrying.result()
    print(f"      {sent * 1334 >> 20} MiB in {time.monotonic() - began:.0f} s; of {size / 1024:.0f} MiB"
          f" {min(free) / 1024:.1f} were free at the least")  # fmt: skip
    expect("more was sent than the disk has", sent * 1334 > DISK << 20)
    expect("the disk never was full", min(free) > 0.02 * size)
    both = until(lambda: [r for r in records(one.call_id) if r["views"] == 2], 20)
    expect("and the records of that time arrived", both)
    status = voipfleet("branch2", "status", "--wait", "10")
    expect("that sensor is well", status.returncode == 0, status.stderr)


def not_there(before: Injected) -> None:
    """A call whose packets made room for others on one sensor, and then a sensor that is off."""
    said = voipfleet("hq", "pcap", before.call_id, "-o", "/tmp/evicted.pcap").stderr.strip()
    expect("what made room for others is said to be gone there", "branch2: no packets of this call" in said, said)
    bed("exec", "branch1", "systemctl", "stop", "voipfleet")
    said = voipfleet("hq", "pcap", before.call_id, "-o", "/tmp/offline.pcap").stderr.strip()
    expect("and a sensor that is off is said to be", "branch1: is offline since" in said, said)
    bed("exec", "branch1", "systemctl", "start", "voipfleet")
    print(f"      {said}")


def df() -> tuple[int, int]:
    """KiB of branch2's disk, and how many of them are free."""
    size, free = bed("exec", "branch2", "df", "--output=size,avail", SPOOL).split("\n")[1].split()
    return int(size), int(free)


if __name__ == "__main__":
    try:
        main()
    except (Failed, RuntimeError) as fault:
        sys.exit(str(fault))
