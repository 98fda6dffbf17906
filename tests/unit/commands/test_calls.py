"""The commands that ask the database: what they print, and where the next page is."""

import json

import pytest
from support.records import EPOCH, NOON, call, row
from voipfleet import config
from voipfleet.central.store import Peer, Store
from voipfleet.central.url import database_url
from voipfleet.cli import main
from voipfleet.records.messages import Batch, Status

PEER = Peer(b"s" * 16, "branch1", "ab12-cd34", "10.0.0.1")


@pytest.fixture
def ask(tmp_path, capsys):
    """Runs a command on a database with calls 0..8; (exit code, output, errors)."""
    path = tmp_path / "voipfleet.conf"
    path.write_text(
        f"[general]\nspooldir = {tmp_path}\nserver_bind = 127.0.0.1\nserver_password = {'p' * 20}\ncleandatabase = 30\n"
    )
    store = Store(database_url(config.load(str(path))))
    store.prepare()
    made = [call(setup_time=NOON + n, call_id=str(n), caller=f"=10{n}", final_response=486 if n % 2 else 200,
                 answer_time=0 if n % 2 else NOON, src="192.0.2.7:5060") for n in range(9)]  # fmt: skip
    store.ingest(PEER, Batch(EPOCH, [row(n, one) for n, one in enumerate(made, 1)]))
    store.seen([(PEER, Status("branch1", 7, "1.0", "sensor", "north", 1, {"calls_active": 2}))])
    store.close()

    def run(*words):
        code = main(
            [words[0], "--config", str(path), *words[1:]] if words[0] != "db" else [*words, "--config", str(path)]
        )
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def ids(text):
    return [json.loads(line)["call_id"] for line in text.splitlines()]


def test_page_after_page(ask):
    code, out, err = ask("calls", "--json", "--limit", "4")
    assert (code, ids(out)) == (0, ["5", "6", "7", "8"]) and err.startswith("more: --after setup_time-desc:")
    code, out, err = ask("calls", "--json", "--limit", "4", "--after", err.split()[-1])
    assert ids(out) == ["1", "2", "3", "4"]
    code, out, err = ask("calls", "--json", "--limit", "4", "--after", err.split()[-1])
    assert (ids(out), err) == (["0"], "")
    assert ids(ask("calls", "--json", "--sort", "setup_time", "--limit", "0")[1]) == list("012345678")


def test_filters_are_those_of_read(ask):
    assert ids(ask("calls", "--json", "--number", "*103")[1]) == ["3"]
    assert ids(ask("calls", "--json", "--response", "4xx", "--address", "192.0.2.0/24")[1]) == ["1", "3", "5", "7"]
    assert ask("calls", "--site", "nowhere")[1] == "No calls.\n"


def test_csv_is_harmless(ask):
    out = ask("calls", "--csv", "--limit", "1")[1].splitlines()
    assert len(out) == 2 and '"\'=108"' in out[1]


def test_what_may_not_be_written(ask, capsys):
    assert ask("calls", "--sort", "size")[0] == 2 and ask("calls", "--after", "x")[0] == 2
    for words in (["--uuid", "12"], ["--limit", "-1"], ["--since", "yesterday"]):
        with pytest.raises(SystemExit):
            ask("calls", *words)


def test_figures(ask):
    code, out, _ = ask("kpi", "--by", "peer", "--json")
    _, first, everything = map(json.loads, out.splitlines())
    assert (code, first["peer"], first["attempts"], first["asr"], first["ner"]) == (0, "192.0.2.7", 9, 55.56, 100.0)
    assert everything["peer"] == "all"
    assert ask("kpi", "--csv")[1].splitlines()[0].startswith('"site","attempts","answered","asr"')
    assert "ASR %" in ask("kpi")[1] and "55.6" in ask("kpi")[1]


def test_sensors(ask):
    (one,) = map(json.loads, ask("sensors", "--json")[1].splitlines())
    assert (one["name"], one["calls"], one["key"], one["up_since"][:4]) == ("branch1", 2, "ab12-cd34", "1970")
    assert "branch1" in ask("sensors")[1] and '"branch1"' in ask("sensors", "--csv")[1]
    assert json.loads(ask("sensors", "--history", "branch1", "--json")[1])["calls"] == 2
    assert ask("sensors", "--history", "other")[2].startswith("other: there is no history of this sensor;")
    assert ask("sensors", "--forget", "branch1")[0] == 0 and ask("sensors", "--json")[1] == ""
    assert ask("sensors", "--forget", "branch1")[2].startswith("branch1: no sensor of this name;")


def test_maintain_on_sqlite(ask):
    code, out, _ = ask("db", "maintain")
    assert code == 0 and "9 rows of calls" in out
    assert ask("calls")[1] == "No calls.\n"
