"""Streams and the calls that they belong to: clocks, copies, ports used again, what is no audio, bounded memory."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.packets import block_of, ip, udp
from support.scenario import A, B, C, Play, sdp
from voipfleet.calls import media, signalling, stream_scalar
from voipfleet.calls.analyser import Analyser
from voipfleet.calls.streams import StreamTable
from voipfleet.decode.sdp import host

OPUS = ("a=rtpmap:111 opus/48000/2", "a=rtpmap:101 telephone-event/8000")
EVENT = struct.pack("!BBH", 5, 0x8A, 800)


def streams(call, side="caller"):
    return [s for s in call.streams if s.direction == side]


def test_copies_of_a_mirror_port_are_no_duplicates_and_duplicates_are():
    play, counters = Play(), {}
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), 50, ssrc=1, copies=(0.0005, 0.0011))
    play.rtp(0.3, (B, 5000), (A, 4000), 50, ssrc=2, copies=(0.004,))
    play.bye(3)
    call = play.the_call(counters=counters)
    assert [(s.received, s.duplicates, s.lost) for s in call.streams] == [(50, 0, 0), (50, 50, 0)]
    assert counters["span_duplicates"] == 100
    assert [s.duplicates for s in play.the_call(deduplicate=False).streams] == [100, 50]
    assert [s.duplicates for s in play.the_call(deduplicate_window=5.0).streams] == [0, 0]


def test_a_sender_that_repeats_itself_is_no_mirror_port():
    """The same RTP packet in two IP packets."""
    play = Play()
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), 50, ssrc=1)
    play.rtp(0.3001, (A, 4000), (B, 5000), 50, ssrc=1)
    play.packets = [
        (ts, packet.replace(b"\x45\x00\x00\xc8\x00\x07", b"\x45\x00\x00\xc8\x11\x07")) for ts, packet in play.packets
    ]
    play.bye(3)
    assert play.the_call(deduplicate_window=0.05).streams[0].duplicates == 50


@pytest.mark.parametrize("late", [False, True])
def test_the_clock_of_a_dynamic_payload_type(late):
    """48 kHz by the SDP, though it comes after the first second of RTP."""
    play = Play()
    body = sdp(B, 5000, *OPUS, types="111 101")
    play.sip(0, A, B, "INVITE", "1 INVITE", body=sdp(A, 4000, *OPUS, types="111 101"))
    play.sip(1.3 if late else 0.1, B, A, "200 OK", "1 INVITE", to="b", body=body)
    play.rtp(0.3, (C, 4000), (B, 5000), 100, ssrc=1, pt=111, ticks=960, lost=(20,))  # from nobody's address: NAT
    play.rtp(2.4, (C, 4000), (B, 5000), 10, ssrc=1, pt=101, seq=200, stamp=96000, ticks=0, payload=EVENT)
    play.rtp(2.8, (C, 4000), (B, 5000), 50, ssrc=1, pt=111, seq=210, stamp=120000, ticks=960)
    play.bye(5)
    (stream,) = play.the_call().streams
    assert (stream.codec, stream.ptime, stream.jitter_max_ms, stream.lost) == ("opus", 20, 0, 1)
    assert (stream.payload_types, stream.dtmf, stream.direction, stream.src) == ([101, 111], "5", "caller", f"{C}:4000")


def test_an_unknown_clock_is_read_from_the_time_stamps():
    table = StreamTable()
    row, known = table.allot(0), table.allot(48000)
    for n in range(60):
        for where in (row, known):
            table.feed(
                *(stream_column([value]) for value in (where, n * 20_000_000 + n % 3 * 1_000_000, n, n * 960, 111))
            )
    assert table.result(row) == table.result(known)
    assert table.result(row)["jitter_mean_ms"] > 0


def stream_column(values):
    return np.array(values, np.int64)


RATES = [stream_scalar.SAME, stream_scalar.SAME, stream_scalar.OTHER, 8000, 48000]
STEP = st.tuples(st.integers(0, 40_000_000), st.sampled_from([1, 1, 1, 2, 0, -2]), st.sampled_from([160, 960, 320]),
                 st.sampled_from(RATES))  # fmt: skip


@settings(deadline=None)
@given(st.lists(STEP, min_size=1, max_size=60), st.integers(1, 20), st.integers(1, 60))
def test_a_clock_that_becomes_known_gives_what_it_had_given(steps, cut, known_after):
    """Also with codecs that change; for any cut into blocks."""
    steps = [(gap, ahead, ticks, rate if rate < 0 else stream_scalar.SAME) for gap, ahead, ticks, rate in steps]
    table, oracle = StreamTable(), stream_scalar.new(16000)
    row, now, seq, stamp, packets = table.allot(0), 10**18, 5, 0, []
    for gap, ahead, ticks, rate in steps:
        now, seq, stamp = now + gap, seq + ahead, stamp + ticks
        packets.append((row, now, seq & 0xFFFF, stamp, 111, rate))
        stream_scalar.step(oracle, *packets[-1][1:])
    for at in range(0, len(packets), cut):
        if at >= known_after:
            table.set_rate(row, 16000)
        table.feed(*(stream_column(column) for column in zip(*packets[at : at + cut], strict=True)))
    table.set_rate(row, 16000)
    assert table.state(row) == oracle


@settings(deadline=None)
@given(st.lists(STEP, min_size=1, max_size=60), st.integers(1, 20))
def test_codecs_with_other_clocks_in_one_stream(steps, cut):
    table, oracle = StreamTable(), stream_scalar.new(8000)
    row, now, seq, stamp, packets = table.allot(8000), 10**18, 5, 0, []
    for gap, ahead, ticks, rate in steps:
        now, seq, stamp = now + gap, seq + ahead, stamp + ticks
        packets.append((row, now, seq & 0xFFFF, stamp, 0 if rate == 8000 else 111, rate))
        stream_scalar.step(oracle, *packets[-1][1:])
    for at in range(0, len(packets), cut):
        table.feed(*(stream_column(column) for column in zip(*packets[at : at + cut], strict=True)))
    assert table.state(row) == oracle


def test_a_codec_change_in_a_stream():
    """G.711 goes on as Opus, with its clock."""
    both = sdp(B, 5000, *OPUS, types="0 111 101")
    play = Play()
    play.answered(answer=both)
    play.rtp(0.3, (A, 4000), (B, 5000), 50, ssrc=1)
    play.rtp(1.3, (A, 4000), (B, 5000), 50, ssrc=1, pt=111, seq=150, stamp=8000, ticks=960)
    play.bye(3)
    (stream,) = play.the_call().streams
    assert (stream.payload_types, stream.jitter_max_ms, stream.lost, stream.ptime) == ([0, 111], 0, 0, 20)


def test_silence_is_no_loss():
    play = Play()
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), 50, ssrc=1, marker=True)
    play.rtp(1.3, (A, 4000), (B, 5000), 1, ssrc=1, pt=13, seq=150, stamp=8000, payload=b"\x40")
    play.rtp(4.3, (A, 4000), (B, 5000), 50, ssrc=1, seq=151, stamp=32000, marker=True)
    play.bye(6)
    (stream,) = play.the_call().streams
    assert (stream.lost, stream.expected, stream.jitter_max_ms, stream.markers) == (0, 101, 0, 2)
    assert (stream.codec, stream.delta_max_ms) == ("PCMU", 3000)


def test_one_way_only_where_both_were_to_send():
    for answer, one_way in ((sdp(B, 5000), True), (sdp(B, 5000, "a=recvonly"), False)):
        play = Play()
        play.answered(answer=answer, offer=sdp(A, 4000, "a=sendrecv"))
        play.rtp(0.3, (A, 4000), (B, 5000), 50)
        play.bye(3)
        call = play.the_call()
        assert (call.one_way, call.seen) == (one_way, ["caller_sip", "callee_sip", "caller_rtp"])


def test_fax_over_ip_is_named():
    """UDPTL counts from 0; at 0x8000 it would look like RTP."""
    play = Play()
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), 50)
    play.rtp(0.3, (B, 5000), (A, 4000), 50, ssrc=2)
    fax = {"kind": "image", "protocol": "udptl", "types": "t38"}
    play.sip(2, B, A, "INVITE", "1 INVITE", to="a", sender="b", body=sdp(B, 5100, **fax))
    play.sip(2.1, A, B, "200 OK", "1 INVITE", to="a", sender="b", body=sdp(A, 4100, **fax))
    play.rtp(2.5, (A, 4100), (B, 5100), 50, ssrc=9)
    play.bye(5)
    call = play.the_call()
    assert call.t38 and not call.one_way and sorted(s.ssrc for s in call.streams) == [1, 2]


@pytest.mark.parametrize(("protocol", "said"), [("RTP/SAVP", (True, "", None)), ("RTP/AVP", (False, "5", 5))])
def test_srtp_is_named_and_its_digits_and_reports_are_not_read(protocol, said):
    secure = {"protocol": protocol, "types": "0 101"}
    report = struct.pack("!BBHII5I", 0x81, 201, 7, 2, 1, 0x10000005, 0, 0, 0, 0)
    play = Play()
    play.answered(offer=sdp(A, 4000, **secure), answer=sdp(B, 5000, "a=rtpmap:101 telephone-event/8000", **secure))
    play.rtp(0.3, (A, 4000), (B, 5000), 50)
    play.rtp(1.4, (A, 4000), (B, 5000), 3, pt=101, seq=150, stamp=9000, ticks=0, payload=EVENT)
    play.raw(2, ip(udp(report, 5001, 4001), src=B, dst=A))
    play.bye(5)
    (stream,) = play.the_call().streams
    assert (stream.srtp, stream.dtmf, stream.rtcp_lost) == said


def test_both_legs_of_a_b2bua_have_the_media_that_pass_it_by():
    play = Play()
    play.sip(0, A, C, "INVITE", "1 INVITE", body=sdp(A, 4000))
    play.sip(0.01, C, B, "INVITE", "1 INVITE", body=sdp(A, 4000), call="call-2")
    play.sip(1, B, C, "200 OK", "1 INVITE", to="b", body=sdp(B, 5000), call="call-2")
    play.sip(1.01, C, A, "200 OK", "1 INVITE", to="b", body=sdp(B, 5000))
    play.rtp(1.1, (A, 4000), (B, 5000), 50, ssrc=1)
    play.rtp(1.1, (B, 5000), (A, 4000), 50, ssrc=2)
    play.bye(3)
    play.bye(3.02, call="call-2")
    for size in (1, 1000):
        assert [[s.received for s in call.streams] for call in play.calls(block=size)] == [[50, 50]] * 2


def test_ports_that_are_used_again_by_a_later_call():
    """The first call never ends; what flows after the second has taken its ports is the second's."""
    play = Play()
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), 50, ssrc=1)
    play.answered(20, call="call-2")
    play.rtp(20.3, (A, 4000), (B, 5000), 70, ssrc=2)
    play.bye(25, call="call-2")
    for size in (1, 1000):
        first, second = play.calls(block=size)
        assert ([s.received for s in first.streams], [s.received for s in second.streams]) == ([50], [70])


