"""The store as the courier sees it: packets of a call are given out, held, released and erased; room is given back.

What may take long runs beside the event loop, so that many may ask at a time. Errors are VoipfleetError.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from voipfleet.calls.record import CallRecord
from voipfleet.errors import VoipfleetError
from voipfleet.packetstore import calls, catalogue, erase, holds, retention
from voipfleet.packetstore.calls import CallIndex, Known
from voipfleet.packetstore.holds import Hold
from voipfleet.packetstore.reader import Plan, Stream, plan
from voipfleet.packetstore.segment import KINDS
from voipfleet.packetstore.writer import AGE, StoreSettings
from voipfleet.tasks import to_its_end

log = logging.getLogger("voipfleet.pool")
AT_ONCE = 256 << 10  # bytes that are read for one send
SEAL_EVERY = 2.0  # s, at least, from one seal for packets that may have come late to the next
STAGED_NS = int((2 * AGE + 60) * 1e9)  # how long ago a call must be over so that nothing of it is staged
VOICE = "its voice was left out: who may have it is in group voipfleet-listen"
Seal = Callable[[], Awaitable[None]]
Forget = Callable[[Collection[bytes], str], Awaitable[int]]


async def _nothing(uuids: Collection[bytes], number: str) -> int:
    return 0


class Pool:
    """`seal()`: the engine writes what it has staged, and this returns when that is on the disk. `forget(uuids,
    number)` erases what else this host has of calls: records that wait, or are kept for a replay. `late`: other hosts'
    packets come here, so that those of a call may come long after it."""

    def __init__(self, settings: StoreSettings, seal: Seal, forget: Forget = _nothing, *, late: bool = False):
        self._settings, self._seal, self._forget, self._late = settings, seal, forget, late
        self._folder = settings.folder
        self._calls = CallIndex(settings.folder)
        self._threads = ThreadPoolExecutor(4, "pool")
        self._fetches: Counter[str] = Counter()  # by how they ended
        self._fetched = 0  # bytes
        self._turn = asyncio.Lock()  # of those who hold, release or erase
        self._sealing: asyncio.Task | None = None
        self._sealed = 0.0  # when that began, time.monotonic()
        self._recover()

    def put(self, call: CallRecord) -> None:
        """A record that this host has made; never waits."""
        self._calls.put(call)

    def report(self) -> dict:
        """For `voipfleet status`, since the start."""
        return {"fetches": dict(self._fetches), "fetched_bytes": self._fetched, "calls_dropped": self._calls.dropped}

    def limit(self, settings: StoreSettings) -> None:
        """Other limits from now on."""
        self._settings = replace(self._settings, limits=settings.limits)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._calls.close()

    async def find(self, name: str) -> CallRecord | None:
        """The record of a call by its uuid (hexadecimal) or its Call-ID, of several the latest."""
        if len(name) == 32:
            with suppress(ValueError):
                if known := await self._beside(self._calls.find, bytes.fromhex(name)):
                    return known.record
        found = await self._beside(self._calls.by_call_id, name)
        return found[0].record if found else None

    async def fetch(self, uuid: bytes, offset: int, audio: bool, send: Callable[[bytes], Awaitable[None]]) -> dict:
        """Send all packets of a call from byte `offset` on; without `audio` no voice. {"bytes", "digest", "packets",
        "missing"}, of all from byte 0."""
        end = "failed"
        try:
            said = await self._send(uuid, offset, audio, send)
            end = "ok"
            return said
        except (asyncio.CancelledError, ConnectionError):
            end = "left"
            raise
        finally:
            self._fetches[end] += 1

    async def _send(self, uuid: bytes, offset: int, audio: bool, send: Callable[[bytes], Awaitable[None]]) -> dict:
        found, why, unwritten = await self._plan(uuid)
        stream = Stream(found, offset=offset, cut_audio=not audio)
        parts = iter(stream)

        def some() -> bytes:
            out, size = [], 0
            for part in parts:
                out.append(part)
                size += len(part)
                if size >= AT_ONCE:
                    break
            return b"".join(out)

        while data := await self._beside(some):
            for at in range(0, len(data), AT_ONCE):
                await send(data[at : at + AT_ONCE])
                self._fetched += min(AT_ONCE, len(data) - at)
        missing = "; ".join(filter(None, (stream.missing, unwritten, why if not stream.packets else "")))
        said = {"bytes": stream.bytes, "digest": stream.digest, "packets": stream.packets, "missing": missing}
        voice = not audio and any(piece.kind == "audio" for piece in found.pieces)
        return said | ({"note": VOICE} if voice else {})

    async def hold(self, uuid: bytes, who: str, why: str) -> dict:
        """Copy what is kept of a call into its hold. `missing`: what could not be."""
        return await self._in_turn(self._hold, uuid, who, why)

    async def release(self, uuid: bytes) -> dict:
        return await self._in_turn(self._release, uuid)

    async def erase(self, what: bytes | str) -> dict:
        """A call by its uuid, or all calls of a number: packets, holds, records, and that they were. {"calls",
        "packets", "records", "missing"}."""
        return await self._in_turn(self._erase, what)

    async def state(self, dry_run: bool) -> dict:
        """What is held, by class; with `dry_run` also what retention would remove now."""
        return await self._beside(self._state, dry_run)

    async def give_back(self, missing: int) -> int:
        """Remove the oldest segments until there are `missing` bytes more; how many bytes that were (room.Giver)."""
        try:
            given = await self._beside(retention.give_back, self._folder, missing)
        except VoipfleetError as error:
            log.warning("%s", error)
            return 0
        if given:
            log.warning("%s: the oldest packets are given up for records (%d MB)", self._folder, given >> 20)
        return given

    # -- inside ------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Before anybody holds, for what is being made looks like what a kill has left."""
        try:
            if removed := holds.recover(self._folder):
                log.warning("%s: %d files of holds that were not finished are removed", self._folder, removed)
        except OSError as error:
            log.warning("%s: holds cannot be looked at (%s); check the disk", self._folder, error.strerror or error)

    async def _in_turn(self, work: Callable[..., Awaitable[dict]], *arguments) -> dict:
        """One at a time: a copy that is made while its call is erased would outlive that. To its end even where who
        asked has gone, since a thread does not stop for that."""

        async def turn() -> dict:
            async with self._turn:
                return await work(*arguments)

        return await to_its_end(turn())

    async def _hold(self, uuid: bytes, who: str, why: str) -> dict:
        known, _ = await self._known(uuid)
        found, unwritten = await self._kept(known) if known else (Plan(), "")
        made = await self._beside(
            lambda: holds.hold(self._folder, uuid, found, who=who, why=why, floor=self._settings.limits.floor)
        )
        return {"bytes": made.plan.bytes, "who": made.who, "why": made.why, "at": made.at,
                "missing": "; ".join(filter(None, (made.missing, unwritten)))}  # fmt: skip

    async def _release(self, uuid: bytes) -> dict:
        if not await self._beside(holds.release, self._folder, uuid):
            raise VoipfleetError(f"{uuid.hex()}: this call is not held here; `voipfleet ctl pool` lists those that are")
        return {"released": True}

    async def _erase(self, what: bytes | str) -> dict:
        if isinstance(what, str):
            known = await self._beside(self._calls.by_number, what)
        else:
            found = await self._beside(self._calls.find, what)
            known = [found] if found else []
        if fault := self._calls.fault:
            raise VoipfleetError(f"{self._folder / calls.NAME}: cannot be used ({fault}), so nobody knows which packets"
                                 " are meant and nothing was erased; make room, then erase again")  # fmt: skip
        uuids = {call.record.uuid for call in known} | ({what} if isinstance(what, bytes) else set())
        records = await self._forget(uuids, what if isinstance(what, str) else "")
        if unwritten := await self._fresh(known):
            raise VoipfleetError(unwritten)
        packets = damaged = broken = stays = 0
        for call in known:
            done = await self._beside(erase.erase, self._folder, call.keys, call.first, call.last)
            packets, damaged, broken = packets + done.packets, damaged + done.damaged, broken + done.broken
            await self._beside(holds.release, self._folder, call.record.uuid)
            stays += not await self._beside(self._calls.remove, call.record.uuid)
        held = isinstance(what, bytes) and await self._beside(holds.release, self._folder, what)
        await self._beside(self._calls.forget_damaged)  # nobody can say whose calls these files have
        if isinstance(what, bytes) and not (known or held or records):
            raise VoipfleetError(f"{what.hex()}: this call is not known here; nothing was erased")
        return {"calls": len(known), "packets": packets, "records": records,
                "missing": _missing(damaged, broken, stays)}  # fmt: skip

    async def _plan(self, uuid: bytes) -> tuple[Plan, str, str]:
        """Where a call's packets are, in segments or in its hold, whichever has more; why, if there are none; and what
        of it is not on the disk yet, a sentence."""
        known, held = await self._known(uuid)
        if known is None:
            return held.plan, "", ""
        found, unwritten = await self._kept(known)
        if held and held.plan.bytes > found.bytes:
            found = held.plan
        return found, "no packets of this call are kept here any more, or none were", unwritten

    async def _known(self, uuid: bytes) -> tuple[Known | None, Hold | None]:
        """What is known of a call: one of both at least."""
        known = await self._beside(self._calls.find, uuid)
        held = await self._beside(holds.get, self._folder, uuid)
        if known is None and held is None:
            raise VoipfleetError(f"{uuid.hex()}: this call is not known here: it is of another host, or older than all"
                                 " packets that are kept; its record says which hosts saw it")  # fmt: skip
        return known, held

    async def _kept(self, known: Known) -> tuple[Plan, str]:
        """Where its packets are in segments, and what _fresh says."""
        unwritten = await self._fresh([known])
        return await self._beside(plan, self._folder, known.keys, known.first, known.last), unwritten

    async def _fresh(self, known: list[Known]) -> str:
        """What the engine has of these calls is on the disk after this. Of one that ended just now, that is all of it;
        of an older one it is what had come SEAL_EVERY ago, where any can come late. A sentence where it could not be
        had to write; else ""."""
        try:
            if any(call.last > time.time_ns() - STAGED_NS for call in known):
                await self._seal()
            elif self._late and known:
                if not self._sealing or (self._sealing.done() and time.monotonic() >= self._sealed + SEAL_EVERY):
                    self._sealed, self._sealing = time.monotonic(), asyncio.ensure_future(self._seal())
                await asyncio.shield(self._sealing)
        except VoipfleetError as error:
            return f"the newest packets are not on the disk yet ({error})"
        return ""

    def _state(self, dry_run: bool) -> dict:
        found = catalogue.read(self._folder)
        limits, now = self._settings.limits, time.time_ns()
        classes = {
            kind: {"segments": len(found.entries[kind]), "bytes": found.size[kind], "oldest_ns": found.oldest(kind)}
            for kind in KINDS
        }
        said = {"folder": str(self._folder), "bytes": sum(found.size.values()), "classes": classes,
                "limit_bytes": limits.size, "floor_bytes": limits.floor,
                "held": [{"uuid": held.uuid.hex(), "who": held.who, "why": held.why, "at": held.at,
                          "bytes": held.plan.bytes} for held in holds.listed(self._folder)]}  # fmt: skip
        if dry_run:
            said["dry_run"] = retention.dry_run(self._folder, limits, now)
        return said

    async def _beside(self, function: Callable, *arguments):
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        except OSError as error:
            raise VoipfleetError(f"{self._folder}: {error.strerror or error}; check the disk and its rights") from error


def _missing(damaged: int, broken: int, stays: int) -> str:
    """What an erasure did not reach, in words; empty if it reached everything."""
    said = {
        f"{damaged} segments are damaged and were not searched": damaged,
        f"{broken} runs of packets were damaged; they were overwritten as a whole, and not counted": broken,
        f"{stays} calls are still in {calls.NAME}, which could not be written; make room, then erase again": stays,
    }
    return "; ".join(words for words, count in said.items() if count)
