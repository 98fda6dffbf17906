"""Keys: the same for whoever makes them, different for what is different."""

from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.packetstore.keys import MAX_KEYS, STREAM, call_key, keys_of, report_key, stream_key


def stream(src: str, dst: str, ssrc: int, sensor: str = "") -> StreamRecord:
    return StreamRecord(direction="caller", src=src, dst=dst, ssrc=ssrc, sensor=sensor)


def call(**values) -> CallRecord:
    return CallRecord(**{"uuid": bytes(16), "call_id": "a@b", "setup_time": 1, "sensor": "s1"} | values)


def test_what_they_are_does_not_change_for_stores_outlive_releases():
    assert call_key(b"a@b") == 0xF6046DD15FF656FE
    assert stream_key("s1", "1.2.3.4:5000", "[::1]:5002", 7) == 0x88AF073F92890B3F
    assert report_key("s1", "1.2.3.4", "5.6.7.8", 7) == 0x9199E137060169A2


def test_the_lowest_bit_says_whether_it_is_a_stream():
    assert {key & 1 for n in range(50) for key in (call_key(b"%d" % n), report_key("s", "a", "b", n))} == {0}
    assert {stream_key("s", f"a:{n}", "b:2", n) & 1 for n in range(50)} == {STREAM}


def test_reports_of_both_ways_have_one_key_and_streams_have_two():
    assert report_key("s", "a", "b", 1) == report_key("s", "b", "a", 1) != report_key("t", "a", "b", 1)
    assert stream_key("s", "a:1", "b:2", 3) != stream_key("s", "b:2", "a:1", 3)


def test_everything_of_a_call():
    there, back = stream("1.1.1.1:4000", "2.2.2.2:5000", 1), stream("2.2.2.2:5000", "1.1.1.1:4000", 2)
    elsewhere = stream("1.1.1.1:4000", "2.2.2.2:5000", 1, sensor="s2")
    found = keys_of(call(streams=[there, back, elsewhere]))
    assert len(found) == len(set(found)) == 1 + 3 + 3
    streams = [
        stream_key(name, one.src, one.dst, one.ssrc) for name, one in (("s1", there), ("s1", back), ("s2", there))
    ]
    assert found[:4] == [call_key(b"a@b"), *streams]
    reports = [("s1", 1), ("s1", 2), ("s2", 1)]
    assert found[4:] == [report_key(name, "1.1.1.1", "2.2.2.2", ssrc) for name, ssrc in reports]


def test_a_call_without_a_call_id_and_one_with_too_many_streams():
    assert keys_of(call(call_id="", method="RTP")) == []
    many = keys_of(call(streams=[stream(f"1.1.1.1:{n}", "2.2.2.2:5000", n) for n in range(600)]))
    assert len(many) == MAX_KEYS and many[1:] == [stream_key("s1", f"1.1.1.1:{n}", "2.2.2.2:5000", n)
                                                  for n in range(MAX_KEYS - 1)]  # fmt: skip


def test_text_that_is_none():
    assert keys_of(call(call_id="\udcff", streams=[stream("unknown", "", 1)]))
