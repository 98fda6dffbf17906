"""Streams that no SDP named, as records; SIP from one sensor and RTP from another make the call that one would see."""

import numpy as np
import pytest
from support import generated
from support.scenario import START, A, B, Play, sdp
from support.wire import Wire
from voipfleet.calls.analyser import Analyser, AnalyserSettings
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.capture.block import Block
from voipfleet.central import claims
from voipfleet.central.merging import merge

S = 1_000_000_000
MEDIA = ((A, 4000), (B, 5000))


def records(play: Play, **more) -> list[CallRecord]:
    found = [play.calls(stream_records=True, block=block, **more) for block in (1 << 20, 7, 1)]
    plain = [[(call.method, call.revision, call.end_reason, call.partial_reasons, call.streams) for call in calls]
             for calls in found]  # fmt: skip
    assert plain[0] == plain[1] == plain[2], "the cut into blocks must change nothing"
    return found[0]


def test_one_record_for_both_ways_when_they_have_been_silent():
    play = Play()
    play.rtp(0, *MEDIA, 100, ssrc=1, lost={50})
    play.rtp(0.5, *MEDIA[::-1], 100, ssrc=2, pt=8)
    play.rtp(20, (A, 7000), (B, 7002), 5, ssrc=3)  # too few to be taken for a stream
    (call,) = records(play)
    assert (call.method, call.call_id, call.sensor, call.revision, call.partial) == ("RTP", "", "s", 1, False)
    assert (call.setup_time, call.end_time, call.end_reason) == (START, START + 2_480_000_000, "silent")
    assert (call.src, call.dst, call.duration) == ("10.0.0.1:4000", "10.0.0.2:5000", 2.48)
    assert [(s.ssrc, s.direction, s.codec, s.lost, s.sensor) for s in call.streams] == [
        (1, "", "PCMU", 1, "s"), (2, "", "PCMA", 0, "s")]  # fmt: skip


def test_streams_that_go_on_after_a_pause_come_again():
    play = Play()
    play.rtp(0, *MEDIA, 50)
    play.rtp(10, *MEDIA, 50, seq=150, stamp=8000)
    play.rtp(12, *MEDIA[::-1], 50, ssrc=2)
    found = records(play, until=100)
    assert len({call.uuid for call in found}) == 1
    assert [(call.revision, [s.received for s in call.streams]) for call in found] == [(1, [50]), (2, [100, 50])]


def test_the_next_call_on_the_same_ports_is_another_record():
    play = Play()
    for start, ssrc in ((0, 1), (2, 5)):
        play.rtp(start, *MEDIA, 50, ssrc=ssrc)
        play.rtp(start, *MEDIA[::-1], 50, ssrc=ssrc + 1)
    assert [[s.ssrc for s in call.streams] for call in records(play)] == [[1, 2], [5, 6]]


def test_what_is_not_over_when_the_sensor_stops_is_partial():
    play = Play()
    play.rtp(0, *MEDIA, 50)
    (call,) = records(play)
    assert (call.end_reason, call.partial_reasons) == ("end_of_capture", ["open"])


def test_a_stream_of_a_call_that_is_known_is_told_with_the_call_only():
    play = Play()
    play.answered()
    play.rtp(0.3, *MEDIA, 300)
    play.bye(7)
    assert [call.method for call in records(play, until=100)] == ["INVITE"]
    assert [call.method for call in play.calls()] == ["INVITE"]


def test_nothing_is_sent_unless_it_is_asked_for():
    play = Play()
    play.rtp(0, *MEDIA, 50)
    assert play.calls(until=100) == []


def test_what_must_leave_the_table_is_told_before(monkeypatch):
    monkeypatch.setattr("voipfleet.calls.media.MAX_STREAMS", 2)
    monkeypatch.setattr("voipfleet.calls.media.MAX_STRANGERS_OF_ONE", 9)
    play = Play()
    for n in range(4):
        play.rtp(n, (A, 4000 + 10 * n), (B, 5000), 20, ssrc=n)
    assert sorted(call.streams[0].ssrc for call in play.calls(stream_records=True)) == [0, 1, 2, 3]


def test_drops_make_it_partial():
    play, out = Play(), []
    play.rtp(0, *MEDIA, 50)
    frames = [frame for _, frame in play.packets]
    sizes = np.array([len(frame) for frame in frames])
    analyser = Analyser(AnalyserSettings(stream_records=True), "s")
    for ts, drops in ((START, 0), (START + S, 3)):
        out += analyser.feed(Block(
            data=np.frombuffer(b"".join(frames), np.uint8), caplen=sizes, wirelen=sizes, drops=drops,
            ts=ts + np.arange(len(frames)) * 10_000_000, offset=np.cumsum(sizes) - sizes))  # fmt: skip
    out += analyser.tick(START + 4 * S)
    assert out == []
    (call,) = analyser.tick(START + 10 * S)
    assert (call.partial_reasons, call.drops) == (["drops"], 3)


