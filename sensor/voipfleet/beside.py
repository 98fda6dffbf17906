"""What may get stuck in the system, as look-ups of names do: in threads of its own, for which nobody waits for ever.

Neither does the event loop, nor the end of the process: these threads are daemons.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable

from voipfleet import privileges


class Beside:
    """At most `most` calls at a time, those included that got stuck."""

    def __init__(self, name: str, most: int):
        self._name, self._most, self._running = name, most, 0
        self._lock = threading.Lock()

    async def call(self, seconds: float, function: Callable, *arguments):
        """What `function` gives or raises; TimeoutError where that is not there in time, at once where `most` run."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future = loop.create_future()

        def tell(result, error: Exception | None) -> None:
            if answer.done():
                return  # nobody waits any more
            if error:
                answer.set_exception(error)
            else:
                answer.set_result(result)

        def work() -> None:
            result = error = None
            try:
                privileges.drop_all()  # it may begin before this process gives up its capabilities, and outlast that
                result = function(*arguments)
            except Exception as fault:
                error = fault
            with self._lock:
                self._running -= 1
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(tell, result, error)

        with self._lock:
            if self._running >= self._most:
                raise TimeoutError
            self._running += 1
        threading.Thread(target=work, name=self._name, daemon=True).start()
        async with asyncio.timeout(seconds):
            return await answer
