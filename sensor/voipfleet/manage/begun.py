"""Erasures that have begun: on the disk until they are done. Whatever ends this instance in the middle, the next one
carries them out; a database that has erased does not know any more who had the packets."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from voipfleet.errors import VoipfleetError
from voipfleet.whole import PART, put, sync_folder

log = logging.getLogger("voipfleet.manager")
FILE = "erasing.json"
LOOK = 5.0  # s between looks at what is to be carried out again
AGAIN, LONGEST = 5.0, 3600.0  # s until it is tried again; the pause doubles, up to the second


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who ordered it; a call (its uuid, hexadecimal) or a number; and which hosts have packets, as far as that is known
    before: of a call each with the uuid that it has there, all hexadecimal."""

    who: str
    call: str = ""
    number: str = ""
    hosts: list[tuple[str, str]] = []

    def __post_init__(self) -> None:
        if bool(self.call) == bool(self.number):
            raise ValueError("a call or a number, one of both")
        for host, part in (("00" * 16, self.call), *self.hosts):
            if len(bytes.fromhex(host)) != 16 or len(bytes.fromhex(part)) not in (0, 16):
                raise ValueError("no uuid")


class Begun:
    """In a file of the spool folder, readable by the daemon only: what is to be erased may be a number."""

    def __init__(self, spool: Path):
        self._path = spool / FILE
        self._notes: list[Note] = []
        self._left: dict[int, tuple[float, float]] = {}  # notes on which nobody works: when each is due, and its pause
        self._turn, self._unsaved, self._closing = asyncio.Lock(), False, False
        try:
            self._path.with_name(FILE + PART).unlink(missing_ok=True)
            self._notes = msgspec.json.decode(self._path.read_bytes(), type=list[Note])
            self._left = {id(note): (0.0, AGAIN) for note in self._notes}
        except FileNotFoundError:
            pass
        except (ValueError, OSError, RecursionError) as error:
            log.error("%s: cannot be read (%s); what was being erased when the last instance ended is not known any"
                      " more, order it again (`voipfleet audit --event erase` has what was done)", self._path,
                      type(error).__name__)  # fmt: skip

    @property
    def notes(self) -> list[Note]:
        return list(self._notes)

    def close(self) -> None:
        """This instance ends: what is under way from now on is for the next."""
        self._closing = True

    @asynccontextmanager
    async def noted(self, note: Note) -> AsyncIterator[None]:
        """While it is carried out. What the database refuses is over; in any other case nobody knows whether it has
        erased, so it is tried again."""
        self._notes.append(note)
        try:
            kept = await self._save()
            yield
        except Exception as error:
            if isinstance(error, VoipfleetError) and not error.temporary:
                await self._over(note)
                raise
            self._later(note, AGAIN)
            if not isinstance(error, VoipfleetError):
                raise
            how = "" if kept else ", unless this instance ends before"
            raise VoipfleetError(f"{error}; it is erased as soon as the database answers{how}") from error
        await self._over(note)

    async def run(self, carry_out: Callable[[Note], Awaitable[None]]) -> None:
        """For ever; `carry_out` raises VoipfleetError where it is refused, a temporary one where some of it is left."""
        while True:
            await asyncio.sleep(LOOK)
            if self._unsaved:
                await self._save()
            for note in self.notes:
                due, pause = self._left.get(id(note), (float("inf"), AGAIN))
                if due <= asyncio.get_running_loop().time():
                    await self._again(note, pause, carry_out)

    # -- inside --------------------------------------------------------------------------------------

    async def _again(self, note: Note, pause: float, carry_out: Callable[[Note], Awaitable[None]]) -> None:
        try:
            await carry_out(note)
        except VoipfleetError as error:
            if error.temporary:
                self._later(note, min(2 * pause, LONGEST))
                return
            log.warning("an erasure that had begun is not carried out: %s", error)
        except Exception:
            log.exception("an erasure that had begun failed by a defect, report this; it is tried again")
            self._later(note, min(2 * pause, LONGEST))
            return
        await self._over(note)

    def _later(self, note: Note, pause: float) -> None:
        self._left[id(note)] = asyncio.get_running_loop().time() + pause, pause

    async def _over(self, note: Note) -> None:
        if self._closing:
            return
        self._left.pop(id(note), None)
        self._notes = [one for one in self._notes if one is not note]
        await self._save()

    async def _save(self) -> bool:
        """What is over must leave the file, or the next process would erase calls made since: it is tried again, and
        where nothing is left the file goes, which needs no room."""
        async with self._turn:
            try:
                await asyncio.to_thread(self._write, msgspec.json.encode(self._notes) if self._notes else b"")
                self._unsaved = False
            except (OSError, ValueError) as error:
                if not self._unsaved:
                    why = getattr(error, "strerror", "") or type(error).__name__
                    log.error("%s: cannot be written (%s); until it can, a kill may lose an erasure that has begun, or"
                              " have one done again; make room there", self._path, why)  # fmt: skip
                self._unsaved = True
            return not self._unsaved

    def _write(self, content: bytes) -> None:
        if content:
            put(self._path, content)
        else:
            self._path.unlink(missing_ok=True)
        sync_folder(self._path.parent)
