"""The courier's side: a call's packets given out, held, released, erased, while the engine writes."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from hashlib import blake2b

import pytest
from support import pools
from support.pools import Row, law
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.errors import VoipfleetError
from voipfleet.packetstore import holds, pool
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

    def __init__(self, folder, **more):
        settings = StoreSettings(folder / "pool", Limits())
        self.engine = pools.store(folder / "pool")
        self.seals = 0
        self.pool = Pool(settings, self._seal, **more)
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


@contextlib.contextmanager
def opened(folder, **more):
    made = Both(folder, **more)
    yield made
    made.engine.close(time.monotonic() + 5)
    made.pool.close()
    assert law(made.engine.counters)


@pytest.fixture
def both(tmp_path):
    with opened(tmp_path) as made:
        yield made


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


def test_where_the_engine_does_not_write_a_fetch_says_so_and_nothing_is_erased(both):
    async def busy():
        raise VoipfleetError("it is busy, try again")

    both.pool._seal = busy
    _, said = asyncio.run(both.fetched())
    assert "not on the disk yet (it is busy, try again)" in said["missing"]
    with pytest.raises(VoipfleetError, match="it is busy"):
        asyncio.run(both.pool.erase(UUID))


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


def test_who_holds_again_adds_what_came_since(both):
    first = asyncio.run(both.pool.hold(UUID, "anna", "why"))
    asyncio.run(both.pool.give_back(1 << 40))
    both.engine.add_frames("sip", 1, call_key(b"a@b"), [(NOW + 2 * 10**9, 3, b"ACK")])
    again = asyncio.run(both.pool.hold(UUID, "bert", "why"))
    assert again["bytes"] == first["bytes"] + 19 and again["missing"] == first["missing"] == ""
    data, said = asyncio.run(both.fetched())
    assert said["packets"] == 12 and b"INVITE" in data and b"ACK" in data
    both.pool._calls.remove(UUID)
    assert asyncio.run(both.pool.hold(UUID, "carl", "")) == again


def test_a_hold_says_what_was_evicted_while_it_was_made(both, monkeypatch):
    hold = holds.hold

    def evicted_first(folder, *arguments, **more):
        for path in folder.glob("*/audio-*.pcap"):
            path.unlink()
        return hold(folder, *arguments, **more)

    monkeypatch.setattr(holds, "hold", evicted_first)
    assert asyncio.run(both.pool.hold(UUID, "anna", ""))["missing"] == (
        "packets are missing: 1 segments were removed meanwhile"
    )


@pytest.mark.parametrize("late", [False, True])
def test_packets_that_come_late_are_found_only_where_they_may(tmp_path, late):
    """Those of another host may be of a call that was over hours ago."""
    old = NOW - 7200 * 10**9
    record = CallRecord(uuid=bytes(16), call_id="old@x", setup_time=old, end_time=old + 10**9)
    with opened(tmp_path, late=late) as both:
        both.pool.put(record)
        both.engine.add_frames("sip", 1, call_key(b"old@x"), [(old, 6, b"BEFORE")])
        _, said = asyncio.run(both.fetched(uuid=bytes(16)))
        assert (said["packets"], both.seals) == ((1, 1) if late else (0, 0))
        done = asyncio.run(both.pool.erase(bytes(16)))
        assert done["packets"] == late and both.seals == late


def test_those_who_ask_at_a_time_share_a_seal(tmp_path, monkeypatch):
    old = CallRecord(uuid=bytes(16), call_id="old@x", setup_time=NOW - 7200 * 10**9)
    with opened(tmp_path, late=True) as both:
        both.pool.put(old)
        release = None

        async def slow() -> None:
            both.seals += 1
            await release.wait()

        async def three() -> None:
            nonlocal release
            release = asyncio.Event()
            asked = [asyncio.create_task(both.fetched(uuid=bytes(16))) for _ in range(3)]
            await asyncio.sleep(0.1)
            assert not any(task.done() for task in asked)
            asked.pop().cancel()  # whoever began it
            asked.pop(0).cancel()
            await asyncio.sleep(0)
            release.set()
            await asyncio.gather(*asked)
            assert both.seals == 1
            await both.fetched(uuid=bytes(16))
            assert both.seals == 1
            monkeypatch.setattr(pool, "SEAL_EVERY", 0.0)
            await both.fetched(uuid=bytes(16))
            assert both.seals == 2

        both.pool._seal = slow
        asyncio.run(three())


def test_what_a_disk_does_not_forget_is_told(both, tmp_path):
    assert asyncio.run(both.pool.find("a@b"))
    with sqlite3.connect(tmp_path / "pool" / "calls.db") as db:
        db.execute("CREATE TRIGGER refuses BEFORE DELETE ON calls BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END")
    said = asyncio.run(both.pool.erase(UUID))
    assert said["packets"] == 11 and said["missing"].startswith("1 calls are still in calls.db")
    db.execute("DROP TRIGGER refuses")
    db.close()
    said = asyncio.run(both.pool.erase(UUID))
    assert (said["calls"], said["missing"]) == (1, "") and asyncio.run(both.pool.find("a@b")) is None


@pytest.mark.parametrize("what", [UUID, "100"])
def test_nothing_is_erased_where_nobody_can_say_what(both, monkeypatch, what):
    with monkeypatch.context() as patch:
        patch.setattr(both.pool._calls, "_do", lambda work: both.pool._calls._tell(Exception("disk I/O error")))
        with pytest.raises(VoipfleetError, match=r"calls.db: cannot be used \(disk I/O error\)"):
            asyncio.run(both.pool.erase(what))
    assert asyncio.run(both.pool.erase(what))["packets"] == 11


def test_a_damaged_run_is_told(both, tmp_path):
    asyncio.run(both._seal())
    (path,) = (tmp_path / "pool").glob("*/audio-*.pcap")
    data = bytearray(path.read_bytes())
    data[24 + 11] = 0x7F
    path.write_bytes(data)
    said = asyncio.run(both.pool.erase(UUID))
    assert said["packets"] == 2 and "1 runs of packets were damaged" in said["missing"]
    assert b"voice" not in path.read_bytes()


@pytest.mark.parametrize("what", [UUID, bytes(16), "100", "unknown"])
def test_files_that_were_damaged_are_erased_with_any_call(both, tmp_path, what):
    (tmp_path / "pool").mkdir(exist_ok=True)  # else a thread makes it soon
    for suffix in ("", "-wal"):
        (tmp_path / "pool" / f"calls.db.corrupt{suffix}").write_bytes(b"4915112345")
    with contextlib.suppress(VoipfleetError):
        asyncio.run(both.pool.erase(what))
    assert not list((tmp_path / "pool").glob("calls.db.corrupt*"))


@pytest.mark.parametrize("leaves", [False, True])
def test_no_copy_that_was_being_made_outlives_an_erasure(both, tmp_path, monkeypatch, leaves):
    """Not even that of somebody who did not wait for it."""
    hold, copying, go_on = holds.hold, threading.Event(), threading.Event()

    def slow(*arguments, **more):
        copying.set()
        assert go_on.wait(5)
        return hold(*arguments, **more)

    async def both_at_once() -> dict:
        holder = asyncio.create_task(both.pool.hold(UUID, "anna", "why"))
        await asyncio.to_thread(copying.wait, 5)
        if leaves:
            holder.cancel()
        eraser = asyncio.create_task(both.pool.erase(UUID))
        await asyncio.sleep(0.2)
        assert not eraser.done()
        go_on.set()
        if not leaves:
            await holder
        said = await eraser
        assert not leaves or holder.cancelled()
        return said

    monkeypatch.setattr(holds, "hold", slow)
    assert asyncio.run(both_at_once())["packets"] == 11
    assert not list((tmp_path / "pool" / "holds").iterdir())
    with pytest.raises(VoipfleetError, match="not known here"):
        asyncio.run(both.fetched())


def test_an_erasure_goes_on_where_who_asked_has_gone(both):
    async def leaves() -> None:
        eraser = asyncio.create_task(both.pool.erase(UUID))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        eraser.cancel()
        await asyncio.wait([eraser])
        with contextlib.suppress(VoipfleetError):
            await both.pool.release(UUID)  # waits its turn

    asyncio.run(leaves())
    assert asyncio.run(both.pool.find("a@b")) is None


def test_what_a_kill_left_of_holds_is_gone_after_the_start(both, tmp_path):
    asyncio.run(both.pool.hold(UUID, "anna", "why"))
    there = {path.name for path in (tmp_path / "pool" / "holds").iterdir()}
    for name in (f"{UUID.hex()}-7.pcap", f"{UUID.hex()}.json.part", f"{bytes(16).hex()}.pcap"):
        (tmp_path / "pool" / "holds" / name).write_bytes(b"half")
    both.pool.close()
    both.pool = Pool(StoreSettings(tmp_path / "pool", Limits()), both._seal)
    assert {path.name for path in (tmp_path / "pool" / "holds").iterdir()} == there
    assert asyncio.run(both.fetched())[1]["packets"] == 11


def test_refreshes_of_a_registration_that_is_up_are_found_and_erased(both, tmp_path):
    began = NOW - 5 * 3600 * 10**9
    record = CallRecord(uuid=bytes(16), call_id="reg@x", method="REGISTER", end_reason="registered", caller="300",
                        setup_time=began, answer_time=began + 10**6, expires=3600)  # fmt: skip
    both.pool.put(record)
    for n in range(6):
        both.engine.add_frames("sip", 1, call_key(b"reg@x"), [(began + n * 3600 * 10**9, 8, b"REGISTER")])
    assert asyncio.run(both.fetched(uuid=bytes(16)))[1]["packets"] == 6
    assert asyncio.run(both.pool.erase("300"))["packets"] == 6
    assert not any(b"REGISTER" in path.read_bytes() for path in (tmp_path / "pool").rglob("*.pcap"))