def test_media_say_where_a_call_was_not_heard():
    play = Play()
    play.answered(offer=sdp(A, 4000, "a=rtpmap:96 opus/48000", "a=ptime:20", types="96 0"),
                  answer=sdp(B, 5000, "a=sendonly"))  # fmt: skip
    play.rtp(0.3, *MEDIA, 50)
    play.bye(3)
    (call,) = play.calls()
    (media,) = call.media
    assert (media.side, media.address, media.codecs, media.ptime) == (
        "caller",
        "10.0.0.1:4000",
        {96: ("opus", 48000)},
        20,
    )
    assert (media.awaited, media.secure, media.until) == (True, False, 0)
    assert call.one_way


# What a sensor of each kind cannot say as one does that sees both: by nature, and where it had to guess a clock.
BY_NATURE = {"uuid", "revision", "views"}
OF_A_CLOCK = {"ptime", "discarded", "jitter_mean_ms", "jitter_max_ms"}


def joined(parts: list[CallRecord]) -> dict[str, CallRecord]:
    """By Call-ID what a central makes of them (voipfleet.central.joins does the same with tables)."""
    newest = {part.uuid: part for part in sorted(parts, key=lambda part: part.revision)}.values()
    calls = [part for part in newest if part.method == "INVITE"]
    of = {call.uuid: [call] for call in calls}
    by_end: dict[str, set[bytes]] = {}
    able = {call.uuid: claims.candidate(call.uuid, [call]) for call in calls}
    for key, one in able.items():
        for end in one.until:
            by_end.setdefault(end, set()).add(key)
    for part in newest:
        if part.method == "RTP":
            near = {key for s in part.streams for end in (s.src, s.dst) for key in by_end.get(end, ())}
            for key in claims.claimants(part, [able[key] for key in near]):
                of[key].append(part)
    return {call.call_id: merge(of[call.uuid]) for call in calls}


def analyse(data, sipport=(5060,), **more) -> list[CallRecord]:
    """In blocks of 5000 packets."""
    analyser, out = Analyser(AnalyserSettings(dtmf2db=True, sipport=sipport, **more), "s"), []
    for at in range(0, len(data), 5000):
        part = data[at : at + 5000]
        sizes = np.array([len(frame) for _, frame in part])
        out += analyser.feed(Block(
            data=np.frombuffer(b"".join(frame for _, frame in part), np.uint8), caplen=sizes, wirelen=sizes,
            ts=np.array([ts for ts, _ in part]), offset=np.cumsum(sizes) - sizes))  # fmt: skip
    out += analyser.tick(data[-1][0] + 30 * S)
    return out + analyser.finish()


@pytest.mark.parametrize("seed", [1, 2])
def test_sip_here_and_rtp_there_make_the_call_that_one_sensor_sees(seed, monkeypatch):
    signalling, message = set(), Wire.message

    def marked(self, *arguments):
        before = len(self.out)
        message(self, *arguments)
        signalling.update(map(id, self.out[before:]))

    monkeypatch.setattr(Wire, "message", marked)
    data, truth = generated.make(400, seed)
    one = {call.call_id: call for call in analyse(data)}
    sip = [packet for packet in data if id(packet) in signalling]
    rtp = [packet for packet in data if id(packet) not in signalling]
    halves = analyse(sip), analyse(rtp, stream_records=True)
    assert not any(call.streams for call in halves[0])
    assert {call.method for call in halves[1]} == {"RTP"}
    two = joined([*halves[0], *halves[1]])
    assert two.keys() == one.keys() and len(one) == len(truth) == 400
    # Clocks are guessed right but for a few.
    guessed = [(two[key], call) for key, call in one.items() if any(max(s.payload_types) >= 96 for s in call.streams)]
    assert sum(found.streams == call.streams for found, call in guessed) > 0.9 * len(guessed) > 20
    wrong: dict[str, list] = {}
    for key, call in one.items():
        for name, said, want in differences(two[key], call):
            wrong.setdefault(name, []).append((key, said, want))
    assert {name: (len(found), found[:2]) for name, found in wrong.items()} == {}


def differences(found: CallRecord, want: CallRecord):
    for name in CallRecord.__struct_fields__:
        if name in BY_NATURE:
            continue
        one, two = getattr(found, name), getattr(want, name)
        if name == "streams":
            one, two = ({s.ssrc: s for s in call.streams} for call in (found, want))
            if one.keys() != two.keys():
                yield name, sorted(one), sorted(two)
                continue
            for ssrc in one:
                for figure in StreamRecord.__struct_fields__:
                    pair = getattr(one[ssrc], figure), getattr(two[ssrc], figure)
                    if pair[0] != pair[1] and not (figure in OF_A_CLOCK and max(two[ssrc].payload_types) >= 96):
                        yield f"streams.{figure}", (two[ssrc].codec, pair[0]), pair[1]
        elif one != two:
            yield name, one, two
