"""Streams that no SDP named here, as records of method RTP: a central joins them to the calls that other sensors saw.

A record has at most one stream each way between two ends. It leaves when both have been silent for SILENCE, and comes
again, with the next revision, should they go on. The clock of a dynamic payload type is a guess (the usual rate nearest
to its time stamps' own), and so are the figures that follow from it: jitter, what came too late.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from voipfleet.calls.making import Maker
from voipfleet.calls.media import Media, Stream
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.decode import sdp

SILENCE = 5_000_000_000  # ns
LEAST = 10  # packets of one stream: what has fewer may be anything that looks like RTP
MAX_DROPS = 1_000  # that are remembered
_EVER = 1 << 62
_NOTHING_SAID = sdp.Media((0, 0), 0)


@dataclass(slots=True)
class _Pair:
    """What is told in one record: streams, and those that have left the table as they were told."""

    sensor: str
    uuid: bytes = field(default_factory=lambda: os.urandom(16))
    revision: int = 0
    told: int = 0  # ns; its newest packet in the last record
    streams: list[Stream] = field(default_factory=list)
    gone: list[StreamRecord] = field(default_factory=list)


class Unclaimed:
    """The streams of `media` that are strangers. Records are made by `maker`."""

    def __init__(self, media: Media, maker: Maker):
        self._media, self._maker = media, maker
        self._of: dict[int, _Pair] = {}  # by row
        self._drops: deque[tuple[str, int, int]] = deque(maxlen=MAX_DROPS)  # sensor, about when (ns), packets
        self._late: list[CallRecord] = []  # of streams that had to leave the table
        media.leaving = self._leaves

    @property
    def busy(self) -> bool:
        """Whether there is anything that may have to be told."""
        return bool(self._late or self._media.strangers(_EVER))

    def dropped(self, sensor: str, at: int, packets: int) -> None:
        """The kernel of a sensor dropped packets, after `at` (ns)."""
        self._drops.append((sensor, at, packets))

    def silent(self, time: Callable[[str], int]) -> list[CallRecord]:
        """Records of what has been silent for long enough; `time`: until when a sensor has told all, ns."""
        out, self._late = self._late, []
        for stream in self._quiet(time("") - SILENCE):
            pair = self._pair(stream)
            if pair.told < self._newest(pair) < time(stream.sensor) - SILENCE:
                out += self._tell(pair, "silent", [])
        return out

    def finish(self, end_reason: str, time: Callable[[str], int]) -> list[CallRecord]:
        """Records of all that is left; what was not silent yet is partial."""
        out, self._late = self._late, []
        for stream in self._quiet(_EVER):
            pair = self._pair(stream)
            newest = self._newest(pair)
            if pair.told < newest:
                still = newest >= time(stream.sensor) - SILENCE
                out += self._tell(pair, end_reason if still else "silent", ["open"] if still else [])
        return out

    def _quiet(self, before: int) -> list[Stream]:
        """Strangers whose newest packet was before, oldest first, and that were not told with it."""
        found = []
        for stream in self._media.strangers(before):
            pair = self._of.get(stream.row)
            if pair is None or pair.told < self._media.last(stream):
                found.append(stream)
        return sorted(found, key=lambda stream: (self._media.first(stream), stream.ssrc))

    def _pair(self, stream: Stream) -> _Pair:
        """That of a stream, made where it has none; with its way back, the one that began at nearly the same time."""
        pair = self._of.get(stream.row)
        if pair is None or len(pair.streams) + len(pair.gone) == 1:
            other = min(self._back(stream, pair), default=(0, 0, None), key=lambda one: one[:2])[2]
            mine, theirs = pair, self._of.get(other.row) if other else None
            pair = mine or theirs or _Pair(stream.sensor)
            for one in (stream, other) if other else (stream,):
                if self._of.get(one.row) is not pair:
                    pair.streams.append(one)
                    self._of[one.row] = pair
        return pair

    def _back(self, stream: Stream, pair: _Pair | None) -> Iterator[tuple[int, int, Stream]]:
        """(time between their beginnings, SSRC, it): the ways back that there were at the time of a stream."""
        media, first = self._media, self._media.first(stream)
        for other in media.between(stream.dst, stream.src):
            theirs = self._of.get(other.row)
            free = theirs is None or (pair is None and len(theirs.streams) + len(theirs.gone) == 1)
            near = media.last(other) + SILENCE >= first and media.last(stream) + SILENCE >= media.first(other)
            if free and near and other.sensor == stream.sensor:
                yield abs(media.first(other) - first), other.ssrc, other

    def _newest(self, pair: _Pair) -> int:
        return max((self._media.last(stream) for stream in pair.streams), default=0)

    def _tell(self, pair: _Pair, end_reason: str, partial: list[str]) -> list[CallRecord]:
        pair.told = self._newest(pair)
        told = [*pair.gone, *(self._maker.describe(stream, "", _NOTHING_SAID) for stream in pair.streams)]
        told.sort(key=lambda stream: (stream.first, stream.ssrc))
        if max(stream.received for stream in told) < LEAST:
            return []
        pair.revision += 1
        first, last = min(stream.first for stream in told), max(stream.last for stream in told)
        drops = sum(packets for sensor, at, packets in self._drops if sensor == pair.sensor and first <= at <= last)
        reasons = [*partial, *(["drops"] if drops else [])]
        made = self._maker.blank(pair.sensor)
        return [msgspec.structs.replace(
            made, uuid=pair.uuid, revision=pair.revision, method="RTP", setup_time=first, end_time=last,
            duration=round((last - first) / 1e9, 6), end_reason=end_reason, src=told[0].src, dst=told[0].dst,
            drops=drops, partial=bool(reasons), partial_reasons=reasons, streams=told)]  # fmt: skip

    def _leaves(self, stream: Stream, stranger: bool) -> None:
        """A stream leaves the table: forgotten, for want of room, or claimed by a call that is over."""
        pair = self._of.get(stream.row)
        if stranger and (pair is None or pair.told < self._media.last(stream)):
            self._late += self._tell(self._pair(stream), "silent", [])
        pair = self._of.pop(stream.row, None)
        if pair is None:
            return
        if stranger and pair.revision:
            pair.gone.append(self._maker.describe(stream, "", _NOTHING_SAID))
        pair.streams.remove(stream)
