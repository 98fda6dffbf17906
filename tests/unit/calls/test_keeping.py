"""Which packets the analysis keeps: those of the calls, whole or cut, under keys that their records lead to."""

import struct
from collections import Counter, defaultdict

import numpy as np
import pytest
from support import generated
from support.packets import fragments, ip, tcp, udp
from support.scenario import START, A, B, Play, sdp
from voipfleet.calls.analyser import Analyser, AnalyserSettings
from voipfleet.calls.keeping import DROP, KEEP, PATIENCE, WAIT, Keeper
from voipfleet.capture.block import Block
from voipfleet.masking import reports, secrets
from voipfleet.packetstore import keys

HEAD = 14 + 20 + 8 + 12  # Ethernet, IPv4, UDP, RTP


class Store:
    """Has what it is given: (kind, key) -> frames in the order in which they came."""

    def __init__(self):
        self.kept = defaultdict(list)

    def add(self, kind, linktype, keys, ts, offset, caplen, wirelen, data):
        assert linktype == 1 and (caplen <= wirelen).all()
        for key, when, start, size, whole in zip(keys.tolist(), ts.tolist(), offset.tolist(), caplen.tolist(),
                                                 wirelen.tolist(), strict=True):  # fmt: skip
            self.kept[kind, key].append((when, whole, data[start : start + size].tobytes()))

    def add_frames(self, kind, linktype, key, frames):
        self.kept[kind, key] += frames

    def of(self, call, *kinds):
        wanted = set(keys.keys_of(call))
        return sorted(one for (kind, key), found in self.kept.items() if kind in kinds and key in wanted
                      for one in found)  # fmt: skip

    def count(self, kind):
        return sum(len(found) for (name, _), found in self.kept.items() if name == kind)


def analysed(play: Play, block: int = 7, **settings):
    """(store, records by Call-ID, keeper)"""
    store, clock = Store(), [1000.0]
    chosen = {"savesip": True, "savertp": "yes", "savertcp": True, "secrets": None, "hide_digits": False,
              "all_rtp": False} | settings  # fmt: skip
    keeper = Keeper(store, "s", **chosen, clock=lambda: clock[0])
    keeper.test_clock = clock
    analyser = Analyser(AnalyserSettings(), sensor="s", keep=keeper)
    records = {call.call_id: call for call in play.into(analyser, block) + analyser.finish()}
    return store, records, keeper


def a_call(digits: bool = False) -> Play:
    play = Play()
    offer = sdp(A, 4000, "a=rtpmap:101 telephone-event/8000", types="0 101")
    play.answered(offer=offer)
    play.rtp(0.3, (A, 4000), (B, 5000), 50, ssrc=1)
    play.rtp(0.3, (B, 5000), (A, 4000), 50, ssrc=2)
    if digits:
        play.rtp(
            1.4, (A, 4000), (B, 5000), 3, ssrc=1, pt=101, seq=200, payload=struct.pack("!BBH", 5, 10, 160), ticks=0
        )
    play.bye(2.0)
    return play


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_every_packet_of_a_call_as_it_was_on_the_wire(block):
    play = a_call()
    play.sip(0.5, A, B, "OPTIONS", "1 OPTIONS", call="another")
    play.sip(0.6, A, B, "MESSAGE", "1 MESSAGE", call="private", body="what I tell you")
    play.sip(0.7, A, B, "NOTIFY", "1 NOTIFY", call="another: voice mail")
    play.sip(0.8, A, B, "BYE", "9 BYE", call="another: of a call that began before", to="x")
    store, records, _ = analysed(play, block)
    ours = [(ts, len(frame), frame) for ts, frame in sorted(play.packets) if b"another" not in frame
            and b"private" not in frame]  # fmt: skip
    assert sorted(store.of(records["call-1"], "sip", "audio")) == sorted(ours)
    assert store.count("sip") == 6 and store.count("audio") == 100


