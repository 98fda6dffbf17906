"""The courier's side: a call's packets given out, held, released, erased, while the engine writes."""

import asyncio
import time
from hashlib import blake2b

import pytest
from support import pools
from support.pools import Row, law
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.errors import VoipfleetError
from voipfleet.packetstore.keys import call_key, keys_of, stream_key
from voipfleet.packetstore.pool import Pool
from voipfleet.packetstore.retention import Limits
from voipfleet.packetstore.writer import StoreSettings

NOW = time.time_ns()
UUID = bytes(range(16))
RECORD = CallRecord(
    uuid=UUID, call_id="a@b", sensor="s", caller="100", callee="200", setup_time=NOW, end_time=NOW + 10**9,
    streams=[StreamRecord(direction="caller", src="1.1.1.1:4000", dst="2.2.2.2:5000", ssrc=7)],
)  # fmt: skip
STREAM = stream_key("s", "1.1.1.1:4000", "2.2.2.2:5000", 7)


class Both:
    """An engine's store and a courier's pool on one folder."""

    def __init__(self, folder):
        settings = StoreSettings(folder / "pool", Limits())
        self.engine = pools.store(folder / "pool")
        self.seals = 0
        self.pool = Pool(settings, self._seal)
        self.pool.put(RECORD)
        self.engine.add_frames("sip", 1, call_key(b"a@b"), [(NOW, 6, b"INVITE"), (NOW + 10**9, 3, b"BYE")])
        self.engine.add_frames("sip", 1, call_key(b"other"), [(NOW, 5, b"other")])
        pools.give(self.engine, "audio", [Row(STREAM, NOW + n, b"Ethernet.head." + b"voice%d" % n) for n in range(9)])

    async def _seal(self):
        self.seals += 1
        number = self.engine.seal()
        while not self.engine.written(number):
            await asyncio.sleep(0.001)

    async def fetched(self, offset: int = 0, audio: bool = True, uuid: bytes = UUID) -> tuple[bytes, dict]:
        sent = []

        async def send(data: bytes) -> None:
            sent.append(data)

        said = await self.pool.fetch(uuid, offset, audio, send)
        return b"".join(sent), said


@pytest.fixture
def both(tmp_path):
    made = Both(tmp_path)
    yield made
    made.engine.close(time.monotonic() + 5)
    made.pool.close()
    assert law(made.engine.counters)


def test_a_call_that_ended_just_now_is_given_out(both):
    data, said = asyncio.run(both.fetched())
    assert (said["packets"], said["missing"], said["bytes"]) == (11, "", len(data)) and both.seals == 1
    assert said["digest"] == blake2b(data, digest_size=16).hexdigest()
    assert data.count(b"voice") == 9 and b"INVITE" in data and b"other" not in data
    rest, again = asyncio.run(both.fetched(offset=100))
    assert rest == data[100:] and again == said
    quiet, without = asyncio.run(both.fetched(audio=False))
    assert b"voice" not in quiet and b"INVITE" in quiet
    assert "note" not in said and "voipfleet-listen" in without["note"]


def test_a_call_is_found_by_name(both):
    assert asyncio.run(both.pool.find("a@b")) == asyncio.run(both.pool.find(UUID.hex())) == RECORD
    assert asyncio.run(both.pool.find("x" * 32)) is None is asyncio.run(both.pool.find("nobody"))


def test_a_held_call_outlives_everything_until_it_is_released(both):
    data, _ = asyncio.run(both.fetched())
    held = asyncio.run(both.pool.hold(UUID, "anna", "why"))
    assert (held["who"], held["why"]) == ("anna", "why")
    assert asyncio.run(both.pool.give_back(1 << 40)) > 0
    kept, said = asyncio.run(both.fetched())
    assert (sorted(kept), said["packets"]) == (sorted(data), 11)
    state = asyncio.run(both.pool.state(False))
    assert state["bytes"] == 0 and [one["uuid"] for one in state["held"]] == [UUID.hex()]
    both.pool._calls.remove(UUID)
    assert asyncio.run(both.fetched())[0] == kept  # by the hold alone
    assert asyncio.run(both.pool.release(UUID)) == {"released": True}
    with pytest.raises(VoipfleetError, match="not held here"):
        asyncio.run(both.pool.release(UUID))
    with pytest.raises(VoipfleetError, match="not known here"):
        asyncio.run(both.fetched())


@pytest.mark.parametrize("what", [UUID, "100", "200"])
def test_an_erased_call_is_nowhere(both, tmp_path, what):
    asyncio.run(both.pool.hold(UUID, "anna", "why"))
    assert asyncio.run(both.pool.erase(what)) == {"calls": 1, "packets": 11, "records": 0, "missing": ""}
    with pytest.raises(VoipfleetError, match="not known here"):
        asyncio.run(both.fetched())
    both.pool.close()
    for path in (path for path in tmp_path.rglob("*.pcap")):
        assert b"INVITE" not in path.read_bytes() and b"voice" not in path.read_bytes()
    both.pool = Pool(StoreSettings(tmp_path / "pool", Limits()), both._seal)
    other = CallRecord(uuid=bytes(16), call_id="other", setup_time=NOW)
    both.pool.put(other)
    assert b"other" in asyncio.run(both.fetched(uuid=bytes(16)))[0]


def test_what_is_not_known_cannot_be_erased(both):
    with pytest.raises(VoipfleetError, match="nothing was erased"):
        asyncio.run(both.pool.erase(bytes(16)))
    assert asyncio.run(both.pool.erase("no such number")) == {"calls": 0, "packets": 0, "records": 0, "missing": ""}


def test_packets_that_are_gone_are_said_to_be(both):
    asyncio.run(both.pool.give_back(0))
    asyncio.run(both._seal())
    asyncio.run(both.pool.give_back(1 << 40))
    data, said = asyncio.run(both.fetched())
    assert data == b"" and said["packets"] == 0 and "are kept here any more" in said["missing"]
    assert keys_of(RECORD)


def test_the_state_says_what_would_go(both):
    asyncio.run(both._seal())
    both.pool.limit(StoreSettings(both.pool._folder, Limits(size=1)))
    said = asyncio.run(both.pool.state(True))
    assert said["dry_run"]["segments"] == 2 and said["classes"]["sip"]["segments"] == 1
    assert said["limit_bytes"] == 1 and said["bytes"] == 4 * 4096
    assert asyncio.run(both.pool.state(False))["classes"]["audio"]["bytes"] == 8192