def test_addresses_behind_nat_by_the_alias():
    play = Play()
    play.answered(offer=sdp("192.168.1.5", 4000), answer=sdp("192.168.2.6", 5000))
    play.rtp(0.3, (A, 4000), (B, 5000), 50, ssrc=1)
    play.rtp(0.3, (B, 5000), (A, 4000), 50, ssrc=2)
    play.bye(3)
    assert play.the_call().streams == []
    pairs = ((host("192.168.1.5"), host(A)), (host("192.168.2.6"), host(B)))
    assert [s.direction for s in play.the_call(natalias=pairs).streams] == ["caller", "callee"]


def test_more_streams_than_are_recorded():
    play = Play()
    play.answered()
    for n in range(70):
        play.rtp(0.3 + n / 100, (A, 4000), (B, 5000), 3, ssrc=n + 1)
    play.bye(3)
    call = play.the_call()
    assert (len(call.streams), call.partial_reasons) == (64, ["streams"])


@pytest.mark.parametrize(("room", "refused", "evicted"), [(40, 0, 81), (200, 35, 0)])
def test_a_flood_of_streams_costs_strangers_and_never_a_call(monkeypatch, room, refused, evicted):
    monkeypatch.setattr(media, "MAX_STREAMS", room)
    monkeypatch.setattr(media, "MAX_STRANGERS_OF_ONE", 25)
    play, counters = Play(), {}
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), 100, ssrc=1)
    for n in range(60):
        play.rtp(0.4 + n / 100, (C, 9000), (C, 9001), 1, ssrc=1000 + n)
        play.rtp(0.4 + n / 100, (f"10.9.0.{n}", 9000), (C, 9003), 1, ssrc=n)
    play.bye(3)
    call = play.the_call(counters=counters)
    assert [s.received for s in call.streams] == [100]
    assert (counters["streams_refused"], counters["streams_evicted"]) == (refused, evicted)