@pytest.mark.parametrize(("savertp", "size"), [("yes", HEAD + 4 + 160), ("header", HEAD + 4)])
def test_the_tag_that_the_kernel_took_off_is_put_back(savertp, size):
    """Of some packets of the block; the frames are those of the wire."""
    play, store = a_call(), Store()
    keeper = Keeper(store, "s", savesip=True, savertp=savertp, savertcp=True, secrets=None, hide_digits=True,
                    all_rtp=True)  # fmt: skip
    analyser, packets = Analyser(AnalyserSettings(), sensor="s", keep=keeper), sorted(play.packets)
    sizes = np.array([len(packet) for _, packet in packets], np.int64)
    tags = np.where(np.arange(len(packets)) % 3, 0x6123, -1)
    block = Block(data=np.frombuffer(b"".join(packet for _, packet in packets), np.uint8), caplen=sizes, wirelen=sizes,
                  ts=np.array([ts for ts, _ in packets], np.int64), offset=np.cumsum(sizes) - sizes,
                  vlan=tags)  # fmt: skip
    (call,) = analyser.feed(block) + analyser.finish()
    wire = [(ts, packet if tag < 0 else packet[:12] + b"\x81\0\x61\x23" + packet[12:])
            for (ts, packet), tag in zip(packets, tags.tolist(), strict=True)]  # fmt: skip
    kept = store.of(call, "sip", "audio", "rtp")
    assert [(ts, whole) for ts, whole, _ in kept] == sorted((ts, len(packet)) for ts, packet in wire)
    assert all(packet.startswith(frame) for (_, packet), (*_, frame) in zip(sorted(wire), kept, strict=True))
    rtp = [len(frame) for *_, frame in store.of(call, "audio", "rtp")]
    assert set(rtp) == {size, size - 4} and rtp.count(size) == int(np.count_nonzero(tags[4:104] >= 0))


def test_headers_only_and_nothing():
    store, records, _ = analysed(a_call(), savertp="header")
    frames = store.of(records["call-1"], "rtp")
    assert len(frames) == 100 and {len(frame) for *_, frame in frames} == {HEAD}
    assert {wire for _, wire, _ in frames} == {HEAD + 160}
    store, _, _ = analysed(a_call(), savertp="no", savesip=False, savertcp=False)
    assert not store.kept


def test_of_digits_only_the_header_is_kept_unless_asked_otherwise():
    for hide, size in ((True, HEAD), (False, HEAD + 4)):
        store, records, _ = analysed(a_call(digits=True), hide_digits=hide)
        events = [frame for *_, frame in store.of(records["call-1"], "audio") if frame[HEAD - 11] & 127 == 101]
        assert [len(frame) for frame in events] == [size] * 3


def test_secrets_are_masked_in_the_frames_and_nothing_else_is():
    play = a_call()
    play.sip(0.05, A, B, "INVITE", "2 INVITE", 'Proxy-Authorization: Digest username="a", response="0123456789abcdef"')
    store, records, _ = analysed(play, secrets=secrets.spans)
    kept = store.of(records["call-1"], "sip")
    assert not any(b"0123456789abcdef" in frame for *_, frame in kept)
    whole = sorted(frame for _, frame in play.packets if frame[23] == 17 and b"SIP/2.0" in frame)
    assert [len(frame) for *_, frame in sorted(kept, key=lambda one: one[2])] and len(kept) == len(whole) == 7
    masked = b'response="' + b"x" * 16 + b'"'
    assert Counter(frame.replace(masked, b'response="0123456789abcdef"') for *_, frame in kept) == Counter(whole)


def test_a_message_in_fragments_is_kept_in_all_its_frames_and_masked_in_them():
    secret = b'Authorization: Digest response="feedfacefeedface"\r\n' * 20
    message = (b"INVITE sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\n"
               b"To: <sip:b@b>\r\nCall-ID: cut\r\nCSeq: 1 INVITE\r\n" + secret + b"\r\n")  # fmt: skip
    for ends in ({}, {"src": "2001:db8::1", "dst": "2001:db8::2"}):
        play = Play()
        for n, part in enumerate(fragments(ip(udp(message, 5060, 5060), **ends), 504)):
            play.raw(n / 1000, part)
        store, records, _ = analysed(play, secrets=secrets.spans)
        kept = store.of(records["cut"], "sip")
        assert [(ts, len(frame)) for ts, _, frame in kept] == [(ts, len(frame)) for ts, frame in play.packets]
        assert not any(b"feedface" in frame for *_, frame in kept)
        assert sum(frame.count(b"Authorization") for *_, frame in kept) >= 15
        head = 14 + (20 if not ends else 48) + 8  # with UDP's, which is payload of the first fragment
        assert kept[0][2][:head] == play.packets[0][1][:head]


