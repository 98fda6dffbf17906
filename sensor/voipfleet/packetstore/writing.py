"""The thread that writes segments and gives up old ones. What it waits for, the interpreter is free meanwhile.

A segment is whole once its pcap has its name: both files are written under other names and synced first. A disk that
refuses costs the segment, counted, and nothing else.
"""

import contextlib
import errno
import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from voipfleet.packetstore import catalogue as catalogues
from voipfleet.packetstore.catalogue import PAGE, Catalogue, Entry, path_of, taken
from voipfleet.packetstore.retention import Clock, Limits, Space, decide, space
from voipfleet.packetstore.segment import HOUR_NS, IDX, KINDS, PCAP, name_of
from voipfleet.packetstore.staging import Sealed
from voipfleet.whole import PART, sync_folder

log = logging.getLogger("voipfleet.pool")
UPKEEP = 60.0  # s, at most, from one look at what is too old to the next
LOOK_AT_OURS = 10  # times of those after which it looks at what it has changed itself
MOST_WAITING, MOST_WAITING_BYTES = 64, 96 << 20  # segments that wait to be written (three full ones), the one that is
# being written included
RETRY_ROOM = 1 << 20  # bytes that are given up in addition when a disk turned out to be full
DIRECT_FROM = 256 << 10  # bytes of a pcap that is written past the cache
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Writer:
    """`put` never waits. `counts` and what is held are read under `lock`; `done(memory)` is told what memory is not
    needed any more."""

    def __init__(self, folder: Path, limits: Limits, done: Callable[[object], None] = lambda memory: None):
        self._folder, self.limits, self._done = folder, limits, done
        self.catalogue = Catalogue()
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()
        self._waiting: deque[Sealed] = deque()
        self.waiting_packets = self.waiting_bytes = 0
        self.begun = self.finished = 0  # segments that were put; that are dealt with
        self._wake = threading.Condition(self.lock)
        self._closing = False
        self.fault = ""  # what is wrong now
        self._direct = hasattr(os, "O_DIRECT")
        self._hours: dict[str, int] = {}  # when each folder was changed last (ns), as far as it is known
        self._touched: set[str] = set()  # that were changed here
        self._looks = 0
        self._clock = Clock(time.time_ns, time.monotonic_ns)
        self._thread = threading.Thread(target=self._run, name="pool", daemon=True)
        self._thread.start()

    def put(self, sealed: Sealed) -> bool:
        """False, and nothing else, if it cannot wait."""
        size = sealed.size
        with self.lock:
            waits = len(self._waiting)
            if waits >= MOST_WAITING or (waits and self.waiting_bytes + size > MOST_WAITING_BYTES):
                return False
            self._waiting.append(sealed)
            self.waiting_packets += sealed.packets
            self.waiting_bytes += size
            self.begun += 1
            self._wake.notify()
        return True

    def close(self, deadline: float) -> bool:
        """Write what waits, until `deadline` (time.monotonic()); whether all is written."""
        with self.lock:
            self._closing = True
            self._wake.notify()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    # -- the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        with self._told():
            self._recover()
            self._upkeep()
        due = time.monotonic() + UPKEEP
        while True:
            with self.lock:
                if not self._waiting and not self._closing and due > time.monotonic():
                    self._wake.wait(due - time.monotonic())
                sealed = self._waiting[0] if self._waiting else None
                if sealed is None and self._closing:
                    return
            if time.monotonic() >= due:
                due = time.monotonic() + UPKEEP
                with self._told():
                    self._upkeep()
            if sealed is not None:
                fine = False
                with self._told():
                    fine = self._keep(sealed)
                self._settle(sealed, fine)

    def _settle(self, sealed: Sealed, fine: bool) -> None:
        if fine and self.fault:
            self.fault = ""
            log.warning("%s: packets are kept again", self._folder)
        with self.lock:
            self._waiting.popleft()
            self.waiting_packets -= sealed.packets
            self.waiting_bytes -= sealed.size
            self.finished += 1
            if fine:
                self.counts["stored_packets"] += sealed.packets
                self.counts["stored_bytes"] += sealed.size
                self.counts["segments"] += 1
            else:
                self.counts["failed_packets"] += sealed.packets
        self._done(sealed.memory)

    def _recover(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _, damaged = catalogues.recover(self._folder)
        if damaged:
            self.counts["damaged_segments"] = damaged
            log.warning("%s: %d segments have no index, nothing can be found in them; check the disk", self._folder,
                        damaged)  # fmt: skip

    def _upkeep(self) -> None:
        """What others did to the files, and what has become too old."""
        self._look()
        now = self._clock.now(self.catalogue.newest)
        if now and self._clock.settled:
            self._date_back(now)
        self._evict(self._decide())

    def _look(self) -> None:
        """Read the folders of those hours again that have changed; what this thread has changed itself, not every
        time."""
        seen = {}
        for hour in catalogues.hours(self._folder):
            with contextlib.suppress(FileNotFoundError):
                seen[hour] = (self._folder / hour).stat().st_mtime_ns
        self._looks += 1
        changed = {hour for hour, at in seen.items() if self._hours.get(hour) != at}
        later = changed & self._touched if self._looks % LOOK_AT_OURS else set()
        changed -= later
        if changed or seen.keys() != self._hours.keys():
            entries = [entry for entry in self.catalogue if entry.name.hour in seen.keys() - changed]
            for hour in changed:
                entries += catalogues.segments_of(self._folder / hour)[0]
            with self.lock:
                self.catalogue.fill(entries)
        self._touched &= later
        self._hours = {hour: self._hours.get(hour, 0) if hour in later else at for hour, at in seen.items()}

    def _date_back(self, now: int) -> None:
        """What was written at a time that has not come yet (the clock was wrong) ages from now on."""
        for kind in KINDS:
            entries = self.catalogue.entries[kind]
            while entries and entries[-1].written > now + HOUR_NS:
                with contextlib.suppress(FileNotFoundError):
                    os.utime(path_of(self._folder, entries[-1].name, PCAP), ns=(now, now))
                with self.lock:
                    entry = entries.pop()
                    self.catalogue.size[kind] -= entry.size
                    self.catalogue.add(entry._replace(written=now))

    def _decide(self, kind: str = "sip", coming: int = 0, room: Space | None = None):
        return decide(self.catalogue, self.limits, room or space(self._folder), kind=kind, coming=coming,
                      now=self._clock.now(self.catalogue.newest))  # fmt: skip

    def _evict(self, decision) -> None:
        for entry, why in decision.goes:
            there = catalogues.remove(self._folder, entry.name)
            self._touched.add(entry.name.hour)
            with self.lock:
                self.catalogue.drop_oldest(entry.kind, 1)
                if there:
                    self.counts["evicted_segments"] += 1
                    self.counts[f"evicted_{why}_bytes"] += entry.size
                    self.counts[f"evicted_{entry.kind}_bytes"] += entry.size

    def _keep(self, sealed: Sealed) -> bool:
        """Write a segment, with room made for it; False where there is none. Raises OSError."""
        coming = taken(sealed.size, len(sealed.index))
        decision = self._decide(sealed.kind, coming)
        self._evict(decision)
        if not decision.fits:
            raise OSError(errno.ENOSPC, "the free space that is to stay, or the limit, leaves no room")
        try:
            self._write(sealed, coming)
        except FileNotFoundError:  # somebody who removed segments took the folder for an empty one
            self._write(sealed, coming)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            short = Space(self.limits.floor - RETRY_ROOM)  # as if that much were missing
            decision = self._decide(sealed.kind, coming, short)
            if not decision.goes:
                raise
            self._evict(decision)
            self._write(sealed, coming)
        return True

    def _write(self, sealed: Sealed, size: int) -> None:
        chance = int.from_bytes(os.urandom(2), "big")
        name = name_of(sealed.kind, sealed.first, sealed.last, sealed.linktype, chance)
        pcap, idx = path_of(self._folder, name, PCAP), path_of(self._folder, name, IDX)
        parts = [path.with_name(path.name + PART) for path in (pcap, idx)]
        if not pcap.parent.exists():
            pcap.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_folder(self._folder)
        try:
            written = self._write_past_cache(parts[0], sealed)
            _write_synced(parts[1], sealed.index)
            parts[1].rename(idx)
            parts[0].rename(pcap)
        except OSError:
            for path in (*parts, idx):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            catalogues.forget_hour(pcap.parent)
            raise
        sync_folder(pcap.parent)
        self._touched.add(name.hour)
        with self.lock:
            self.catalogue.add(Entry(written, name, size))

    def _write_past_cache(self, path: Path, sealed: Sealed) -> int:
        """The pcap, past the cache where the file system can: that is a tenth of the CPU time, and leaves the cache to
        those who read. When it was written, ns. Raises OSError."""
        whole = -(-sealed.size // PAGE) * PAGE
        if self._direct and sealed.size >= DIRECT_FROM and len(sealed.memory) >= whole:
            sealed.memory[sealed.size : whole] = 0
            try:
                return _write_synced(path, sealed.memory[:whole], size=sealed.size, flags=os.O_DIRECT)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._direct = False
                path.unlink(missing_ok=True)
        return _write_synced(path, sealed.memory[: sealed.size])

    @contextlib.contextmanager
    def _told(self):
        """A fault ends nothing: that of a disk is told once."""
        try:
            yield
        except OSError as error:
            if not self.fault:
                self.fault = error.strerror or str(error)
                log.error("%s: packets cannot be kept (%s), and are counted; make room, or the folder writable",
                          self._folder, self.fault)  # fmt: skip
        except Exception:
            log.exception("%s: a segment was lost by a defect, report this", self._folder)

    def held(self) -> dict[str, int]:
        """Bytes, and the oldest packets' times, by class; under `lock`."""
        sizes = {f"pool_{kind}_bytes": size for kind, size in self.catalogue.size.items()}
        oldest = {f"pool_{kind}_oldest_ns": self.catalogue.oldest(kind) for kind in KINDS}
        return {
            **sizes, **oldest,
            "pool_bytes": sum(sizes.values()),
            "pool_oldest_ns": min(filter(None, oldest.values()), default=0),
        }  # fmt: skip


def _write_synced(path: Path, content, *, size: int | None = None, flags: int = 0) -> int:
    """Write a file, of which `size` bytes stay (None: all). When it was written, ns. Raises OSError."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file, rest) :]
        if size is not None:
            os.ftruncate(file, size)
        os.fsync(file)
        return os.fstat(file).st_mtime_ns
    finally:
        os.close(file)
