"""The store as the engine sees it: packets go in by class and key, full segments go to the thread that writes them.

Capture never waits for it. What is given is at any moment stored, staged, waiting for the writer, or counted as lost
for one of three reasons: the writer was too slow, the disk refused, or no SDP named the stream.
"""

import contextlib
import logging
import mmap
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from voipfleet.packetstore.catalogue import PAGE
from voipfleet.packetstore.retention import DAY_NS, REASONS, Limits
from voipfleet.packetstore.segment import KINDS, MAX_CAPTURED, MAX_NS, RECORD_HEAD
from voipfleet.packetstore.staging import DROP, KEEP, WAIT, Open
from voipfleet.packetstore.writing import Writer
from voipfleet.room import floor_of, reserve_of, space

log = logging.getLogger("voipfleet.pool")
__all__ = ["DROP", "KEEP", "WAIT", "PacketStore", "StoreSettings"]
SEGMENT = 32 << 20  # bytes of a segment, at most
LEAST_SEGMENT = 64 << 10  # bytes; of a store or a disk that is tiny
AGE = 30.0  # s after which a segment is written whatever its size: so much a power cut may cost
SPAN_NS = 300_000_000_000  # that the packets of a segment may reach over
MOST_OPEN = 8  # segments: more than one of a class where hosts send packets of different times
MOST_STAGED = 96 << 20  # bytes in open segments
MOST_LOOSE = 512  # single packets that are staged together
PLAIN = 65_536  # bytes that a single packet has less of, nearly always
MB = 1 << 20


@dataclass(frozen=True)
class StoreSettings:
    """`savertp`: yes, no, header. `segment`: bytes. `limits`: what of it is kept how long; its floor has room for the
    reserve, so that records need none of this store's."""

    folder: Path
    limits: Limits = field(default_factory=Limits)
    savesip: bool = True
    savertp: str = "header"
    savertcp: bool = True
    segment: int = SEGMENT

    @property
    def saves(self) -> bool:
        """Whether there is anything to keep."""
        return self.savesip or self.savertcp or self.savertp != "no"

    @classmethod
    def from_config(cls, config) -> "StoreSettings":
        spool = Path(config.spooldir)
        disk, _ = space(spool)
        sizes = {kind: getattr(config, f"maxpool{kind}size") for kind in KINDS}
        ages = {kind: getattr(config, f"maxpool{kind}days") for kind in KINDS}
        limits = Limits(
            size=config.maxpoolsize and config.maxpoolsize * MB,
            age=config.maxpooldays and config.maxpooldays * DAY_NS,
            sizes={kind: size * MB for kind, size in sizes.items() if size},
            ages={kind: days * DAY_NS for kind, days in ages.items() if days},
            floor=floor_of(disk, config.autocleanmingb, config.autocleanspoolminpercent) + 3 * reserve_of(disk),
        )
        return cls(folder=spool / "pool", limits=limits, savesip=config.savesip, savertp=config.savertp,
                   savertcp=config.savertcp, segment=segment_size(limits, disk))  # fmt: skip


