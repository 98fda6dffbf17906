"""Calls are placed while tcpdump watches; then their packets are fetched, from sensors that nobody can connect to.

Both sensors see each call. What the central gets must be what tcpdump saw: packet by packet, each once, in the order of
time. Then who may have what of it, what the audit logs say, and what is left once a call is erased.
"""

import json
import os
import subprocess
import sys
import tempfile
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import compare
import wire
from stage import (  # beside this file
    BRANCH1,
    BRANCH2,
    HERE,
    HQ,
    MEDIA,
    ROOT,
    SIP,
    Call,
    Failed,
    Injected,
    answer,
    bed,
    brought,
    call,
    expect,
    fetched,
    ports,
    records,
    until,
    voipfleet,
)

CALLS = (
    Call("answered", "210000101", "220000001", packets=150),
    Call("lossy", "210000102", "220000002", packets=120, lost=5, codec="PCMA"),
    Call("busy", "210000103", "220000003"),
)
RTP_HEADER = 20 + 8 + 12  # bytes of IP, UDP and RTP
KNOWN = ("name", "id", "address", "site", "mode", "version", "up_since", "last_seen", "packets_per_second", "calls",
         "drops", "backlog", "disk_free", "oldest", "clock_offset_ms", "key")  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nobody_comes_in()
        placed, seen = place_all(folder)
        compared(placed, seen["branch1"], folder)
        merged(placed[0], seen["branch1"], folder)
        who_may(placed[0], folder)
        by_playbook(placed[0], seen["branch1"], folder)
        in_view()
        erased(placed[1])
        on_record()


def nobody_comes_in() -> None:
    at_port = ("ctl", "--at", f"{BRANCH1}:5029", "version")
    asked = voipfleet("hq", *at_port)
    expect("hq's key is listed at the manager's port of branch1", asked.returncode == 0, asked.stderr)
    wire.close("branch1", "branch2")
    expect("which is closed now, as all is", voipfleet("hq", *at_port).returncode != 0)
    for host, address in (("branch1", BRANCH1), ("branch2", BRANCH2)):
        expect(f"hq cannot open a connection to {host}", not wire.reaches("hq", address, 22))
    expect("hq can where nothing is closed", wire.reaches("branch1", HQ, 22))
    for host in ("branch1", "hq"):  # what a mirror port shows of branch1: both directions
        for match in (SIP, MEDIA):
            bed("span", host, "branch2", match)


def place_all(folder: Path) -> tuple[list[Injected], dict[str, list[compare.Packet]]]:
    """All at the same time, with RTCP beside the media of the first."""
    with wire.watched(folder, "branch1", "branch2") as files, ThreadPoolExecutor() as pool:
        jobs = [pool.submit(call, one, slot) for slot, one in enumerate(CALLS)]
        for host, address, other in (("branch1", BRANCH1, HQ), ("hq", HQ, BRANCH1)):
            rtp, rtcp = ports(0)
            ssrc = until(lambda a=address, p=rtp: compare.ssrc(compare.read(files["branch1"]), a, p), 5)
            wire.send_rtcp(host, address, other, rtcp, ssrc)
        placed = [job.result() for job in jobs]
        for one in placed:
            views = until(lambda one=one: [r for r in records(one.call_id) if r["views"] == 2], 20)
            expect(f"{one.call.kind}: the central has one record, with both sensors' views", views and len(views) == 1)
    return placed, {host: compare.read(file) for host, file in files.items()}


def compared(placed: list[Injected], seen: list[compare.Packet], folder: Path) -> None:
    for slot, one in enumerate(placed):
        of_call = compare.of_call(seen, one.call_id, ports(slot))
        got = compare.read(fetched(one.call_id, folder))
        faults = compare.differences(got, of_call)
        expect(
            f"{one.call.kind}: {len(got)} packets came, as tcpdump saw them on the wire", not faults, "\n".join(faults)
        )
    reports = [packet for packet in compare.of_call(seen, placed[0].call_id, ports(0)) if packet.udp.sport % 2]
    expect("there was RTCP among them", len(reports) == 6)


def merged(one: Injected, seen: list[compare.Packet], folder: Path) -> None:
    got = compare.read(fetched(one.call_id, folder, "both.pcapng"))
    expect("as pcapng: each packet once", not compare.differences(got, compare.of_call(seen, one.call_id, ports(0))))
    listed = (folder / "root-both.pcapng").read_bytes()
    expect("both sensors are named in it", b"branch1" in listed and b"branch2" in listed)