def test_a_flood_of_calls_evicts_the_half_open_of_itshost(monkeypatch):
    monkeypatch.setattr(signalling, "MAX_CALLS", 30)
    monkeypatch.setattr(signalling, "MAX_OF_ONE", 8)
    play, counters = Play(), {}
    play.answered()
    for n in range(20):
        play.sip(0.5 + n / 100, C, B, "INVITE", "1 INVITE", call=f"flood-{n}")
    play.bye(3)
    calls = play.calls(counters=counters)
    mine = next(call for call in calls if call.call_id == "call-1")
    assert mine.end_reason == "bye" and counters["calls_evicted"] == 12
    assert [call.partial_reasons for call in calls if call.end_reason == "evicted"] == [["evicted"]] * 12


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 1, 2]), st.integers(0, 900)), max_size=40),
       st.integers(1, 15), st.integers(0, 5))  # fmt: skip
def test_copies_are_those_that_one_by_one_are(packets, cut, delay):
    """Each packet may be the copy of any within the window; whatever the cut into blocks."""
    window, play, seen, expected, now = 2_000_000, Play(), [], 0, 1_000_000_000
    for number, ahead, gap in packets:
        now += 1000 * gap  # to the microsecond, which is what float seconds keep
        earlier = seen[-max(delay, 1)][1] if len(seen) >= max(delay, 1) else 50
        seq = (seen[-1][1] if seen else 50) + ahead if number else earlier
        head = struct.pack("!BBHII", 0x80, 0, seq, seq * 160, 1)
        play.raw(now / 1e9, ip(udp(head + bytes(160), 4000, 5000), ident=seq + (number == 2) * 1000))
        mark = (seq, number == 2)
        copy = any(mark == other[2] and now - other[0] <= window for other in seen if other[3])
        expected += copy
        seen.append((now, seq, mark, not copy))
    counters = {}
    play.calls(block=cut, counters=counters)
    assert counters.get("span_duplicates", 0) == expected


