"""A thousand generated calls of every kind: every record says exactly what was put on the wire."""

import dataclasses
import json
import random
import struct
from collections import Counter

import numpy as np
import pytest
from support import generated, wire
from voipfleet.calls import record
from voipfleet.calls.analyser import Analyser, AnalyserSettings
from voipfleet.capture.block import Block

CALLS = 1000


def blocks(data, most: int):
    for begin in range(0, len(data), most):
        part = data[begin : begin + most]
        sizes = np.array([len(frame) for _, frame in part])
        yield Block(data=np.frombuffer(b"".join(frame for _, frame in part), np.uint8),
                    ts=np.array([at for at, _ in part]), offset=np.cumsum(sizes) - sizes, caplen=sizes,
                    wirelen=sizes)  # fmt: skip


def analyse(data, most: int = 4000):
    analyser, calls = Analyser(AnalyserSettings(dtmf2db=True)), []
    for block in blocks(data, most):
        calls += analyser.feed(block)
    calls += analyser.tick(data[-1][0] + 30 * 1_000_000_000)  # an INVITE without answer is given up
    return calls + analyser.finish(), analyser.counters


def facts(call) -> dict:
    """Of a record or of a truth, what the truth speaks of."""
    said = {f.name: getattr(call, f.name) for f in dataclasses.fields(generated.Call)}
    names = [f.name for f in dataclasses.fields(generated.Stream)]
    streams = sorted(call.streams, key=lambda stream: stream.ssrc)
    return said | {"streams": [{name: getattr(stream, name) for name in names} for stream in streams]}


@pytest.fixture(scope="module")
def thousand():
    data, truth = generated.make(CALLS)
    found, counters = analyse(data)
    return data, truth, {call.call_id: call for call in found}, found, counters


def test_every_call_has_one_record(thousand):
    _, truth, by, found, _ = thousand
    assert len(found) == len(by) == CALLS
    assert by.keys() == {call.call_id for call in truth}


@pytest.mark.parametrize("kind", sorted(set(generated.KINDS)))
def test_every_record_is_exact(thousand, kind):
    _, truth, by, *_ = thousand
    mine = [call for number, call in enumerate(truth) if generated.KINDS[number % len(generated.KINDS)] == kind]
    assert mine
    wrong = {}
    for call in mine:
        said, true = facts(by[call.call_id]), facts(call)
        if said != true:
            wrong[call.call_id] = {key: (said[key], true[key]) for key in true if said[key] != true[key]}
    assert not wrong, f"{len(wrong)} of {len(mine)} wrong (said, true): {dict(list(wrong.items())[:2])}"


def test_the_traffic_has_every_fault(thousand):
    """Otherwise the test above would show nothing."""
    _, truth, *_ = thousand
    total = Counter()
    for stream in (stream for call in truth for stream in call.streams):
        for name in ("lost", "duplicates", "reordered", "discarded", "received"):
            total[name] += getattr(stream, name)
        total["long"] += stream.loss_bursts[9]
        total[stream.codec] += 1
    assert all(total[codec[0]] > 50 for codec in generated.CODECS)
    assert total["lost"] > 1000 and total["long"] > 50 and total["duplicates"] > 500
    assert total["reordered"] > 500 and total["discarded"] > 200 and total["received"] > 100_000


def test_nothing_is_uncounted(thousand):
    data, truth, *_, count = thousand
    assert count["packets"] == len(data) and count["ignored"] == count["other"] == 0
    assert count["packets"] + count["made"] == count["held"] + count["sip"] + count["rtp"]
    assert count["calls"] == CALLS and count["span_duplicates"] > 10_000
    assert not {name for name in count if "error" in name and count[name]}
    assert {call.transport for call in truth} == {"udp", "tcp"}


@pytest.mark.parametrize("size", [1, 3, 100])
def test_copies_of_a_mirror_port_that_interleave(size):
    """Two packets that left a queue together, then both again 0.1 ms later from the other port."""
    data = []
    path = wire.Wire(0, random.Random(1), data)
    numbers = [0, 1, 2, 3, 2, 3, 4]
    for at, seq in enumerate(numbers):
        path.ident = seq
        path.datagram(
            at * 50_000, "10.1.0.1", "10.2.0.1", 20_000, 20_002, struct.pack("!BBHII", 0x80, 0, seq, 160 * seq, 7)
        )
    analyser = Analyser()
    for block in blocks(data, size):
        analyser.feed(block)
    assert analyser.counters.get("span_duplicates") == 2


def test_times_in_json_have_their_microseconds(thousand):
    _, truth, by, *_ = thousand
    answered = next(call for call in truth if call.answer_time)
    row = json.loads(record.to_json(by[answered.call_id]))
    assert row["answer_time"].endswith(f".{answered.answer_time // 1000 % 1_000_000:06d}Z")
    assert row["connect_duration"] == round((answered.end_time - answered.answer_time) / 1e9, 6)
