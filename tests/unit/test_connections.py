"""Who has come to an instance himself: by its database, or by its book of keys. Nobody else speaks for those."""

import asyncio
from types import SimpleNamespace

from support.asked import until
from support.lines import board
from voipfleet import connections
from voipfleet.central.store import StoreUnavailable
from voipfleet.listener import KeyBook

A, B, C = (letter * 16 for letter in (b"a", b"b", b"c"))


class Stored:
    """A database that knows `rows`; None: it is away."""

    def __init__(self, rows):
        self.rows, self.store = rows, SimpleNamespace(known=lambda: self.rows)

    async def call(self, function):
        if self.rows is None:
            raise StoreUnavailable("away")
        return function()


async def test_what_the_database_knows_is_read_again_and_again(monkeypatch):
    monkeypatch.setattr(connections, "RETRY", 0.01)
    monkeypatch.setattr(connections, "ANEW", 0.01)
    stored, here = Stored(None), board()
    here.routes.had_session = None
    work = asyncio.create_task(connections.remember(SimpleNamespace(stored=stored, board=here)))
    await asyncio.sleep(0.05)
    assert here.routes.had_session is None  # nothing that is told is believed yet
    stored.rows = [(A, "branch1", 5 * 10**9, True), (B, "branch2", 6 * 10**9, False)]
    await until(lambda: here.routes.get(B))
    assert (here.routes.get(A).name, here.routes.get(A).since) == ("branch1", 5.0)
    assert [here.routes.had_session(uuid) for uuid in (A, B, C)] == [True, False, False]
    stored.rows = stored.rows[1:]  # `voipfleet sensors --forget branch1`
    await until(lambda: not here.routes.get(A))
    assert not here.routes.had_session(A)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_a_book_of_keys_knows_its_sources_after_a_restart(tmp_path):
    book = KeyBook(tmp_path / "known_sources")
    assert not book.knows(A) and await book.bind_key(A, b"k" * 32, lambda old: False)
    for found in (book, KeyBook(tmp_path / "known_sources")):
        assert found.knows(A) and not found.knows(B)
