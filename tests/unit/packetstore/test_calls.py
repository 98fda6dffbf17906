"""The index of calls: by uuid, Call-ID and number; after a kill, with a damaged file, on a full disk."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from support import pools
from support.pools import START, Row
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.packetstore import calls
from voipfleet.packetstore.calls import AFTER_NS, BEFORE_NS, CallIndex, oldest_packet, span

SECOND = 1_000_000_000


def call(number: int, **values) -> CallRecord:
    usual = {"uuid": number.to_bytes(16, "big"), "call_id": f"{number}@x", "caller": "100", "callee": f"2{number}",
             "setup_time": START + number * SECOND, "sensor": "s"}  # fmt: skip
    return CallRecord(**usual | values)


@pytest.fixture
def index(tmp_path):
    made = CallIndex(tmp_path)
    yield made
    made.close()


def test_a_call_is_found_by_its_names(index):
    index.put(call(1))
    index.put(call(2, callee="100", call_id="1@x"))
    known = index.find(call(1).uuid)
    assert known.record == call(1) and known.keys and (known.first, known.last) == span(call(1))
    assert index.find(bytes(16)) is None
    assert [found.record.uuid for found in index.by_call_id("1@x")] == [call(2).uuid, call(1).uuid]
    assert {found.record.uuid for found in index.by_number("100")} == {call(1).uuid, call(2).uuid}
    assert [found.record.uuid for found in index.by_number("21")] == [call(1).uuid]
    assert index.by_number("2") == [] == index.by_number("%")
    index.remove(call(1).uuid)
    assert index.find(call(1).uuid) is None and len(index.by_number("100")) == 1


def test_nothing_of_a_call_that_was_removed_is_in_the_files(index, tmp_path):
    index.put(call(1, call_id="to-be-forgotten@x", caller="4915112345"))
    index.put(call(2, call_id="stays@x"))
    index.flush()
    index.put(call(1, call_id="to-be-forgotten@x", caller="4915112345", revision=2))
    index.flush()
    index.remove(call(1).uuid)
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"stays@x" in left
    assert b"to-be-forgotten" not in left and b"4915112345" not in left


def test_the_last_revision_counts(index):
    index.put(call(1, revision=2, end_time=START + 90 * SECOND))
    index.put(call(1, revision=1))
    index.put(call(2))
    index.put(call(2, end_time=START + 5 * SECOND))  # as it is while it is up
    assert index.find(call(1).uuid).record.revision == 2
    assert index.find(call(2).uuid).record.end_time


def test_when_there_may_be_packets():
    stream = StreamRecord(
        direction="caller", src="a:1", dst="b:1", ssrc=1, first=START - SECOND, last=START + 9 * SECOND
    )
    found = span(call(0, end_time=START + 5 * SECOND, streams=[stream]))
    assert found == (START - SECOND - BEFORE_NS, START + 9 * SECOND + AFTER_NS)
    assert span(call(0, setup_time=0)) == (0, AFTER_NS)


def test_a_registration_that_is_up_goes_on(index):
    """Its refreshes make no record: they are found by the one of its beginning, as long as there is no other."""
    up = call(1, method="REGISTER", end_reason="registered", answer_time=START + SECOND)
    assert span(up)[1] - START > 300 * 24 * 3600 * SECOND and span(up)[0] == span(call(1))[0]
    ended = call(1, method="REGISTER", end_reason="expired", revision=2, end_time=START + 9 * SECOND)
    assert span(ended) == span(call(1, end_time=ended.end_time))
    assert span(call(1, end_reason="registered")) == span(call(1))
    index.put(up)
    assert index.purge(START + 300 * 24 * 3600 * SECOND) == 0 and index.find(up.uuid).last == span(up)[1]
    assert index.purge(START + 401 * 24 * 3600 * SECOND) == 1 and index.find(up.uuid) is None
    index.put(up)
    index.put(ended)
    assert index.purge(START + 100 * SECOND) == 1


def test_what_a_disk_refuses_to_forget_is_told(index, tmp_path, monkeypatch):
    index.put(call(1))
    assert index.find(call(1).uuid) and not index.fault

    def refused(*_) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(index, "_opened", refused)
        index._db.close()
        index._db = None
        assert index.remove(call(1).uuid) is False and index.fault == "disk I/O error"
    assert index.remove(call(1).uuid) is True and index.find(call(1).uuid) is None and not index.fault
    index.put(call(2))
    index.flush()
    with sqlite3.connect(tmp_path / "calls.db") as other:  # what it reads cannot leave the files meanwhile
        other.execute("BEGIN")
        other.execute("SELECT * FROM calls").fetchone()
        assert index.remove(call(2).uuid) is False
    other.close()
    assert index.remove(call(2).uuid) is True


def test_damaged_files_are_forgotten(index, tmp_path):
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"calls.db.corrupt{suffix}").write_bytes(b"4915112345")
    index.put(call(1))
    index.flush()
    index.forget_damaged()
    assert not list(tmp_path.glob("*corrupt*")) and index.find(call(1).uuid)
    index.forget_damaged()


def test_strings_that_are_none(index):
    index.put(call(1, call_id="a\udcffb"))
    odd = call(2, caller="\x00'; DROP TABLE calls; --", setup_time=1 << 63)
    index.put(odd)
    index.put(call(3))
    assert [found.record for found in index.by_number(odd.caller)] == [odd]
    assert index.find(call(3).uuid) and index.by_call_id("a\udcffb") == [] and index.dropped == 1


def test_calls_without_packets_are_forgotten_and_held_ones_are_not(index, tmp_path):
    for number in range(1200):
        index.put(call(number, end_time=START + number * SECOND))
    before = START + 1000 * SECOND + AFTER_NS
    assert index.purge(before, held=lambda uuid: uuid == call(7).uuid) == 999
    assert index.find(call(7).uuid) and not index.find(call(8).uuid) and index.find(call(1000).uuid)
    now = START + 10**16
    assert oldest_packet(tmp_path, now) == now - calls.EMPTY_NS
    pools.fill(tmp_path, "sip", [Row(2, START, b"x")])
    assert START - 3600 * SECOND < oldest_packet(tmp_path, now) <= START
    assert oldest_packet(tmp_path, START) == START - calls.EMPTY_NS


def test_it_commits_by_itself(index, tmp_path):
    index.put(call(1, setup_time=time.time_ns()))
    end = time.monotonic() + 5
    while True:
        with sqlite3.connect(tmp_path / "calls.db") as db:
            if (
                db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'calls'").fetchone()[0]
                and (db.execute("SELECT count(*) FROM calls").fetchone()[0])
            ):
                break
        assert time.monotonic() < end
        time.sleep(0.05)
    assert oct((tmp_path / "calls.db").stat().st_mode)[-3:] == "600"


@pytest.mark.parametrize("damage", ["text", "pages", "schema", "empty"])
def test_a_damaged_file_is_put_aside(tmp_path, caplog, damage):
    first = CallIndex(tmp_path)
    for number in range(300):
        first.put(call(number))
    first.close()
    path = tmp_path / "calls.db"
    data = path.read_bytes()
    if damage == "schema":
        path.unlink()
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE calls (uuid BLOB PRIMARY KEY)")
    else:
        path.write_bytes({"text": b"no database" * 500, "pages": data[:4096] + b"\xff" * (len(data) - 4096),
                          "empty": b""}[damage])  # fmt: skip
    again = CallIndex(tmp_path)
    again.put(call(1000))
    found = again.find(call(1000).uuid) or (again.put(call(1000)), again.find(call(1000).uuid))[1]
    assert found.record == call(1000)
    again.close()
    assert (damage == "empty") != (tmp_path / "calls.db.corrupt").exists()
    assert damage == "empty" or "put aside" in caplog.text or "a new one is begun" in caplog.text


def test_while_the_disk_refuses_calls_wait_and_the_oldest_go(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(calls, "MAX_PENDING", 5)
    index = CallIndex(tmp_path / "file" / "pool")
    (tmp_path / "file").write_bytes(b"in the way")
    for number in range(7):
        index.put(call(number))
    index.flush()
    index.flush()
    assert index.dropped == 2 and index.find(call(6).uuid) is None
    assert caplog.text.count("cannot be used") == 1
    (tmp_path / "file").unlink()
    assert index.find(call(6).uuid) and index.find(call(2).uuid) and not index.find(call(1).uuid)
    assert "written down again" in caplog.text
    index.close()


KILLED = """
import sys
from voipfleet.calls.record import CallRecord
from voipfleet.packetstore.calls import CallIndex
index, number = CallIndex(__import__("pathlib").Path(sys.argv[1])), 0
while True:
    index.put(CallRecord(uuid=number.to_bytes(16, "big"), call_id="x", setup_time=1 << 60))
    number += 1
    if number % 100 == 0:
        index.flush()
        print(number, flush=True)
"""


def test_a_kill_costs_no_more_than_what_was_not_committed(tmp_path):
    for delay in (0.2, 0.5):
        process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        committed = [*process.stdout, b"100"][-2 if delay else -1]
        process.wait()
        process.stdout.close()
        index = CallIndex(tmp_path)
        assert index.find((int(committed) - 1).to_bytes(16, "big"))
        index.close()
