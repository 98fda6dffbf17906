"""What callers write into SIP is harmless wherever it comes out: one test an outlet, the whole way from the wire."""

import csv
import io
import json
import logging
import struct

import pytest
import sqlalchemy as sa
from support.nasty import ACTIVE, TEXTS, play
from support.records import EPOCH, count, row
from voipfleet.calls import record
from voipfleet.calls.record import CallRecord
from voipfleet.central import schema
from voipfleet.central.conditions import Query
from voipfleet.central.search import Order
from voipfleet.central.store import Peer, Store
from voipfleet.cli import main
from voipfleet.csvout import write_csv
from voipfleet.filters import Filter, Number, Pattern
from voipfleet.records.messages import Batch
from voipfleet.show import print_calls
from voipfleet.show_call import print_call

PEER = Peer(sensor_uuid=b"s" * 16, name="branch1", key="ab", address="127.0.0.1")
HEAD = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)


def shown(text: str) -> str:
    """As a record has it: what cannot be printed as \\xNN, at most 255 bytes."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


@pytest.fixture(scope="module")
def calls():
    """One record a text."""
    found = []
    for number, text in enumerate(TEXTS):
        (made,) = play(text, f"{number}-").calls()
        found.append(made)
    return found


def all_of(calls, sink) -> str:
    file = io.StringIO()
    sink(calls, file)
    return file.getvalue()


def test_every_text_is_in_a_record_and_no_character_that_acts(calls):
    for text, call in zip(TEXTS, calls, strict=True):
        agent, ident = call.user_agent_caller, call.call_id.partition("-")[2]
        assert agent[:60] == shown(text.strip(" \t"))[:60] and ident[:60] == shown(text)[:60]
        assert not ACTIVE.search(record.to_json(call)), text


def test_a_terminal_shows_and_does_nothing(calls):
    assert not ACTIVE.search(all_of(calls, lambda found, file: print_calls(found, file=file)))
    for call in calls:
        said = all_of([call], lambda found, file: print_call(found[0], [], file=file))
        assert said and not ACTIVE.search(said), call.call_id
    assert "[bold]x[/bold]" in all_of(calls, lambda found, file: print_calls(found, file=file))


def test_no_cell_of_a_table_is_a_formula(calls):
    said = all_of(calls, write_csv)
    rows = list(csv.reader(io.StringIO(said)))
    assert len(rows) == 1 + len(calls) and len({len(cells) for cells in rows}) == 1 and not ACTIVE.search(said)
    texts = [cell for cells in rows for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    assert not texts, texts


def test_json_says_what_a_sensor_sent_without_acting():
    sent = "\x7f\x9b31m\u202e\U000e0041\n\u00e9"
    line = record.to_json(CallRecord(uuid=bytes(16), call_id=sent, setup_time=1, caller="\\"))
    assert not ACTIVE.search(line) and "\n" not in line and json.loads(line)["call_id"] == sent


def test_json_is_one_object_a_line(calls):
    lines = all_of(calls, lambda found, file: print_calls(found, json=True, file=file)).splitlines()
    assert [json.loads(line)["user_agent_caller"] for line in lines] == [call.user_agent_caller for call in calls]


def test_rows_are_literal(calls, tmp_path):
    """In SQLite; with MariaDB it is tests/integration/test_mariadb_store.py and the fault row of strings."""
    store = Store(sa.make_url(f"sqlite:///{tmp_path}/calls.db"))
    store.prepare()
    store.ingest(PEER, Batch(EPOCH, [row(number, call) for number, call in enumerate(calls, 1)]))
    assert (count(store, schema.calls), count(store, schema.quarantine)) == (len(calls), 0)
    known = {call.call_id: call.user_agent_caller for call in calls}
    assert {call.call_id: call.user_agent_caller for call in store.calls(limit=0)} == known
    for call in calls:
        assert call.call_id in {found.call_id for found in store.search(Query(call_id=call.call_id), Order()).calls}
        number = Number((Pattern(("", call.caller.casefold(), "")),))
        assert store.search(Query(Filter(number=number)), Order()).calls or not call.caller
    store.close()
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["calls.db"]


@pytest.mark.parametrize("words", [[], ["--call", "1"], ["--csv"], ["--json"], ["--registrations"]])
def test_the_command_from_a_capture(words, tmp_path, capsys, caplog, monkeypatch):
    """No file is made, nothing acts, nothing of a call is logged."""
    packets = (packet for number, text in enumerate(TEXTS) for packet in play(text, f"{number}-").packets)
    (tmp_path / "a.pcap").write_bytes(HEAD + b"".join(
        struct.pack("<4I", ts // 10**9, ts % 10**9, len(data), len(data)) + data for ts, data in packets))  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.DEBUG):
        assert main(["read", "a.pcap", *words]) == 0
    out, err = capsys.readouterr()
    assert out and not ACTIVE.search(out + err) and not ACTIVE.search(caplog.text)
    assert not any(text in caplog.text for text in TEXTS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pcap"]