def segment_size(limits: Limits, disk: int) -> int:
    """Bytes of a segment: a sixteenth of the smallest limit, a thirty-second of a disk of `disk` bytes (0: unknown),
    SEGMENT at most."""
    bounds = [SEGMENT, *(size // 16 for size in (limits.size, *limits.sizes.values()) if size)]
    if disk:
        bounds.append(disk // 32)
    return max(LEAST_SEGMENT, min(bounds))


class PacketStore:
    """`verdict(keys)` says of streams (keys ascending, each once) KEEP, WAIT or DROP, when their segment is sealed.

    All methods are for one thread.
    """

    def __init__(
        self, settings: StoreSettings, *, verdict: Callable[[np.ndarray], np.ndarray], clock=time.monotonic
    ) -> None:
        self._settings, self._verdict, self._clock = settings, verdict, clock
        self._opens: list[Open] = []
        self._loose: dict[tuple[str, int], list[tuple[int, int, int, bytes]]] = {}
        self._spare: deque[np.ndarray] = deque(maxlen=2)  # memory of segments that are written, for the next ones
        self._given = self._dropped = self._strangers = 0
        self._writer = Writer(settings.folder, settings.limits, self._spare.append)

    def add(
        self,
        kind: str,
        linktype: int,
        keys: np.ndarray,
        ts: np.ndarray,
        offset: np.ndarray,
        caplen: np.ndarray,
        wirelen: np.ndarray,
        data: np.ndarray,
    ) -> None:
        """Packets of class `kind`: one element a packet, `caplen` bytes of each are kept, `data` (uint8) is copied."""
        if len(ts):
            self._given += len(ts)
            self._add(kind, linktype, keys, ts, offset, caplen, wirelen, data)

    def add_frames(self, kind: str, linktype: int, key: int, frames: list[tuple[int, int, bytes]]) -> None:
        """Single packets of one key, each (ns, length on the wire, what is kept of it)."""
        self._given += len(frames)
        loose = self._loose.setdefault((kind, linktype), [])
        loose.extend((key, *frame) for frame in frames)
        if len(loose) >= MOST_LOOSE:
            self._gather()

    def limit(self, settings: StoreSettings) -> None:
        """Other limits from now on; what is kept is as it was."""
        self._settings = replace(self._settings, limits=settings.limits, segment=settings.segment)
        self._writer.limits = settings.limits

    def tick(self) -> None:
        """Hand on what is old enough. To be called all the time; it costs next to nothing if nothing is due."""
        self._gather()
        due = self._clock() - AGE
        for staged in [staged for staged in self._opens if staged.since <= due]:
            self._seal(staged)

    def seal(self) -> int:
        """Hand on all that is staged, whatever its size; a number for `written`."""
        self._gather()
        for staged in list(self._opens):
            self._seal(staged)
        return self._writer.begun

    def written(self, number: int) -> bool:
        """Whether everything is dealt with that was handed on when `seal` gave this number."""
        return self._writer.finished >= number

    def close(self, deadline: float) -> None:
        """Hand on everything, and wait for the writer until `deadline` (time.monotonic()). What nobody has named until
        now is dropped."""
        verdict = self._verdict
        self._verdict = lambda keys: np.where(verdict(keys) == KEEP, KEEP, DROP)
        self.seal()
        self._writer.close(deadline)

    @property
    def counters(self) -> dict[str, int]:
        """Totals since the start, and what is held now; the pool's oldest packets in ns, 0: none."""
        writer = self._writer
        with writer.lock:
            counts = writer.counts
            return {
                "pool_given_packets_total": self._given,
                "pool_stored_packets_total": counts["stored_packets"],
                "pool_stored_bytes_total": counts["stored_bytes"],
                "pool_segments_total": counts["segments"],
                "pool_dropped_packets_total": self._dropped,
                "pool_failed_packets_total": counts["failed_packets"],
                "pool_stranger_packets_total": self._strangers,
                "pool_staged_packets": sum(staged.packets for staged in self._opens)
                + sum(map(len, self._loose.values())),
                "pool_waiting_packets": writer.waiting_packets,
                **{f"pool_evicted_{why}_bytes_total": counts[f"evicted_{why}_bytes"] for why in REASONS},
                **{f"pool_evicted_{kind}_bytes_total": counts[f"evicted_{kind}_bytes"] for kind in KINDS},
                "pool_evicted_segments_total": counts["evicted_segments"],
                "pool_damaged_segments": counts["damaged_segments"],
                **writer.held(),
            }

    # -- inside ------------------------------------------------------------------------------------------

    def _gather(self) -> None:
        """Stage the single packets: many at once cost little more than one."""
        loose, self._loose = self._loose, {}
        for (kind, linktype), packets in loose.items():
            keys, ts, wirelen, frames = zip(*packets, strict=True)
            columns = np.array(keys, np.uint64), np.clip(np.array(ts, np.int64), 0, MAX_NS), np.array(wirelen, np.int64)
            size, first, last = sum(map(len, frames)), int(columns[1].min()), int(columns[1].max())
            if size < self._settings.segment // 4 and last - first <= SPAN_NS // 2 and max(map(len, frames)) < PLAIN:
                staged = self._open(kind, linktype, first, last)
                staged.add_single(*columns, frames)
                self._staged(staged)
                continue
            sizes = np.fromiter(map(len, frames), np.int64, len(frames))
            data = np.frombuffer(b"".join(frames), np.uint8)
            self._add(kind, linktype, *columns[:2], np.cumsum(sizes) - sizes, sizes, columns[2], data)

    def _add(self, kind, linktype, keys, ts, offset, caplen, wirelen, data) -> None:
        ts = np.clip(ts, 0, MAX_NS)
        caplen = np.clip(caplen, 0, MAX_CAPTURED)
        wirelen = np.clip(wirelen, caplen, (1 << 32) - 1)
        first, last = int(ts.min()), int(ts.max())
        if last - first <= SPAN_NS // 2:
            self._stage(kind, linktype, (keys, ts, offset, caplen, wirelen), data)
            return
        part = ts // (SPAN_NS // 2)
        for one in np.unique(part):
            which = part == one
            columns = tuple(column[which] for column in (keys, ts, offset, caplen, wirelen))
            self._stage(kind, linktype, columns, data)

    def _stage(self, kind: str, linktype: int, columns: tuple[np.ndarray, ...], data: np.ndarray) -> None:
        """Packets of nearly one time: into the segment that they fit, in pieces if need be."""
        ends = np.cumsum(columns[3] + RECORD_HEAD)
        at = 0
        while at < len(ends):
            before = int(ends[at - 1]) if at else 0
            staged = self._open(kind, linktype, int(columns[1].min()), int(columns[1].max()))
            room = max(1, self._settings.segment - staged.size)
            stop = max(at + 1, int(np.searchsorted(ends, before + room, "right")))
            staged.add(*(column[at:stop] for column in columns), data)
            self._staged(staged, full=stop < len(ends))
            at = stop

    def _staged(self, staged: Open, full: bool = False) -> None:
        """Something was added to it; whether no more of what there is fits in."""
        staged.touched = self._clock()
        if full or staged.size >= self._settings.segment:
            self._seal(staged)
        while sum(staged.size for staged in self._opens) > MOST_STAGED:
            self._seal(max(self._opens, key=lambda staged: staged.size))

    def _open(self, kind: str, linktype: int, first: int, last: int) -> Open:
        for staged in self._opens:
            if (staged.kind, staged.linktype) == (kind, linktype) and staged.span_with(first, last) <= SPAN_NS:
                return staged
        if len(self._opens) >= MOST_OPEN:
            self._seal(min(self._opens, key=lambda staged: staged.touched))
        self._opens.append(Open(kind, linktype, self._clock()))
        return self._opens[-1]

    def _seal(self, staged: Open) -> None:
        self._opens.remove(staged)
        verdict = None if staged.kind == "sip" else self._verdict
        try:
            sealed, carried, strangers = staged.seal(verdict, self._settings.segment // 2, self._memory)
        except Exception:  # it must not end the capture
            log.exception("%s: a segment of %d packets is lost by a defect, report this", self._settings.folder,
                          staged.packets)  # fmt: skip
            self._dropped += staged.packets
            return
        self._strangers += strangers
        if carried:
            carried.since = carried.touched = self._clock()
            self._opens.append(carried)
        if sealed and not self._writer.put(sealed):
            self._dropped += sealed.packets
            self._spare.append(sealed.memory)

    def _memory(self, size: int) -> np.ndarray:
        """Memory that was used before has its pages: new one costs more than what is copied into it."""
        while self._spare:
            spare = self._spare.popleft()
            if len(spare) >= size + PAGE:
                return spare
        new = mmap.mmap(-1, max(size, self._settings.segment) + (1 << 16))
        with contextlib.suppress(OSError, AttributeError):
            new.madvise(mmap.MADV_HUGEPAGE)  # packets are strewn over all of it
        return np.frombuffer(new, np.uint8)
