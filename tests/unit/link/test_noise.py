"""The handshake's core against another implementation, in both roles, and against changed bytes."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection
from voipfleet.link.noise import NAME, Handshake, NoiseError, public_key

PROLOGUE = b"what both saw before"


def ours(initiator, psk, static=None):
    return Handshake(initiator=initiator, static=static or os.urandom(32), prologue=PROLOGUE, psk=psk)


def theirs(initiator, psk, static):
    peer = NoiseConnection.from_name(NAME)
    (peer.set_as_initiator if initiator else peer.set_as_responder)()
    peer.set_psks(psk)
    peer.set_prologue(PROLOGUE)
    peer.set_keypair_from_private_bytes(Keypair.STATIC, static)
    peer.start_handshake()
    return peer


def test_interoperates_as_initiator():
    psk, static, other = os.urandom(32), os.urandom(32), os.urandom(32)
    we, they = ours(True, psk, static), theirs(False, psk, other)
    assert bytes(they.read_message(we.write(b"one"))) == b"one"
    assert we.read(bytes(they.write_message(b"two"))) == b"two"
    assert we.remote_static == public_key(other)
    assert bytes(they.read_message(we.write(b"three"))) == b"three"
    assert they.get_handshake_hash() == we.hash
    send, receive = we.split()
    sealed = bytes(they.encrypt(b"transport"))
    from nacl.bindings import crypto_aead_chacha20poly1305_ietf_decrypt as decrypt

    assert decrypt(sealed, b"", bytes(12), receive) == b"transport"
    assert send != receive


def test_interoperates_as_responder_with_several_passwords():
    psk, static, other = os.urandom(32), os.urandom(32), os.urandom(32)
    we, they = ours(False, None, static), theirs(True, psk, other)
    assert we.read(bytes(they.write_message(b"one"))) == b"one"
    assert bytes(they.read_message(we.write(b"two"))) == b"two"
    key, sealed = we.read_static(bytes(they.write_message(b"three")))
    assert key == public_key(other)
    with pytest.raises(NoiseError):
        we.copy().finish(sealed, os.urandom(32))
    assert we.copy().finish(sealed, psk) == b"three"


def test_messages_have_the_sizes_of_the_format():
    psk = os.urandom(32)
    client, server = ours(True, psk), ours(False, psk)
    first = client.write()
    server.read(first)
    second = server.write(bytes(32))
    client.read(second)
    assert (len(first), len(second), len(client.write(bytes(192)))) == (48, 128, 256)


def test_both_ends_have_the_same_keys_and_hash():
    psk = os.urandom(32)
    client, server = ours(True, psk), ours(False, psk)
    server.read(client.write())
    client.read(server.write())
    server.read(client.write())
    assert client.hash == server.hash
    assert client.split() == server.split()


def test_a_key_of_small_order_is_refused():
    server = ours(False, os.urandom(32))
    client = ours(True, os.urandom(32))
    message = bytearray(client.write())
    message[:32] = bytes(32)
    with pytest.raises(NoiseError):
        server.read(bytes(message))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2), st.integers(0, 10_000), st.integers(1, 255), st.booleans())
def test_a_changed_or_cut_message_is_refused(which, at, flip, cut):
    psk = os.urandom(32)
    ends = [ours(True, psk), ours(False, psk)]
    for number in range(3):
        sender, receiver = ends[number % 2], ends[1 - number % 2]
        message = sender.write(b"payload")
        if number == which:
            at %= len(message)
            bad = message[:at] if cut else message[:at] + bytes([message[at] ^ flip]) + message[at + 1 :]
            # X25519 ignores the top bit of a public key, but the hash does not: the tag fails all the same.
            with pytest.raises(NoiseError):
                receiver.read(bad)
            return
        receiver.read(message)
