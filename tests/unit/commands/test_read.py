"""`voipfleet read`: what is printed of a capture, by every option."""

import csv
import gzip
import io
import json
import pathlib
import struct

import pytest
from support.scenario import A, B, Play
from voipfleet.capture.pcapfile import read_blocks as blocks
from voipfleet.cli import main

CONTACT = "Contact: <sip:al@10.0.0.1:5060>"


@pytest.fixture
def capture(tmp_path):
    play = Play("first@x")
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), 50, ssrc=1, lost=(10, 11))
    play.rtp(0.3, (B, 5000), (A, 4000), 50, ssrc=2)
    play.bye(3)
    play.sip(5, A, B, "INVITE", "1 INVITE", call="second@x", branch="i")
    play.sip(5.5, A, B, "INVITE", "1 INVITE", call="second@x", branch="i")
    play.sip(6, B, A, "486 Busy Here", "1 INVITE", call="second@x", to="c")
    play.sip(7, A, B, "REGISTER", "1 REGISTER", CONTACT, call="r")
    play.sip(7.1, B, A, "200 OK", "1 REGISTER", call="r", to="t")
    play.raw(8, b"\x60" + bytes(60))
    path = tmp_path / "a.pcap"
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)
    packets = (struct.pack("<4I", ts // 10**9, ts % 10**9, len(data), len(data)) + data for ts, data in play.packets)
    path.write_bytes(head + b"".join(packets))
    return str(path)


def read(capsys, *words):
    code = main(["read", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_table_and_what_was_of_no_use(capture, capsys):
    code, out, err = read(capsys, capture)
    assert code == 0 and len(out.splitlines()) == 5 and "alice" in out
    assert err == "110 packets (11 SIP, 98 RTP); ignored: 1 short; 2 calls\n"


def test_json_and_csv(capture, capsys):
    calls = [json.loads(line) for line in read(capsys, capture, "--json")[1].splitlines()]
    assert [call["call_id"] for call in calls] == ["first@x", "second@x"]
    rows = list(csv.DictReader(io.StringIO(read(capsys, capture, "--csv")[1])))
    assert [(row["call_id"], row["final_response"], row["caller_lost"]) for row in rows] == [
        ("first@x", "200", "2"), ("second@x", "486", "")]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--response", "4xx"], ["second@x"]), (["--number", "*lic*"], ["first@x", "second@x"]),
        (["--number", "alic"], ["first@x", "second@x"]), (["--number", "lic"], []), (["--number", "99"], []),
        (["--mos-below", "4.3"], ["first@x"]), (["--address", "10.0.0.0/30"], ["first@x", "second@x"]),
        (["--since", "2023-11-14T22:13:22Z"], ["second@x"]), (["--until", "2023-11-14T22:13:22Z"], ["first@x"]),
        (["--one-way"], []),
    ],
)  # fmt: skip
def test_filters(capture, capsys, words, found):
    code, out, err = read(capsys, capture, "--json", *words)
    assert (code, [json.loads(line)["call_id"] for line in out.splitlines()]) == (0, found)
    assert err.endswith(f"; {len(found)} of 2 calls\n")


def test_one_call_in_full(capture, capsys):
    for name in ("first", "first@x", "1"):
        code, out, _ = read(capsys, capture, "--call", name)
        assert code == 0
        for text in ("alice called bob: the caller hung up (BYE)", "Call-ID        first@x", "hung up by     caller",
                     "lost           2 (4.00 %)", "loss bursts    2 ×1", "INVITE (1)  SDP 10.0.0.1:4000", "180 Ringing",
                     "200 OK (2 BYE)", "RTP PCMU 48 packets, 2 lost",
                     "2 of 50 packets lost (4.0 %), up to 2"):  # fmt: skip
            assert text in out, text
    again = read(capsys, capture, "--call", "second@x")[1]
    assert "INVITE (1) again" in again and "486 Busy Here (1 INVITE)" in again and "refused with 486 Busy Here" in again


def test_which_call_is_meant(capture, capsys):
    code, out, err = read(capsys, capture, "--call", "")
    assert code == 2 and out.splitlines() == ["     1  alice -> bob  first@x", "     2  alice -> bob  second@x"]
    assert err.startswith("--call : 2 calls fit; give more of the Call-ID, or the number before it")
    code, out, err = read(capsys, capture, "--call", "3")
    assert read(capsys, capture, "--call", "1", "--response", "486")[2].startswith(
        "--call 1: no such call with these filt"
    )
    assert (code, out) == (1, "") and err.startswith("--call 3: no such call; run it without --call, and give a number")


def test_registrations(capture, capsys):
    out = read(capsys, capture, "--registrations")[1]
    assert "registered" in out and "sip:al@10.0.0.1:5060" in out
    (line,) = read(capsys, capture, "--registrations", "--json")[1].splitlines()
    assert json.loads(line)["method"] == "REGISTER"
    (row,) = csv.DictReader(io.StringIO(read(capsys, capture, "--registrations", "--csv")[1]))
    assert (row["method"], row["end_reason"]) == ("REGISTER", "registered")
    assert read(capsys, capture, "--registrations", "--call", "1")[::2] == (
        2, "--call: it shows a call, and --registrations none; leave one of them out\n")  # fmt: skip


WRONG = (["--response", "99"], ["--address", "here"], ["--since", "soon"], ["--mos-below", "9"], ["--json", "--csv"])


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_value_is_a_wrong_command_line(capture, capsys, words):
    with pytest.raises(SystemExit) as error:
        main(["read", capture, *words])
    assert error.value.code == 2 and capsys.readouterr().err


def test_a_damaged_file_gives_what_it_holds_and_a_bad_end(capture, capsys, tmp_path):
    octets = pathlib.Path(capture).read_bytes()
    damaged = tmp_path / "damaged.pcap"
    damaged.write_bytes(octets + struct.pack("<4I", 0, 0, 1 << 30, 1 << 30))
    code, out, err = read(capsys, str(damaged), "--json")
    assert code == 1 and len(out.splitlines()) == 2
    assert err.endswith(f"2 calls\n{damaged}: a packet of 1073741824 bytes; the file is damaged, write it again\n")
    damaged.write_bytes(b"nonsense")
    code, out, err = read(capsys, capture, str(damaged))
    assert (code, out) == (1, "") and err.startswith(f"{damaged}: not a capture file")


def test_compressed_and_cut_short(capture, capsys, tmp_path):
    packed = tmp_path / "a.pcap.gz"
    packed.write_bytes(gzip.compress(pathlib.Path(capture).read_bytes())[:-9])
    code, out, err = read(capsys, str(packed), "--json")
    assert code == 0 and out and f"{packed}: the file is truncated; read what it holds" in err


def test_ctrl_c_ends_the_capture_and_not_the_work(capture, capsys, monkeypatch):
    def stopped(path, **how):
        yield from blocks(path, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr("voipfleet.commands.read.read_blocks", stopped)
    code, out, err = read(capsys, capture, "--json")
    assert code == 130 and len(out.splitlines()) == 2 and err.endswith("2 calls\n")


def test_standard_input_only_once(capture, capsys):
    assert read(capsys, "-", "-")[::2] == (2, "-: standard input can be read once; name it once\n")


def test_a_number_of_the_table_is_the_same_whatever_is_filtered(capture, capsys):
    out = read(capsys, capture, "--response", "486")[1]
    assert out.splitlines()[0].split()[0] == "#" and out.splitlines()[2].split()[0] == "2"
    assert "Call-ID        second@x" in read(capsys, capture, "--call", "2")[1]


def test_sip_on_other_ports_is_told(capture, capsys):
    code, out, err = read(capsys, capture, "--sipport", "5070")
    assert (code, out) == (0, "No calls.\n")
    assert err.endswith("0 calls\n--sipport: there is SIP, but not on its ports; give --sipport 5060\n")
    assert "--sipport:" not in read(capsys, capture, "--response", "6xx")[2]
