"""The G.711 audio in a call's packets, by side, as samples at their places in time. No I/O."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from voipfleet.calls import record
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.capture.block import Block
from voipfleet.decode import frames, rtp
from voipfleet.decode.columns import Packets, be
from voipfleet.decode.sdp import host
from voipfleet.errors import VoipfleetError
from voipfleet.fetching.g711 import LAWS, RATE
from voipfleet.fetching.placing import place
from voipfleet.harmless import harmless

MOST = 24 * 3600 * RATE  # samples of a call
AT_ONCE = 60 * RATE  # samples of one piece of the output
LOUDEST = 32767
SILENT = (13, 19)  # comfort noise (RFC 3389) and its older number; what is dynamic may be digits


@dataclass(slots=True)
class Voice:
    """One stream of a side (0 the caller's, 1 the callee's) as it arrives; settled, each packet once, at its place."""

    side: int
    columns: list[tuple[np.ndarray, ...]] = field(default_factory=list)  # arrival, seq, stamp, law
    audio: list[bytes] = field(default_factory=list)
    begin: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    law: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def settle(self) -> None:
        """All has come."""
        if not self.audio:
            return
        arrival, seq, stamp, law = map(np.concatenate, zip(*self.columns, strict=True))
        order, begin = place(arrival, seq, stamp)
        by_time = np.argsort(begin, kind="stable")
        order, self.begin, self.columns = order[by_time], begin[by_time], []
        self.law, self.audio = law[order], [self.audio[at] for at in order.tolist()]

    def ends(self) -> np.ndarray:
        return self.begin + np.fromiter(map(len, self.audio), np.int64, len(self.audio))

    def into(self, samples: np.ndarray, low: int) -> None:
        """Its part of the samples from `low` on."""
        high = low + len(samples)
        for at in np.nonzero((self.begin < high) & (self.ends() > low))[0].tolist():
            start = int(self.begin[at])
            codes = np.frombuffer(self.audio[at], np.uint8)[max(low - start, 0) : high - start]
            part = LAWS[int(self.law[at])][codes]
            samples[max(start - low, 0) :][: len(part)] = part


class Voices:
    """Of the call `call`: `feed` its packets in the order of time, `settle` once, then take the `pieces`."""

    def __init__(self, call: CallRecord):
        """VoipfleetError where none of its streams can be heard, whatever is kept of them."""
        self._name = harmless(call.call_id or call.uuid.hex())
        sides = _sides(call)
        if not sides:
            raise VoipfleetError(f"{self._name}: no audio of this call was seen; there is nothing to listen to")
        if all(stream.srtp for stream, _ in sides):
            raise VoipfleetError(f"{self._name}: its audio is encrypted (SRTP) and cannot be made audible; fetch its"
                                 " packets (voipfleet pcap)")  # fmt: skip
        self._voices = {_key(stream): Voice(side) for stream, side in reversed(sides) if not stream.srtp}
        self._codecs = sorted({stream.codec or "unknown" for stream, _ in sides})
        self._decoder = frames.Decoder(np.zeros(65536, bool), lambda name, by=1: None)
        self.others: dict[int, int] = {}  # payload types that are not G.711, and packets of them
        self._secret = sum(stream.srtp for stream, _ in sides)
        self.cut = 0  # packets of G.711 without their audio
        self._first = self._count = 0

    def feed(self, block: Block) -> None:
        packets = self._decoder.parse(block)
        found = rtp.parse(packets, packets.transport == 0)
        for key, voice in self._voices.items():
            self._take(packets, found.only(_of(packets, found, key)), voice)

    def settle(self) -> int:
        """All has come: how many pairs of samples there are. VoipfleetError where nothing can be heard."""
        for voice in self._voices.values():
            voice.settle()
        if not any(voice.audio for voice in self._voices.values()):
            raise self._nothing()
        self._first = int(np.concatenate([voice.begin for voice in self._voices.values()]).min())
        count = int(np.concatenate([voice.ends() for voice in self._voices.values()]).max()) - self._first
        if count > MOST:
            raise VoipfleetError(f"{self._name}: its packets are {count // RATE // 3600} hours apart; that is no call,"
                                 " look at them (voipfleet pcap)")  # fmt: skip
        self._count = count
        return count

    def pieces(self) -> Iterator[np.ndarray]:
        """Rows (left, right) of int16, from the first sound on."""
        for low in range(self._first, self._first + self._count, AT_ONCE):
            size = min(AT_ONCE, self._first + self._count - low)
            both = np.zeros((size, 2), np.int32)
            for voice in self._voices.values():  # those of one side that are there together are heard together
                alone = np.zeros(size, np.int16)
                voice.into(alone, low)
                both[:, voice.side] += alone
            yield np.clip(both, -LOUDEST - 1, LOUDEST).astype("<i2")

    def faults(self) -> list[str]:
        """What of the call cannot be heard."""
        said = [f"{number:,} packets of payload type {pt} are silent" for pt, number in sorted(self.others.items())
                if pt not in SILENT and pt < 96]  # fmt: skip
        if self.cut:
            said.append(f"of {self.cut:,} packets only headers are kept")
        if self._secret:
            said.append(f"{self._secret} streams are encrypted (SRTP)")
        return said

    def _take(self, packets: Packets, found: rtp.Rtp, voice: Voice) -> None:
        law = np.isin(found.pt, list(LAWS))
        for pt, number in zip(*np.unique(found.pt[~law], return_counts=True), strict=True):
            self.others[int(pt)] = self.others.get(int(pt), 0) + int(number)
        found = found.only(law)
        start = packets.start[found.index]
        whole = be(packets.data, start - 4, 2).astype(np.int64) - 8 <= packets.length[found.index]
        self.cut += int(np.count_nonzero(~whole))
        found, start = found.only(whole), start[whole]
        padded = (packets.data[start] & 0x20 != 0) & (found.size > 0)
        size = found.size.copy()
        size[padded] -= np.minimum(packets.data[(found.payload + found.size - 1)[padded]], size[padded])
        voice.columns.append((packets.ts[found.index], found.seq, found.stamp, found.pt))
        voice.audio += [packets.data[at : at + length].tobytes()
                        for at, length in zip(found.payload.tolist(), size.tolist(), strict=True)]  # fmt: skip

    def _nothing(self) -> VoipfleetError:
        if self.cut:
            return VoipfleetError(f"{self._name}: of its audio only headers are kept; with savertp = yes sensors keep"
                                  " the audio of calls to come")  # fmt: skip
        if self.others:
            codecs = harmless(", ".join(self._codecs))
            return VoipfleetError(f"{self._name}: its audio is {codecs}, and only G.711 (PCMU, PCMA) can be made"
                                  " audible here; open it in Wireshark (voipfleet pcap)")  # fmt: skip
        return VoipfleetError(f"{self._name}: no packets of its audio are kept; look at savertp and maxpooldays")


def _sides(call: CallRecord) -> list[tuple[StreamRecord, int]]:
    """Each stream with its side, as one sensor saw them; where nobody knows who called, the first sender is left."""
    if not any(stream.direction for stream in call.streams):
        return [(stream, int(stream.src != call.streams[0].src)) for stream in call.streams]
    return [(stream, side) for side, name in enumerate(("caller", "callee")) for stream in record.of_side(call, name)]


def _key(stream: StreamRecord) -> tuple[int, ...]:
    return (*_end(stream.src), *_end(stream.dst), stream.ssrc)


def _end(endpoint: str) -> tuple[int, int, int]:
    """address:port as columns have it; VoipfleetError where it is none."""
    address, _, port = endpoint.rpartition(":")
    try:
        return (*host(address.strip("[]")), int(port))
    except ValueError:
        raise VoipfleetError(f"{harmless(endpoint)}: is no address with a port; report this record") from None


def _of(packets: Packets, found: rtp.Rtp, key: Iterable[int]) -> np.ndarray:
    names = ("src_hi", "src_lo", "sport", "dst_hi", "dst_lo", "dport")
    *ends, ssrc = key
    mine = found.ssrc == ssrc
    for name, value in zip(names, ends, strict=True):
        mine &= getattr(packets, name)[found.index] == value
    return mine
