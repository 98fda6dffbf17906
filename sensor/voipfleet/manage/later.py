"""What is to be erased on other hosts: on the disk until they have done it, also over restarts of this instance, and
done by those that were away when they are back."""

import asyncio
import contextlib
import json
import logging
import time
from pathlib import Path

from voipfleet.asking.asker import no_data
from voipfleet.asking.messages import Unreached
from voipfleet.errors import VoipfleetError
from voipfleet.manage.request import as_uuid
from voipfleet.tasks import end_all
from voipfleet.whole import put, sync_folder

log = logging.getLogger("voipfleet.manager")
FILE = "erase.json"
MAX_WAITING = 10_000  # of all hosts
LOOK = 5.0  # s between looks who is back
AGAIN, LONGEST = 60.0, 3600.0  # s until a host that did not answer is asked again; the pause doubles, up to the second
AT_ONCE = 8  # hosts: one of an older release never answers, and must not keep others waiting


class Later:
    """In a file of the spool folder, readable by the daemon only: what is to be erased may be a number."""

    def __init__(self, spool: Path):
        self._path = spool / FILE
        self._waiting: dict[str, dict] = {}
        self._asked: set[str] = set()  # of them, what a command is about just now
        self._tried: dict[str, tuple[float, float]] = {}  # host -> when it is asked again, and the pause until then
        self._tasks: dict[str, asyncio.Task] = {}  # by host
        self._turn, self._changed, self._saved = asyncio.Lock(), 0, 0
        with contextlib.suppress(OSError):  # of an earlier release that was killed while writing
            self._path.with_suffix(".new").unlink(missing_ok=True)
        try:
            found = json.loads(self._path.read_text("utf-8"))
            self._waiting = {_key(one): one for one in found if _sound(one)}
            if len(self._waiting) < len(found):
                raise ValueError("not all of it is sound")
        except FileNotFoundError:
            pass
        except (ValueError, TypeError, RecursionError):
            log.error("%s: is damaged; what was to be erased on hosts that were away is not known any more, order it"
                      " again (`voipfleet audit --event erase` has what failed)", self._path)  # fmt: skip

    @property
    def waiting(self) -> list[dict]:
        return list(self._waiting.values())

    async def begin(self, orders: list[tuple[bytes, dict]], who: str) -> None:
        """What hosts (uuid, arguments) are about to be asked; `keeps` says what of it is on the disk after this."""
        made = {_key(one): one for one in (_order(*order, who) for order in orders)}
        new = [key for key in made if key not in self._waiting][: max(0, MAX_WAITING - len(self._waiting))]
        self._asked |= made.keys()
        self._waiting |= {key: made[key] for key in new}
        if new and not await self._save():
            for key in new:
                self._waiting.pop(key, None)

    async def ended(self, host: bytes, arguments: dict, who: str, *, over: bool) -> None:
        """`over`: it is done there, or that host says why not. Otherwise it is asked again when it can be."""
        key = _key(_order(host, arguments, who))
        self._asked.discard(key)
        if over and self._waiting.pop(key, None):
            await self._save()

    def keeps(self, host: bytes, arguments: dict, who: str) -> bool:
        return _key(_order(host, arguments, who)) in self._waiting

    async def run(self, service) -> None:
        """For ever."""
        try:
            while True:
                await asyncio.sleep(LOOK)
                self._look(service)
        finally:
            await end_all(*self._tasks.values())

    # -- inside --------------------------------------------------------------------------------------

    def _look(self, service) -> None:
        """Begin with those that are back and were asked the longest ago; a task a host."""
        by_host: dict[str, list[dict]] = {}
        for key, one in self._waiting.items():
            if key not in self._asked:
                by_host.setdefault(one["sensor"], []).append(one)
        self._tried = {host: tried for host, tried in self._tried.items() if host in by_host}
        due = {host: self._tried.get(host, (0.0, 0.0))[0] for host in by_host if host not in self._tasks}
        for host in sorted(due, key=due.get):
            if len(self._tasks) >= AT_ONCE or due[host] > time.monotonic():
                break
            known = service.board.routes.get(bytes.fromhex(host))
            if known and known.way():
                task = self._tasks[host] = asyncio.create_task(self._host(service, known, by_host[host]))
                task.add_done_callback(lambda _, host=host: self._tasks.pop(host))

    async def _host(self, service, known, orders: list[dict]) -> None:
        for one in orders:
            try:
                over = await self._try(service, known, one)
            except Exception:
                log.exception("what is to be erased at %s failed unexpectedly; it is tried again", known.name)
                over = False
            if not over:
                pause = min(LONGEST, 2 * self._tried.get(one["sensor"], (0.0, AGAIN / 2))[1])
                self._tried[one["sensor"]] = time.monotonic() + pause, pause
                return
            self._waiting.pop(_key(one), None)
            await self._save()
        self._tried.pop(orders[0]["sensor"], None)

    async def _try(self, service, known, one: dict) -> bool:
        """Whether that is all: it is done, or the host says why not."""
        result = "failed"
        try:
            said = await service.board.ask(known.uuid, "erase", one["arguments"], one["who"], no_data)
            result = "failed" if said.get("missed") else "ok"
        except Unreached:
            result = ""
        except VoipfleetError as error:  # it is back, and says why not
            log.warning("%s: what was to be erased there while it was away is not: %s", known.name, error)
        except asyncio.CancelledError:
            result = "left"
            raise
        finally:
            if result:
                service.tell_audit("erase", who=one["who"], sensor=known.name, call=one["arguments"].get("uuid", ""),
                                   result=result)  # fmt: skip
        return bool(result) and await self._records(service, known, one)

    async def _records(self, service, known, one: dict) -> bool:
        """Of a number: those that the host still had to send may have come before this order got there."""
        if number := one["arguments"].get("number"):
            try:
                await service.stored.call(service.stored.store.erase, None, number)
            except VoipfleetError as error:
                log.warning("%s: records that came from it of what is to be erased stay for now: %s", known.name, error)
                return False
        return True

    async def _save(self) -> bool:
        """What waits now, into the file; what several wait for is one write."""
        self._changed += 1
        mine = self._changed
        async with self._turn:
            if self._saved >= mine:
                return True
            through, waiting = self._changed, self.waiting
            if done := await asyncio.to_thread(self._write, waiting):
                self._saved = through
            return done

    def _write(self, waiting: list[dict]) -> bool:
        try:
            put(self._path, json.dumps(waiting).encode())
            sync_folder(self._path.parent)
        except OSError as error:
            log.error("%s: cannot be written (%s); make room there", self._path, error.strerror)
            return False
        return True


def _order(host: bytes, arguments: dict, who: str) -> dict:
    return {"sensor": host.hex(), "arguments": arguments, "who": who}


def _key(one: dict) -> str:
    return json.dumps(one, sort_keys=True)


def _sound(one) -> bool:
    """Whether that is an order, as `_order` makes them."""
    if not isinstance(one, dict) or set(one) != {"sensor", "arguments", "who"}:
        return False
    return isinstance(one["sensor"], str) and bool(as_uuid(one["sensor"])) and isinstance(one["arguments"], dict) and (
        isinstance(one["who"], str))  # fmt: skip
