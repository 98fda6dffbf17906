"""Places real calls with real RTP by sipp, and says what was injected, to be compared with the records.

One sipp process a side and a call, each call with a SIP port and media ports of its own. Loss is made in the sender's
own audio file: the packets that are left out never reach a wire, whoever captures behind the sender must miss them.
Standard library only: the demo and the molecule scenarios use it too.
"""

import contextlib
import io
import random
import secrets
import struct
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

SCENARIOS = Path(__file__).parent / "sipp"
KINDS = {  # kind: scenario, final response, who hung up, end reason, does media flow
    "answered": ("answered", 200, "caller", "bye", True),
    "lossy": ("hungup", 200, "callee", "bye", True),
    "busy": ("busy", 486, None, "rejected", False),
    "cancelled": ("cancelled", 487, "caller", "cancel", False),
}
CODECS = {"PCMU": 0, "PCMA": 8}
SIP_PORT, MEDIA_PORT = 5060, 20000


@dataclass(frozen=True)
class Side:
    """Where sipp runs: `run` is put before a command (as in `ip netns exec NAME`), `address` is its own."""

    run: tuple[str, ...]
    address: str


@dataclass(frozen=True)
class Call:
    """A call to place: `packets` of 20 ms in each direction, `lost` of the caller's (every direction's ends stay)."""

    kind: str
    caller: str
    callee: str
    packets: int = 150
    lost: int = 0
    codec: str = "PCMU"


@dataclass(frozen=True)
class Injected:
    """What a record of a placed call must say."""

    call: Call
    call_id: str
    final_response: int
    hung_up_by: str | None
    end_reason: str
    streams: dict[str, tuple[int, int]] = field(default_factory=dict)  # direction: expected, lost

    def differences(self, record: dict) -> list[str]:
        """Where a record (a line of `voipfleet calls --json`) disagrees, one sentence each."""
        want = {"caller": self.call.caller, "callee": self.call.callee, "final_response": self.final_response,
                "hung_up_by": self.hung_up_by, "end_reason": self.end_reason, "partial": False}  # fmt: skip
        found = {name: record.get(name) for name in want}
        want["streams"] = dict(self.streams)
        found["streams"] = {s["direction"]: (s["expected"], s["lost"]) for s in record["streams"]}
        want["codecs"] = [self.call.codec] * len(self.streams)
        found["codecs"] = [s["codec"] for s in record["streams"]]
        return [
            f"{self.call_id}: {key} is {found[key]!r}, not {want[key]!r}" for key in want if want[key] != found[key]
        ]


def check(placed: Iterable[Injected], records: Iterable[dict]) -> list[str]:
    """Where the records disagree with what was placed: each call once, and as it was injected."""
    faults, records = [], list(records)
    for one in placed:
        mine = [record for record in records if record["call_id"] == one.call_id]
        if len(mine) != 1:
            faults.append(f"{one.call_id} ({one.call.kind}): {len(mine)} records, not 1")
        else:
            faults += one.differences(mine[0])
    return faults


def place_all(calls: list[tuple[Call, Side, Side]], *, first_slot: int = 0, timeout: float = 60) -> list[Injected]:
    """Place calls (each from the first side to the second) at the same time, on ports of their own."""
    with ThreadPoolExecutor(len(calls)) as pool:
        jobs = [
            pool.submit(place, *one, slot=slot, timeout=timeout) for slot, one in enumerate(calls, first_slot)
        ]  # fmt: skip
    return [job.result() for job in jobs]


