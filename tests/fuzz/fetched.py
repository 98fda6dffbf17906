"""What a sensor sends of a call's packets: read, merged with what another one sent, written and made audible."""

import contextlib

import numpy as np
from fuzz import seeds
from support.captures import pcap, sent
from support.packets import frame, ip, udp
from support.voice import rtp
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.capture.block import ETHERNET, LINUX_SLL, LINUX_SLL2, NULL, RAW
from voipfleet.errors import VoipfleetError
from voipfleet.fetching import stream, writing
from voipfleet.fetching.merging import Source, merge
from voipfleet.fetching.voices import MOST, Voices

LINKTYPES = (ETHERNET, RAW, LINUX_SLL, LINUX_SLL2, NULL, 147)
START = 1_700_000_000_000_000_000
VOICE = [(START + n * 20_000_000, frame(ip(udp(rtp(0, n, n * 160, 1, bytes(160)), 4000, 5000), ident=n)))
         for n in range(6)]  # fmt: skip
STREAM = StreamRecord(direction="caller", src="10.0.0.1:4000", dst="10.0.0.2:5000", ssrc=1)
CALL = CallRecord(uuid=bytes(16), call_id="x", setup_time=START, streams=[STREAM])
OTHER = Source("other", stream.parse(np.frombuffer(sent(pcap(VOICE)), np.uint8), "other"), 70.0)


def fetched(data: bytes) -> None:
    """The first byte says of which link type the rest are packets, or that it is the stream itself."""
    kind, octets = data[0] % 7 if data else 6, data[1:]
    if kind < 6:
        octets = sent(pcap([], LINKTYPES[kind]) + octets)
    try:
        captures = stream.parse(np.frombuffer(octets, np.uint8), "one")
    except VoipfleetError as error:
        assert str(error).startswith("one: ")
        return
    merged = merge([Source("one", captures), OTHER])
    count = sum(map(len, captures))
    assert len(merged) + merged.copies == count + len(VOICE) and len(merged) >= max(count, len(VOICE))
    assert (np.diff(merged.ts) >= 0).all() and sum(map(len, merged.blocks())) == len(merged)
    kept = int(merged.column("caplen").sum())
    assert len(b"".join(writing.pcapng(merged))) > kept
    with contextlib.suppress(writing.LinkTypes):
        assert len(b"".join(writing.pcap(merged))) == 24 + 16 * len(merged) + kept
    voices = Voices(CALL)
    for block in merged.blocks():
        voices.feed(block)
    with contextlib.suppress(VoipfleetError):
        size = voices.settle()
        assert 0 < size <= MOST
        if size < 100_000:
            assert sum(map(len, voices.pieces())) == size


def streams() -> list[bytes]:
    records = pcap(VOICE)[24:]
    twice = [[(START, frame(one)), (START + 1, frame(one))] for one in seeds.ip_packets()[::4]]
    return [b"\x06" + sent(pcap(VOICE), pcap([(5, b"E" * 40)], RAW)), b"\0" + records, b"\1" + records,
            *(b"\0" + pcap(packets)[24:] for packets in twice)]  # fmt: skip
