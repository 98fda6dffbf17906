"""Erasures that have begun: on the disk until they are done. Whatever ends this instance in the middle, the next one
carries them out; a database that has erased does not know any more who had the packets."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from voipfleet.errors import VoipfleetError
from voipfleet.whole import put, sync_folder

log = logging.getLogger("voipfleet.manager")
FILE = "erasing.json"
LOOK = 5.0  # s between looks at what is to be carried out again
AGAIN = 300.0  # s until what failed by a defect is tried again


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
        for text in (self.call, *(one for host in self.hosts for one in host)):
            if len(bytes.fromhex(text)) not in (0, 16):
                raise ValueError("no uuid")


class Begun:
    """In a file of the spool folder, readable by the daemon only: what is to be erased may be a number."""

    def __init__(self, spool: Path):
        self._path = spool / FILE
        self._notes: list[Note] = []
        self._left: dict[int, float] = {}  # notes that nobody works on, by identity, and when they are due
        self._turn = asyncio.Lock()
        try:
            self._notes = msgspec.json.decode(self._path.read_bytes(), type=list[Note])
            self._left = {id(note): 0.0 for note in self._notes}
        except FileNotFoundError:
            pass
        except (msgspec.MsgspecError, OSError, RecursionError) as error:
            log.error("%s: cannot be read (%s); what was being erased when the last instance ended is not known any"
                      " more, order it again (`voipfleet audit --event erase` has what was done)", self._path,
                      error)  # fmt: skip

    @property
    def notes(self) -> list[Note]:
        return list(self._notes)

    @asynccontextmanager
    async def noted(self, note: Note) -> AsyncIterator[None]:
        """While it is carried out. If the database is away, nobody knows whether it has erased: it is tried again."""
        self._notes.append(note)
        try:
            await self._save()
            yield
        except VoipfleetError as error:
            if error.temporary:
                self._left[id(note)] = asyncio.get_running_loop().time() + LOOK
                raise VoipfleetError(f"{error}; it is erased as soon as the database answers") from error
            await self._over(note)
            raise
        except Exception:
            await self._over(note)
            raise
        await self._over(note)

    async def run(self, carry_out: Callable[[Note], Awaitable[None]]) -> None:
        """For ever; `carry_out` raises VoipfleetError where it is refused."""
        while True:
            await asyncio.sleep(LOOK)
            for note in self.notes:
                if self._left.get(id(note), float("inf")) <= asyncio.get_running_loop().time():
                    await self._again(note, carry_out)

    # -- inside --------------------------------------------------------------------------------------

    async def _again(self, note: Note, carry_out: Callable[[Note], Awaitable[None]]) -> None:
        now = asyncio.get_running_loop().time()
        try:
            await carry_out(note)
        except VoipfleetError as error:
            if error.temporary:
                self._left[id(note)] = now + LOOK
                return
            log.warning("an erasure that had begun is not carried out: %s", error)
        except Exception:
            log.exception("an erasure that had begun failed by a defect, report this; it is tried again")
            self._left[id(note)] = now + AGAIN
            return
        await self._over(note)

    async def _over(self, note: Note) -> None:
        self._left.pop(id(note), None)
        self._notes = [one for one in self._notes if one is not note]
        await self._save()

    async def _save(self) -> None:
        async with self._turn:
            try:
                await asyncio.to_thread(self._write, msgspec.json.encode(self._notes))
            except (OSError, ValueError) as error:  # the latter of a text that is none in UTF-8
                why = getattr(error, "strerror", "") or type(error).__name__
                log.error("%s: cannot be written (%s), an erasure that a kill cuts short would not be carried out; make"
                          " room there", self._path, why)  # fmt: skip

    def _write(self, content: bytes) -> None:
        put(self._path, content)
        sync_folder(self._path.parent)
