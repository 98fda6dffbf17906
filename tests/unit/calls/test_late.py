"""Media that another host sends late: the record comes again, complete, with the same uuid."""

from dataclasses import replace

import pytest
from support.packets import block_of
from support.scenario import START, A, B, Play, plain
from voipfleet.calls.analyser import Analyser, AnalyserSettings


def play() -> Play:
    made = Play()
    made.answered()
    made.rtp(0.3, (A, 4000), (B, 5000), 50, ssrc=1)
    made.rtp(0.3, (B, 5000), (A, 4000), 50, ssrc=2)
    made.bye(3)
    return made


def is_sip(packet: bytes) -> bool:
    return b"SIP/2.0" in packet


def merged(delayed, seconds: float, late: int = 8):
    """The receiver's records where packets for which `delayed` holds come from `probe`, `seconds` late."""
    analyser, out = Analyser(AnalyserSettings(late=late), sensor="here"), []
    arrivals = sorted((ts + (seconds * 1e9 if delayed(packet) else 0), ts, packet) for ts, packet in play().packets)
    for now, ts, packet in arrivals:
        sensor = "probe" if delayed(packet) else ""
        out += analyser.tick(int(now))
        out += analyser.feed(replace(block_of([packet], start=ts), sensor=sensor))
    analyser.clock("probe", 0, offset_ms=5.0)  # it changes all the time, which is nothing new about a call
    return out + analyser.tick(START + 30_000_000_000) + analyser.finish(), analyser


@pytest.mark.parametrize("seconds", [0.01, 1, 5])
@pytest.mark.parametrize("sip_is_late", [True, False])
def test_sip_here_and_rtp_there(seconds, sip_is_late):
    out, analyser = merged(lambda packet: is_sip(packet) == sip_is_late, seconds)
    last = out[-1]
    assert [call.revision for call in out] == list(range(1, len(out) + 1)) and len({call.uuid for call in out}) == 1
    assert [(s.received, s.lost) for s in last.streams] == [(50, 0)] * 2 and not last.one_way
    assert {s.sensor for s in last.streams} == {"here" if sip_is_late else "probe"}
    assert (last.sensor, last.views) == ("probe" if sip_is_late else "here", 2)
    (whole,) = play().calls()
    same = ("setup_time", "answer_time", "end_time", "final_response", "hung_up_by", "end_reason", "pdd", "seen")
    assert [plain(last)[name] for name in same] == [plain(whole)[name] for name in same]
    assert analyser.active_calls == 0 and not analyser._left and not analyser._media.endpoints._users


def test_the_first_record_leaves_at_once_and_comes_again_only_where_there_was_more():
    out, _ = merged(lambda packet: not is_sip(packet), 5)
    assert [(call.revision, len(call.streams)) for call in out] == [(1, 0), (2, 2)]
    out, _ = merged(lambda packet: False, 0)
    assert [call.revision for call in out] == [1]


def test_who_has_no_other_hosts_does_not_wait():
    out, analyser = merged(lambda packet: False, 0, late=0)
    assert len(out) == 1 and not analyser._left


def test_a_probe_that_is_ten_minutes_behind_after_an_outage():
    """Its calls live by its own clock: nothing times out while their next packets are on the way."""
    out, analyser = merged(lambda packet: True, 600)
    last = out[-1]
    assert (last.end_reason, last.sensor, last.analysed_by, last.partial) == ("bye", "probe", "here", False)
    assert [(s.received, s.lost) for s in last.streams] == [(50, 0)] * 2
    assert analyser.active_calls == 0


def silent(*said: int) -> list:
    """Records while a probe captured half a call, of the times (s) at which it says that it is only quiet."""
    analyser, out = Analyser(AnalyserSettings(late=8), sensor="here"), []
    for ts, packet in [(ts, packet) for ts, packet in play().packets if b"BYE" not in packet]:
        out += analyser.feed(replace(block_of([packet], start=ts), sensor="probe"))
    analyser.clock("probe", 0, offset_ms=-12.5)
    for second in range(0, 1200, 2):
        if second in said:
            analyser.clock("probe", START + second * 10**9)
        out += [(second, call) for call in analyser.tick(START + second * 10**9)]
    return out


def test_a_call_ends_by_the_clock_of_who_sees_it():
    assert silent() == []  # it may be cut off: its BYE may wait there
    ((second, call),) = silent(100, 400)
    assert second == 400 and (call.end_reason, call.clock_offset_ms) == ("rtp_timeout", -12.5)
    assert silent(100, 200) == []


def test_packets_that_one_host_lost_are_no_drops_of_calls_that_it_did_not_see():
    analyser, out = Analyser(sensor="here"), []
    for ts, packet in play().packets:
        block = replace(block_of([packet], start=ts), sensor="probe")
        out += analyser.feed(block)
        out += analyser.feed(replace(block_of([], start=ts), sensor="other", drops=3))
    (call,) = out + analyser.finish()
    assert call.drops == 0 and not call.partial
