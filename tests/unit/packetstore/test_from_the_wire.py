"""From the wire to the one who asks: calls are analysed, kept, written in many segments, found by their records."""

import asyncio
import io
import time

import dpkt
import pytest
from support.pools import law
from support.scenario import A, B, Play, sdp
from voipfleet.calls.analyser import Analyser, AnalyserSettings
from voipfleet.calls.keeping import Keeper
from voipfleet.packetstore.pool import Pool
from voipfleet.packetstore.retention import Limits
from voipfleet.packetstore.writer import PacketStore, StoreSettings

CALLS = 12


def a_wire() -> tuple[Play, dict[str, list[tuple[int, bytes]]]]:
    """Calls at the same time, and the packets of each."""
    whole, of = Play(), {}
    for number in range(CALLS):
        one = Play(call=f"call-{number}")
        a, b = (A, 4000 + 4 * number), (B, 6000 + 4 * number)
        one.answered(number * 0.05, a, b, offer=sdp(*a), answer=sdp(*b), sender=f"a{number}", branch=f"x{number}")
        one.rtp(0.3 + number * 0.05, a, b, 60, ssrc=2 * number, payload=bytes([number]) * 160)
        one.rtp(0.3 + number * 0.05, b, a, 60, ssrc=2 * number + 1, payload=bytes([100 + number]) * 160)
        one.bye(2.0 + number * 0.05, sender=f"a{number}")
        of[one.call] = one.packets
        whole.packets += one.packets
    whole.rtp(0.5, ("10.0.0.9", 1234), ("10.0.0.8", 1234), 50, ssrc=999)  # nobody's
    return whole, of


@pytest.mark.parametrize("savertp", ["yes", "header", "no"])
def test_every_call_has_its_packets_and_no_others(tmp_path, savertp):
    wire, of = a_wire()
    keeper = None
    settings = StoreSettings(tmp_path / "pool", Limits(), savertp=savertp, segment=16 << 10)
    store = PacketStore(settings, verdict=lambda keys: keeper.verdict(keys))
    later = [0.0]
    keeper = Keeper(store, "s", savesip=True, savertp=savertp, savertcp=True, secrets=None, hide_digits=False,
                    all_rtp=False, clock=lambda: time.monotonic() + later[0])  # fmt: skip
    analyser = Analyser(AnalyserSettings(), sensor="s", keep=keeper)
    records = wire.into(analyser, 40) + analyser.finish()
    later[0] = 60.0
    store.close(time.monotonic() + 10)
    counters = store.counters
    assert law(counters) and counters["pool_stranger_packets_total"] == (0 if savertp == "no" else 50)
    least = {"yes": 15, "header": 6, "no": 1}[savertp]
    assert counters["pool_dropped_packets_total"] == 0 and counters["pool_segments_total"] >= least

    async def seal() -> None:
        raise AssertionError("these calls are old")

    pool = Pool(settings, seal)
    try:
        assert len(records) == CALLS
        for call in records:
            pool.put(call)
        for call in records:
            sent = []

            async def send(data: bytes, sent=sent) -> None:
                sent.append(data)

            said = asyncio.run(pool.fetch(call.uuid, 0, True, send))
            _, _, pcap = b"".join(sent).partition(b"\n")
            found = sorted((round(ts * 10**9), raw) for ts, raw in dpkt.pcap.Reader(io.BytesIO(pcap)))
            assert [raw for _, raw in found] == [raw for _, raw in sorted(kept(of[call.call_id], savertp))]
            assert said["packets"] == len(found) and said["missing"] == ""
    finally:
        pool.close()


def kept(packets: list[tuple[int, bytes]], savertp: str) -> list[tuple[int, bytes]]:
    if savertp == "yes":
        return packets
    sip = [(ts, raw) for ts, raw in packets if b"SIP/2.0" in raw]
    return sip if savertp == "no" else sip + [(ts, raw[:54]) for ts, raw in packets if b"SIP/2.0" not in raw]
