"""The cut into blocks changes nothing: one packet a block, odd sizes, or everything at once give the same records."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from voipfleet.calls import record
from voipfleet.calls.analyser import Analyser
from voipfleet.capture.merge import merge
from voipfleet.capture.pcapfile import read_blocks

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from traffic import write

CORPUS = os.environ.get("VOIPFLEET_CORPUS")


def records(path: Path, size: int) -> list[dict]:
    analyser, calls = Analyser(), []
    for block in read_blocks(str(path), size):
        calls += analyser.feed(block)
    return plain(calls + analyser.finish("end_of_capture"))


def plain(calls) -> list[dict]:
    """The records without what is drawn at random."""
    found = [json.loads(record.to_json(call)) for call in calls]
    for call in found:
        del call["uuid"]
    return sorted(found, key=lambda call: (call["setup_time"], call["call_id"]))


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    """Forty calls, and media that go on after some of them have ended."""
    path = tmp_path_factory.mktemp("traffic") / "a.pcap"
    made = write(path, 40, 2.0, mix=True)
    return path, made


@pytest.mark.parametrize("size", [1, 700, 4096, 65536, 1 << 20])
def test_the_size_of_blocks(capture, size):
    path, made = capture
    found = records(path, size)
    assert found == records(path, 4 << 20)
    assert len(found) == 40
    assert sum(stream["lost"] for call in found for stream in call["streams"]) == made["lost"] > 0


def test_sip_and_rtp_in_two_files_in_either_order(capture, tmp_path):
    path, _ = capture
    raw, at = path.read_bytes(), 24
    parts = {"sip": raw[:24], "rtp": raw[:24]}
    while at < len(raw):
        size = int.from_bytes(raw[at + 8 : at + 12], "little")
        packet = raw[at : at + 16 + size]
        parts["sip" if b"SIP/2.0" in packet else "rtp"] += packet
        at += 16 + size
    for name, content in parts.items():
        (tmp_path / name).write_bytes(content)

    def together(*names: str) -> list[dict]:
        analyser, calls = Analyser(), []
        for block in merge([read_blocks(str(tmp_path / name), 50_000) for name in names]):
            calls += analyser.feed(block)
        return plain(calls + analyser.finish("end_of_capture"))

    assert together("sip", "rtp") == together("rtp", "sip") == records(path, 4 << 20)


@pytest.mark.skipif(not CORPUS, reason="VOIPFLEET_CORPUS is not set")
@pytest.mark.parametrize("size", [1, 3000])
def test_the_size_of_blocks_over_the_edge_cases(size):
    for path in sorted(Path(CORPUS, "edge").glob("*.pcap")):
        assert records(path, size) == records(path, 4 << 20), path.name


def test_from_standard_input_in_pieces_of_any_size(capture):
    """As a pipe delivers them: the records are those of the file."""
    path, _ = capture
    command = [sys.executable, "-m", "voipfleet", "read", "--json", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        said: list[bytes] = []
        reading = threading.Thread(target=lambda: said.append(process.stdout.read()))
        reading.start()
        raw, at, size = path.read_bytes(), 0, 1
        while at < len(raw):
            process.stdin.write(raw[at : at + size])
            process.stdin.flush()
            at, size = at + size, size * 3 % 70_001 + 1
        process.stdin.close()
        reading.join()
    found = [json.loads(line) for line in said[0].splitlines()]
    assert len(found) == 40
    assert [{**call, "uuid": None} for call in found] == [{**call, "uuid": None} for call in records(path, 4 << 20)]
