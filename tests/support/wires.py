"""Two ends of a session in memory, for tests of what travels over one."""

import asyncio

from voipfleet.link.session import LinkClosed

FRAMES = 16  # that may wait: then who sends waits too, as on a socket


class End:
    """One end: `send` as a Session has it, and iteration over what the other one sent."""

    def __init__(self):
        self.inbox: asyncio.Queue = asyncio.Queue(FRAMES)
        self.other: End = self
        self.sent: list[tuple[int, int]] = []  # kind and size of each frame
        self.closed = False

    async def send(self, kind: int, body: bytes = b"") -> None:
        if self.closed:
            raise LinkClosed("the link is closed")
        self.sent.append((kind, len(body)))
        await self.other.inbox.put((kind, body))

    def __aiter__(self) -> "End":
        return self

    async def __anext__(self) -> tuple[int, bytes]:
        found = await self.inbox.get()
        if found is None:
            raise StopAsyncIteration
        return found

    async def close(self) -> None:
        """Both ends end."""
        for end in (self, self.other):
            end.closed = True
            while not end.inbox.empty():
                end.inbox.get_nowait()
            await end.inbox.put(None)


def pair() -> tuple[End, End]:
    one, other = End(), End()
    one.other, other.other = other, one
    return one, other
