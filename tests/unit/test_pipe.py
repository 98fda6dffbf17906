import asyncio
import itertools
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from voipfleet import pipe

messages = st.lists(st.tuples(st.integers(1, 5), st.binary(max_size=300)), max_size=8)


async def _read(chunks: list[bytes]) -> list[tuple[int, bytes]]:
    reader = asyncio.StreamReader()
    for chunk in chunks:
        reader.feed_data(chunk)
    reader.feed_eof()
    return [message async for message in pipe.read_messages(reader)]


@given(messages, st.lists(st.integers(0, 3000), max_size=10))
def test_any_chunking_gives_the_same_messages(sent, cuts):
    stream = b"".join(pipe.frame(*message) for message in sent)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert asyncio.run(_read(chunks)) == sent


def test_a_message_cut_off_by_death_is_not_given_out():
    stream = pipe.frame(pipe.RECORD, b"whole") + pipe.frame(pipe.RECORD, b"broken")[:-1]
    assert asyncio.run(_read([stream])) == [(pipe.RECORD, b"whole")]


@pytest.mark.parametrize("length", [0, pipe.MAX_MESSAGE + 1])
def test_a_wrong_length_is_refused(length):
    with pytest.raises(pipe.PipeError):
        asyncio.run(_read([length.to_bytes(4, "big") + b"\x03"]))


def test_nobody_reads_then_records_are_counted_as_dropped_and_never_waited_for():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = pipe.PipeSender(ours, limit_messages=10)
        begin = time.monotonic()
        kept = sum(sender.send(pipe.RECORD, bytes(50_000)) for _ in range(40))
        assert time.monotonic() - begin < 1
        assert 10 <= kept < 40
        assert sender.records_dropped == 40 - kept
        for _ in range(5):
            sender.send(pipe.STATUS, b"s")
        assert sender.waiting <= 12  # the queue, what is half sent, one status
        assert not sender.flush(time.monotonic() + 0.05)


def test_the_other_side_has_gone():
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        sender = pipe.PipeSender(ours)
        sender.send(pipe.READY)
        assert sender.closed


def test_packets_wait_behind_all_else_and_the_oldest_go(monkeypatch):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender, reader = pipe.PipeSender(ours), pipe.PipeReader(theirs)
        monkeypatch.setattr(pipe, "MAX_WAITING", 3_000_000)
        for number in range(20):
            sender.send_packets(bytes([number]) * 500_000, packets=10 + number)
        sender.send(pipe.RECORD, b"record")
        assert sender.packets_dropped > 0
        found = []
        while sender.waiting or not found:
            found += reader.read()
            sender.pump()
        found += reader.read()
        blocks = [body for kind, body in found if kind == pipe.PACKETS]
        numbers = [body[0] for body in blocks]
        assert numbers == sorted(numbers) and numbers[-1] == 19 and all(len(body) == 500_000 for body in blocks)
        assert sender.packets_dropped == sum(10 + number for number in range(20) if number not in numbers)
        assert [body for kind, body in found if kind == pipe.RECORD] == [b"record"]
        assert found[-1][0] == pipe.PACKETS  # the record has overtaken what waited


def test_a_reader_gives_whole_messages_however_they_come():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader, found = pipe.PipeReader(theirs), []
        for part in pipe.frame(pipe.READY) + pipe.frame(pipe.RECORD, b"abc"):
            ours.send(bytes([part]))
            found += reader.read()
        assert found == [(pipe.READY, b""), (pipe.RECORD, b"abc")] and not reader.closed
        ours.close()
        assert reader.read() == [] and reader.closed


def test_a_reader_refuses_what_is_no_message():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(b"\xff\xff\xff\xff\x01")
        with pytest.raises(pipe.PipeError):
            pipe.PipeReader(theirs).read()


def test_checkpoints_wait_behind_all_else_the_newest_of_a_call_and_none_behind_its_record(monkeypatch):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender, reader = pipe.PipeSender(ours), pipe.PipeReader(theirs)
        monkeypatch.setattr(pipe, "MAX_CHECKPOINTS", 4)
        sender.send_packets(bytes(2_000_000), packets=1)  # more than the socket takes
        for call in (b"a", b"b", b"c", b"a", b"d", b"e"):
            sender.checkpoint(call, call + b"%d" % sender.waiting)
        assert sender.checkpoints_dropped == 1
        sender.checkpoint(b"f", b"f", in_order=True)
        sender.send(pipe.RECORD, b"c")
        sender.forget(b"c")
        found = []
        while sender.waiting or len(found) < 6:
            found += [(kind, body[:1]) for kind, body in reader.read()]
            sender.pump()
        assert [body for kind, body in found if kind == pipe.CHECKPOINT] == [b"f", b"a", b"b", b"d"]
        assert [kind for kind, _ in found][:3] == [pipe.PACKETS, pipe.CHECKPOINT, pipe.RECORD]


def test_checkpoints_never_take_the_room_of_records():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = pipe.PipeSender(ours, limit_messages=10)
        for number in range(40):
            sender.checkpoint(b"%d" % number, bytes(50_000), in_order=True)
        assert sender.checkpoints_dropped > 0 and sender.waiting <= 6
        assert all(sender.send(pipe.RECORD, b"r") for _ in range(5))