def test_of_other_calls_in_the_same_segments_nothing_is_kept():
    """By TCP two messages may come in one frame; each is kept under its own call, the rest of the frame masked."""
    play = Play()
    head = "INVITE sip:b SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nTo: <sip:b@b>\r\nCSeq: 1 INVITE\r\n"
    texts = [f"{head}From: <sip:{name}@a>;tag=1\r\nCall-ID: {name}\r\nContent-Length: 0\r\n\r\n".encode()
             for name in ("one", "two")]  # fmt: skip
    cut = len(head) + 20
    play.raw(0.0, ip(tcp(texts[0] + texts[1][:cut], 1000), 6))
    play.raw(0.1, ip(tcp(texts[1][cut:], 1000 + len(texts[0]) + cut), 6))
    for name, other, frames in (("one", b"two", 1), ("two", b"one", 2)):
        for hide in (secrets.spans, None):
            store, records, _ = analysed(play, secrets=hide)
            kept = store.of(records[name], "sip")
            assert len(kept) == frames
            seen = b"".join(frame for *_, frame in kept)
            assert name.encode() in seen and (other in seen) == (hide is None)


def test_names_in_reports_are_masked_where_numbers_are():
    play = a_call()
    said = b"4930123456@example."
    text = struct.pack("!BBHI", 0x81, 202, 7, 7) + bytes([1, len(said)]) + said + bytes(3)
    report = struct.pack("!BBHII20x", 0x81, 201, 7, 9, 1) + text
    play.raw(1.0, ip(udp(report, 5001, 4001), src=B, dst=A))
    for names, whole in ((None, True), (lambda packet: reports.spans(packet, 3), False)):
        store, records, _ = analysed(play, names=names)
        (kept,) = [frame for *_, frame in store.of(records["call-1"], "sip") if b"@example." in frame]
        assert (b"4930123456" in kept, b"456@example." in kept, len(kept)) == (whole, True, 14 + 28 + len(report))


def test_a_message_that_is_not_whole_in_its_frames_is_cut_rather_than_kept_unmasked():
    """The frames hold something else than what was read: a retransmission that overlaps with other bytes."""
    from voipfleet.calls.keeping import _masked
    from voipfleet.decode.columns import Piece

    pieces = [Piece(1, 100, b"HEAD" + b"something else", 4, 14)]
    assert _masked(b"a secret", [(2, 8)], pieces)[0].frame == b"HEAD"


def test_rtp_that_no_sdp_names_waits_and_is_dropped_then():
    play = Play()
    play.rtp(0.0, (A, 4000), (B, 5000), 20, ssrc=7)
    store, _, keeper = analysed(play)
    ((_, key),) = store.kept
    assert keeper.verdict(np.array([key, 5], np.uint64)).tolist() == [WAIT, KEEP]
    keeper.test_clock[0] += PATIENCE + 1
    assert keeper.verdict(np.array([key], np.uint64)).tolist() == [DROP]
    store, _, keeper = analysed(play, all_rtp=True)
    assert keeper.verdict(np.array([key], np.uint64)).tolist() == [KEEP]


