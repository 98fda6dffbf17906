"""The handshake's messages: sizes, what each end learns, and who is turned away with which word."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.link.handshake import M1, M2, M3, Client, HandshakeError, Hello, Server
from voipfleet.link.keys import Identity
from voipfleet.link.noise import public_key

PSK, OTHER = b"p" * 32, b"q" * 32
HELLO = Hello(b"u" * 16, "branch 1/ü", b"e" * 16, 42, b"b" * 16)


def identity():
    private = os.urandom(32)
    return Identity(private, public_key(private))


SERVER, CLIENT = identity(), identity()


def run(*, psk=PSK, psks=(PSK,), pins=(SERVER.public,), client=CLIENT, servers=(SERVER,), change=None):
    """A whole handshake; `change(number, message)` may alter what travels."""
    one, two = Client(client, psk, 1, pins), Server(servers)
    change = change or (lambda number, message: message)
    first = one.first()
    assert len(first) == M1
    two.first(change(1, first))
    second = two.second(1_000_000)
    assert len(second) == M2
    one.second(change(2, second))
    third = one.third(HELLO, 2_000_000)
    assert len(third) == M3
    return one, two, two.third(change(3, third), psks)


def refused(**more):
    with pytest.raises(HandshakeError) as error:
        run(**more)
    return error.value.word


def test_both_ends_agree_and_know_each_other():
    one, two, hello = run()
    assert (one.keys.send, one.keys.receive, one.keys.hash) == (two.keys.receive, two.keys.send, two.keys.hash)
    assert (two.client_key, one.server_key, two.knocked, two.slot) == (CLIENT.public, SERVER.public, True, 0)
    assert (hello.name, hello.next_seq, hello.sensor_uuid, hello.client_time) == (
        "branch-1--",
        42,
        b"u" * 16,
        2_000_000,
    )
    assert one.server_time == 1_000_000


def test_a_rotation_of_passwords_and_of_server_keys():
    _, two, _ = run(psks=(OTHER, PSK))
    assert two.slot == 1
    new = identity()
    one, two, _ = run(servers=(new, SERVER), pins=(SERVER.public,))
    assert one.server_key == SERVER.public


def test_without_a_pin_the_key_is_learnt():
    one, two, _ = run(pins=())
    assert (one.server_key, two.knocked) == (SERVER.public, False)


def test_who_is_turned_away():
    assert refused(psk=OTHER) == "password"
    assert refused(psks=()) == "password"
    assert refused(pins=(identity().public,)) == "wrong_server"
    assert refused(client=SERVER) == "self"
    assert refused(change=lambda n, m: b"GET / HTTP/1.1\r\n".ljust(M1) if n == 1 else m) == "magic"
    assert refused(change=lambda n, m: m[:6] + b"\2\3" + m[8:] if n == 1 else m) == "version"


def test_no_third_message_for_a_server_with_another_key():
    sent = []
    refused(pins=(identity().public,), change=lambda n, m: sent.append(n) or m)
    assert sent == [1, 2]


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 3), st.integers(0, 255), st.integers(1, 255))
def test_any_changed_byte_is_refused(which, at, flip):
    def change(number, message):
        if number != which:
            return message
        where = at % len(message)
        return message[:where] + bytes([message[where] ^ flip]) + message[where + 1 :]

    assert refused(change=change)