def who_may(one: Injected, folder: Path) -> None:
    refused = voipfleet("hq", "pcap", one.call_id, "-o", "/tmp/nora.pcap", user="nora")
    expect("who is in neither group is refused in words", refused.returncode and "voipfleet-pcap" in refused.stderr,
           refused.stderr)  # fmt: skip
    print(f"      {refused.stderr.strip()}")
    headers = compare.read(fetched(one.call_id, folder, user="paula"))
    media = [packet for packet in headers if packet.udp.sport == ports(0)[0]]
    expect("who may fetch packets gets RTP without the voice",
           len(media) == 2 * one.call.packets and all(len(packet.ip) == RTP_HEADER for packet in media))  # fmt: skip
    expect("and SIP as it was", not any(packet.cut for packet in headers if packet.udp.sport < 6000))
    refused = voipfleet("hq", "listen", one.call_id, "-o", "/tmp/paula.wav", user="paula")
    expect("and hears nothing", refused.returncode and "voipfleet-listen" in refused.stderr, refused.stderr)
    heard = voipfleet("hq", "listen", one.call_id, "-o", "/tmp/lia.wav", "--force", user="lia")
    expect("who may listen gets a sound", heard.returncode == 0, heard.stderr)
    with wave.open(str(brought("/tmp/lia.wav", folder))) as sound:
        seconds = sound.getnframes() / sound.getframerate()
        expect("of two channels, as long as the call", sound.getnchannels() == 2 and abs(seconds - 3) < 0.5)


def by_playbook(one: Injected, seen: list[compare.Packet], folder: Path) -> None:
    words = ["ansible-playbook", *inventories(), ROOT / "playbooks" / "fetch_pcap.yml",
             "-e", f"call={one.call_id}", "-e", f"to={folder}/playbook.pcap"]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | {"ANSIBLE_NOCOLOR": "1"})
    expect("playbooks/fetch_pcap.yml brings them to the controller", done.returncode == 0, done.stdout + done.stderr)
    faults = compare.differences(compare.read(folder / "playbook.pcap"), compare.of_call(seen, one.call_id, ports(0)))
    expect("and they are the same", not faults, "\n".join(faults))


def inventories() -> list[str]:
    own = HERE / "inventory"
    return ["-i", str(own), "-i", str(ROOT / "inventories/client-server"), "-i", str(own / "hosts.yml")]


def in_view() -> None:
    def seen() -> list[dict]:
        return [one for one in answer("hq", "sensors") if one["name"].startswith("branch")]

    both = until(lambda: (found := seen()) and all(one["oldest"] for one in found) and found, 20)
    expect("the central shows both sensors, and since when each has packets", both and len(both) == 2, str(seen()))
    for one in both:
        missing = [field for field in KNOWN if one.get(field) in (None, "")]
        expect(f"{one['name']}: with all that is to be known", not missing and not one["remark"], str(one))
    version = bed("exec", "branch1", "voipfleet", "--version").split()[-1]
    done = voipfleet("hq", "ctl", "branch1", "version")
    expect("and asks them over their own connections", version in done.stdout, done.stdout + done.stderr)


def erased(one: Injected) -> None:
    marked = bytes(one.call_id, "ascii")
    stores = {"branch1": "/var/lib/voipfleet/pool", "branch2": "/srv/voipfleet/pool"}
    expect("its Call-ID stands in both stores", all(found(host, path, marked) for host, path in stores.items()))
    done = voipfleet("hq", "erase", one.call_id, "--yes")
    expect("a call is erased", done.returncode == 0, done.stderr)
    for host, path in stores.items():
        expect(f"nothing of it is left on {host}", not found(host, path, marked))
    expect("nor in the database", not records(one.call_id))
    gone = voipfleet("hq", "pcap", one.call_id, "-o", "/tmp/erased.pcap")
    expect("and whoever asks for it is told", gone.returncode != 0)
    print(f"      {gone.stderr.strip()}")


def found(host: str, folder: str, what: bytes) -> str:
    return bed("exec", host, "sh", "-c", f"grep -rlaF '{what.decode()}' {folder} || true").strip()


def on_record() -> None:
    events = {"hq": {"pcap_fetch", "pcap_refused", "erase", "ctl"}, "branch1": {"pcap_fetch", "erase"},
              "branch2": {"pcap_fetch", "erase"}}  # fmt: skip
    for host, wanted in events.items():
        done = voipfleet(host, "audit", "--json", "--limit", "0")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        missing = wanted - {line["event"] for line in lines}
        expect(f"{host}: who fetched what is in the audit log", not missing, f"missing: {missing}")
        whole = done.returncode == 0 and "each follows" in done.stderr
        expect(f"{host}: which is as it was written", whole, done.stderr)
        named = [line for line in lines if any(one.caller in json.dumps(line) for one in CALLS)]
        expect(f"{host}: and names no number", not named, str(named))
    said = voipfleet("hq", "audit", "--json").stdout
    who = {str(json.loads(line).get("who")) for line in said.splitlines()}
    expect("the central's has who asked", {"nora", "paula", "lia"} <= {one.split("@")[0] for one in who}, str(who))


if __name__ == "__main__":
    try:
        main()
    except (Failed, RuntimeError) as fault:
        sys.exit(str(fault))