def test_a_stream_that_was_forgotten_and_is_named_when_it_comes_again():
    """RTP that nobody names and that is forgotten; then a call with the same stream, twice named."""
    store = Store()
    clock = [0.0]
    keeper = Keeper(store, "s", savesip=True, savertp="yes", savertcp=True, secrets=None, hide_digits=True,
                    all_rtp=False, clock=lambda: clock[0])  # fmt: skip
    analyser = Analyser(AnalyserSettings(), sensor="s", keep=keeper)

    def fed(at: float, *what) -> None:
        clock[0], play = at, Play()
        getattr(play, what[0])(at, *what[1:])
        play.into(analyser, 1)

    fed(0, "rtp", (A, 4000), (B, 5000), 5)
    fed(64.5, "sip", B, A, "OPTIONS", "1 OPTIONS")
    analyser.tick(START + 68 * 10**9)
    fed(68.2, "answered")
    fed(68.5, "rtp", (A, 4000), (B, 5000), 50)
    wanted = np.array([key for kind, key in store.kept if kind == "audio"], np.uint64)
    clock[0] += 100
    assert keeper.verdict(wanted).tolist() == [KEEP] * len(wanted)
    fed(167, "sip", A, B, "INVITE", "2 INVITE")
    fed(168, "rtp", (A, 9000), (B, 9000), 5, 77)  # another stranger, so that there is something to decide
    clock[0] += 100
    assert keeper.verdict(wanted).tolist() == [KEEP] * len(wanted)


def test_rtp_that_came_before_its_sdp_is_kept():
    play = Play()
    play.rtp(0.0, (A, 4000), (B, 5000), 20, ssrc=7)
    play.answered(0.2)
    play.bye(2.0)
    store, records, keeper = analysed(play)
    assert len(store.of(records["call-1"], "audio")) == 20
    keeper.test_clock[0] += 100
    wanted = np.array([key for kind, key in store.kept if kind == "audio"], np.uint64)
    assert keeper.verdict(wanted).tolist() == [KEEP]


def test_reports_are_kept_with_the_call_whose_stream_they_are_about_on_any_port():
    """A sender's, a receiver's of the other side's stream, a goodbye; not that of the next call on the same ports."""
    sender = struct.pack("!BBHI20x", 0x80, 200, 6, 1)
    receiver = struct.pack("!BBHII20x", 0x81, 201, 7, 99, 2)
    goodbye = struct.pack("!BBHII", 0x81, 203, 2, 1, 0)
    foreign = struct.pack("!BBHI20x", 0x80, 200, 6, 77)
    for above in (0, 1, 500):
        play = a_call()
        for at, report in enumerate((sender, receiver, goodbye, foreign)):
            play.raw(1.0 + at / 100, ip(udp(report, 4000 + above, 5000 + above)))
        store, records, _ = analysed(play)
        assert len(store.of(records["call-1"], "sip")) == 6 + 3 and store.count("sip") == 6 + 4
        assert len(analysed(play, savertcp=False)[0].of(records["call-1"], "sip")) == 6


def test_generated_calls_of_every_kind():
    """Loss, copies of mirror ports, tunnels, fragments, TCP: as many RTP packets as the record counted, each frame as
    it was on the wire, and SIP of the call alone."""
    wire, truth = generated.make(120, seed=5)
    store = Store()
    keeper = Keeper(
        store, "s", savesip=True, savertp="yes", savertcp=True, secrets=None, hide_digits=False, all_rtp=True
    )
    analyser = Analyser(AnalyserSettings(), sensor="s", keep=keeper)
    records = []
    for at in range(0, len(wire), 5000):
        part = wire[at : at + 5000]
        sizes = np.array([len(packet) for _, packet in part], np.int64)
        records += analyser.feed(Block(
            data=np.frombuffer(b"".join(packet for _, packet in part), np.uint8), caplen=sizes, wirelen=sizes,
            ts=np.array([ts for ts, _ in part], np.int64), offset=np.cumsum(sizes) - sizes))  # fmt: skip
    records = {call.call_id: call for call in records + analyser.finish() if call.method == "INVITE"}
    on_the_wire = {(ts, packet) for ts, packet in wire}
    assert len(records) == len(truth)
    for call in records.values():
        for stream in call.streams:
            kept = store.kept["audio", keys.stream_key("s", stream.src, stream.dst, stream.ssrc)]
            assert len(kept) == stream.received + stream.duplicates
        kept = store.of(call, "sip")
        assert kept and {(ts, frame) for ts, _, frame in kept} <= on_the_wire
        others = {other.encode() for other in records} - {call.call_id.encode()}
        if call.transport == "udp":
            text = b"".join(frame for *_, frame in kept)
            assert not any(b"Call-ID: " + other + b"\r" in text for other in others)
    assert analyser.counters.get("tcp_frames_not_kept", 0) == 0