def test_fax_on_the_port_that_had_audio():
    play = Play()
    play.answered()
    play.rtp(0.3, (B, 5000), (A, 4000), 50, ssrc=2)
    fax = {"kind": "image", "protocol": "udptl", "types": "t38"}
    play.sip(2, B, A, "INVITE", "1 INVITE", to="a", sender="b", body=sdp(B, 5000, **fax))
    play.sip(2.1, A, B, "200 OK", "1 INVITE", to="a", sender="b", body=sdp(A, 4000, **fax))
    play.rtp(2.5, (A, 4000), (B, 5000), 50, ssrc=9)
    play.bye(5)
    call = play.the_call()
    assert call.t38 and [s.ssrc for s in call.streams] == [2]


def test_what_two_sensors_see_are_two_views_of_one_call():
    """The same packets from here and from a source that mirrors: neither duplicates nor retransmissions."""
    play = Play()
    play.answered()
    play.rtp(0.3, (A, 4000), (B, 5000), 50, ssrc=1)
    play.rtp(0.3, (B, 5000), (A, 4000), 50, ssrc=2)
    play.bye(3)
    analyser, calls = Analyser(sensor="here"), []
    for ts, packet in sorted(play.packets, key=lambda packet: packet[0]):
        for sensor in ("there", ""):
            calls += analyser.feed(replace(block_of([packet], start=ts), sensor=sensor))
    (call,) = calls + analyser.finish()
    assert (call.sensor, call.analysed_by, call.views, call.retransmissions) == ("there", "here", 2, 0)
    seen = sorted((s.sensor, s.direction, s.received, s.duplicates) for s in call.streams)
    assert seen == [(sensor, side, 50, 0) for sensor in ("here", "there") for side in ("callee", "caller")]
