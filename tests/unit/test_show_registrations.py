"""Registrations as a table: the newest state of each, harmless."""

import io
import json

from support.scenario import A, B, Play
from voipfleet.show_registrations import print_registrations

CONTACT = "Contact: <sip:al@10.0.0.1:5060>"


def said(play, **how):
    file = io.StringIO()
    print_registrations(play.calls(until=30), file=file, **how)
    return file.getvalue()


def test_the_newest_state():
    play = Play()
    for n, headers in enumerate([(CONTACT, "Expires: 60", "User-Agent: x\x1b[31m"), (CONTACT, "Expires: 0")]):
        play.sip(n, A, B, "REGISTER", f"{n} REGISTER", *headers)
        play.sip(n + 0.1, B, A, "200 OK", f"{n} REGISTER", to="r")
    text = said(play)
    (row,) = text.splitlines()[2:]
    assert "bob@b" in row and "unregistered" in row and "sip:al@10.0.0.1:5060" in row and "60 s" in row
    assert "\x1b" not in text
    assert [json.loads(line)["revision"] for line in said(play, json=True).splitlines()] == [1, 2]


def test_none():
    assert said(Play()) == "No registrations.\n"
