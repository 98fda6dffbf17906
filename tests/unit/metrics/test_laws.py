"""The conservation laws: they hold for real traffic whatever it is, and a packet that is nowhere is told."""

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st
from support.packets import block_of, frame, ip, udp
from voipfleet.calls.analyser import Analyser
from voipfleet.engine import Engine
from voipfleet.metrics.laws import RING, laws
from voipfleet.metrics.totals import Totals

RECORDS = {"created": 10, "acknowledged": 5, "queued": 3, "gaps": 2, "not_written": 0}


def report(**counters) -> dict:
    return {"records": RECORDS, "totals": {"counters": counters}}


def packets(**counters):
    return next(iter(laws(report(**counters))))


def test_what_is_read_is_parsed_ignored_or_lost_and_said_so():
    law = packets(capture_packets_total=100, capture_kernel_drops_total=7, capture_read_packets_total=90, packets=90,
                  sip=10, rtp=60, rtcp=5, other=9, ignored=6, held=1, made=1)  # fmt: skip
    assert law.holds and law.terms[RING] == 3
    assert str(law) == "packets: 100 received = 75 parsed + 15 ignored + 7 dropped by the kernel + 3 in the ring"


def test_a_packet_that_is_nowhere_is_told():
    law = packets(capture_packets_total=12, capture_read_packets_total=12, packets=12, rtp=10)
    assert (law.holds, law.missing) == (False, 2)
    assert "2 packets or records are NOT ACCOUNTED FOR, please report this" in str(law)
    assert not packets(capture_packets_total=5, capture_read_packets_total=6, packets=6, rtp=6).holds


def test_other_hosts_packets_and_packets_that_go_on():
    assert packets(handed_packets_total=50, packets=50, rtp=50).holds
    law = packets(capture_packets_total=9, capture_kernel_drops_total=1, capture_read_packets_total=8,
                  forward_packets_total=8)  # fmt: skip
    assert law.holds and "8 passed on" in str(law)
    law = packets(capture_packets_total=8, capture_read_packets_total=8, forward_packets_total=8,
                  pipe_packets_dropped_total=3)  # fmt: skip
    assert law.holds and "5 passed on + 3 dropped between the processes" in str(law)


def test_what_was_in_the_ring_when_a_process_ended_is_not_in_the_ring_of_the_next(tmp_path):
    path = tmp_path / "counters.json"
    for life in (1, 2):
        totals = Totals(path)
        present = {"capture_packets_total": 10, "capture_read_packets_total": 6, "packets": 6, "rtp": 6}
        totals.save(present)
        totals.save(present)  # what a process says twice is counted once
        law = packets(**totals.with_present(present))
        assert law.holds and law.total == 10 * life
        assert (law.terms[RING], law.terms["in the ring when a process ended"]) == (4, 4 * (life - 1))


def test_records_that_could_not_be_written_are_in_the_books():
    (law,) = laws({"records": RECORDS | {"not_written": 4}})
    assert law.holds and str(law).endswith("14 created = 5 acknowledged + 3 queued + 2 given up + 4 not written")
    (law,) = laws({"records": RECORDS | {"queued": 1}})
    assert (law.holds, law.missing) == (False, 2)


def test_records_and_buffers():
    said = report() | {"packets": {"links": [{"key": "mirror_destination", "buffer": {
        "put": 9, "acknowledged": 4, "memory": 2, "disk": 2, "dropped": 1}}]}}  # fmt: skip
    _, records, buffer = laws(said)
    assert records.holds and buffer.holds
    assert str(buffer) == (
        "packets to mirror_destination: 9 put = 4 acknowledged + 2 in memory + 2 on disk + 1 dropped"
    )


class Sender:
    records_dropped = packets_dropped = checkpoints_dropped = 0
    closed = False

    def send(self, *_) -> bool:
        return True


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.one_of(
    st.binary(max_size=80), st.binary(max_size=80).map(lambda data: frame(ip(udp(data, 5060, 5060)))),
    st.binary(max_size=80).map(lambda data: frame(ip(udp(data, 4000, 4002)))),
), min_size=1, max_size=8), max_size=5), st.integers(0, 9))  # fmt: skip
def test_the_law_holds_for_whatever_comes_and_where_the_analysis_fails(frames, failing):
    """Every `failing`th block breaks the analysis in the middle."""
    analyser, count = Analyser(), 0
    plain = analyser._in_time

    def breaks(*args):
        nonlocal count
        count += 1
        if failing and not count % failing:
            raise RuntimeError("a defect")
        return plain(*args)

    analyser._in_time = breaks
    engine = Engine([], analyser, Sender(), SimpleNamespace(setblocking=lambda _: None))
    for some in frames:
        block = block_of(some)
        engine._read_packets += len(block)
        engine._feed(block)
    read = engine._read_packets
    law = packets(capture_packets_total=read, capture_read_packets_total=read, **analyser.counters,
                  analysis_failed_packets_total=engine._failed_packets)  # fmt: skip
    assert law.holds, str(law)