def place(call: Call, caller: Side, callee: Side, *, slot: int = 0, timeout: float = 60) -> Injected:
    """Place one call and wait for its end. `slot` chooses the ports: SIP 5060 + slot, media 20000 + 10 * slot.

    Raises RuntimeError with sipp's own words when a side did not go through its scenario, and when it took longer
    than `timeout` seconds.
    """
    scenario, response, hung_up_by, end_reason, media = KINDS[call.kind]
    call_id = f"{call.kind}-{secrets.token_hex(6)}@{caller.address}"
    gone = _gaps(call.packets, call.lost)
    length = call.packets * 20 + 100  # ms; sipp sends the last packet before anybody hangs up

    def words(side: Side, other: Side, role: str, folder: str) -> list[str]:
        return [
            *side.run, "env", "-C", folder, "TERM=dumb",
            "sipp", f"{other.address}:{SIP_PORT + slot}", "-sf", f"{scenario}_{role}.xml",
            "-m", "1", "-i", side.address, "-p", str(SIP_PORT + slot), "-mi", side.address,
            "-mp", str(MEDIA_PORT + 10 * slot), "-d", str(length), "-cid_str", call_id.replace("%", "%%"),
            "-key", "from", call.caller, "-key", "to", call.callee, "-key", "pt", str(CODECS[call.codec]),
            "-key", "transaction", f"z9hG4bK{secrets.token_hex(8)}",
            "-nostdin", "-trace_err", "-timeout", f"{timeout:.0f}", "-timeout_error",
        ]  # fmt: skip

    with contextlib.ExitStack() as stack:
        theirs = stack.enter_context(_folder(callee, scenario, _audio(call.packets, (), call.codec)))
        ours = stack.enter_context(_folder(caller, scenario, _audio(call.packets, gone, call.codec)))
        answering = subprocess.Popen(words(callee, caller, "callee", theirs), stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, text=True)  # fmt: skip
        stack.callback(answering.kill)
        _until(lambda: _listens(callee, SIP_PORT + slot) or answering.poll() is not None, 10)
        calling = subprocess.run(words(caller, callee, "caller", ours), capture_output=True, text=True, check=False)
        said, _ = answering.communicate(timeout=timeout)
        for side, folder, code, words_said in (
            (caller, ours, calling.returncode, calling.stdout + calling.stderr),
            (callee, theirs, answering.returncode, said),
        ):
            if code:
                errors = _run(side, "sh", "-c", f"cat {folder}/*_errors.log").stdout.decode()
                raise RuntimeError(f"{call.kind}: sipp at {side.address} ended with {code}: {errors or words_said}")
    streams = {"caller": (call.packets, call.lost), "callee": (call.packets, 0)} if media else {}
    return Injected(call, call_id, response, hung_up_by, end_reason, streams)


def _gaps(packets: int, lost: int) -> list[int]:
    """Which packets are left out: chosen by chance, never the first or last ten (an edge is no gap)."""
    return random.Random(packets * 1000 + lost).sample(range(10, packets - 10), lost) if lost else []


def _audio(packets: int, gone: Iterable[int], codec: str) -> bytes:
    """A capture file of an RTP stream, G.711 in packets of 20 ms, without the packets in `gone`."""
    silence = b"\xff" if codec == "PCMU" else b"\xd5"
    ssrc, first, skip = secrets.randbits(32), secrets.randbits(16), set(gone)
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    for n in range(packets):
        if n in skip:
            continue
        rtp = struct.pack("!BBHII", 0x80, CODECS[codec], (first + n) & 0xFFFF, n * 160, ssrc) + silence * 160
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(rtp), 0, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\1")
        frame = bytes(12) + b"\x08\0" + ip + struct.pack("!HHHH", 6000, 6000, 8 + len(rtp), 0) + rtp
        out.append(struct.pack("<IIII", n * 20 // 1000, n * 20 % 1000 * 1000, len(frame), len(frame)) + frame)
    return b"".join(out)


@contextlib.contextmanager
def _folder(side: Side, scenario: str, audio: bytes):
    """A folder on that side with the scenarios and the audio, for the time of one call."""
    pack = io.BytesIO()
    with tarfile.open(fileobj=pack, mode="w") as tar:
        for role in ("caller", "callee"):
            tar.add(SCENARIOS / f"{scenario}_{role}.xml", f"{scenario}_{role}.xml")
        entry = tarfile.TarInfo("audio.pcap")
        entry.size = len(audio)
        tar.addfile(entry, io.BytesIO(audio))
    name = f"/tmp/voipfleet-call-{secrets.token_hex(6)}"
    done = _run(side, "sh", "-c", f"mkdir -m 700 {name} && tar -xC {name}", send=pack.getvalue())
    if done.returncode:
        raise RuntimeError(f"{side.address}: {done.stderr.decode()}")
    try:
        yield name
    finally:
        _run(side, "rm", "-rf", name)


def _run(side: Side, *words: str, send: bytes = b"") -> subprocess.CompletedProcess:
    return subprocess.run([*side.run, *words], input=send, capture_output=True, timeout=30, check=False)


def _listens(side: Side, port: int) -> bool:
    table = _run(side, "cat", "/proc/net/udp").stdout.decode()
    return any(line.split()[1].endswith(f":{port:04X}") for line in table.splitlines()[1:])


def _until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
