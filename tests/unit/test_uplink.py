"""What a faulty receiver sends ends its connection with a sentence, not the daemon."""

import asyncio
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from voipfleet import records_uplink, uplink
from voipfleet.errors import VoipfleetError
from voipfleet.records.messages import Ack, Welcome


def test_what_is_right():
    welcome = Welcome(b"s", b"c", "hq", b"e" * 16, 7, b"u")
    assert uplink.decoded(uplink._decode_welcome, msgspec.msgpack.encode(welcome), "welcome") == welcome


@given(st.one_of(st.binary(max_size=80), st.just(b"\x96\xc4\x01s\xc4\x01c\xa2\xff\xfe\xc4\x00\x00\xc4\x00")))
def test_what_is_no_message(body):
    for decode, kind in ((uplink._decode_welcome, Welcome), (records_uplink._decode_ack, Ack)):
        try:
            assert isinstance(uplink.decoded(decode, body, "welcome"), kind)
        except VoipfleetError as error:
            assert str(error).startswith("sent a malformed welcome (")


def test_text_that_is_none():
    with pytest.raises(uplink.Malformed):
        uplink.decoded(uplink._decode_welcome, b"\x96\xc4\x01s\xc4\x01c\xa2\xff\xfe\xc4\x00\x00\xc4\x00", "welcome")


async def test_a_connection_that_was_renewed_in_the_moment_of_the_end_is_ended_too():
    """The error that makes room for it takes the place of the cancellation in a group of tasks."""
    link = uplink.Uplink(SimpleNamespace(), None, b"", role=1, hosts=("h",), port=1, hello=None, serve=None)
    aborted = []

    async def served(host, better):
        await asyncio.sleep(0)
        await link.close()
        link._renewed = SimpleNamespace(abort=lambda: aborted.append(host)), b""
        raise uplink.Renewed("h: a new connection")

    link._connect_and_serve = served
    async with asyncio.timeout(2):
        await link._stay("h", ())
    assert aborted == ["h"] and link._renewed is None
