"""Abuse of the retrieval of packets: large answers many at once, askers that take nothing or vanish (row 40)."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from pathlib import Path

from support.instances import Instance, Pool
from voipfleet.errors import VoipfleetError
from voipfleet.manager import asking

CALL = bytes(range(16))
GIB = 1 << 30
RECORDS = 300


def served(sensor) -> Instance:
    """What the sensor answers with: a packet store in which one call has 1 GiB."""
    made = Instance(sensor.spool.sensor_uuid, sensor.name, pool=Pool({CALL: GIB}))
    sensor.answers = made._answers
    return made


def delays(sensor, count: int = RECORDS) -> list[float]:
    """Seconds from the end of a call until its record is acknowledged, of `count` calls one after the other, sorted."""
    found = []
    for _ in range(count):
        begun = time.monotonic()
        sensor.put(1)
        while sensor.state.created < len(sensor.made) or sensor.state.queued:
            time.sleep(0.0005)
            assert time.monotonic() - begun < 30
        found.append(time.monotonic() - begun)
    return sorted(found)


class Fetches(threading.Thread):
    """`count` fetches at once by users of the central, until `stop`. `got`: bytes of each; `sentences`: of refusals."""

    def __init__(self, control, sensor, count):
        super().__init__(daemon=True)
        self._control, self._sensor, self._count = control, sensor, count
        self.got, self.sentences, self._ended = [0] * count, [], threading.Event()

    def run(self):
        asyncio.run(self._all())

    def stop(self):
        self._ended.set()
        self.join()

    async def _all(self):
        tasks = [asyncio.create_task(self._one(number)) for number in range(self._count)]
        while not self._ended.is_set():
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, number):
        try:
            async with asking(self._control, "fetch", sensor=self._sensor.hex(), uuid=CALL.hex()) as answer:
                async for piece in answer:
                    self.got[number] += len(piece)
        except VoipfleetError as error:
            self.sentences.append(str(error))


def memory(daemon) -> int:
    """MB that the process has in memory."""
    words = dict(line.split(":", 1) for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines())
    return int(words["VmRSS"].split()[0]) >> 10


def fetches(central) -> list[dict]:
    said = central.command("audit", "--json", "--limit", "0", "--event", "pcap_fetch")
    assert said.returncode == 0, said.stderr
    return [json.loads(line) for line in said.stdout.splitlines()]


def test_row40_ten_fetches_of_1_gib_at_once(fleet, saw):
    fleet.central.start()
    with fleet.simulated() as sensor:
        sensor.until(lambda sensor: sensor.connected)
        serving, control = served(sensor), fleet.central.folder / "control"
        quiet, before = delays(sensor), memory(fleet.central)
        running = Fetches(control, serving.own_uuid, 10)
        running.start()
        while sum(count > 0 for count in running.got) < 4:
            time.sleep(0.01)
        busy, after, begun = delays(sensor), memory(fleet.central), sum(running.got)
        at_once = sum(count > 0 for count in running.got)
        running.stop()
        end = time.monotonic() + 10
        while len(lines := fetches(fleet.central)) < 10 and time.monotonic() < end:
            time.sleep(0.2)
        at = int(0.99 * RECORDS)
        assert at_once == 4 and not running.sentences and begun > 8 << 20
        assert len(serving.audit) >= 4  # those that waited may have begun when the others ended
        assert {fields["result"] for _, fields in serving.audit} == {"left"}
        assert busy[at] < 0.5 and busy[at] < quiet[at] + 0.3
        assert after - before < 64
        assert [line["result"] for line in lines] == ["left"] * 10
        counts = fleet.check()
    saw(f"10 fetches of 1 GiB at once from one sensor, while {RECORDS} calls end one after the other",
        f"4 ran, 6 waited; {begun >> 20} MB came meanwhile; at the 99th percentile a record took"
        f" {1000 * busy[at]:.0f} ms ({1000 * quiet[at]:.0f} ms before); the central grew by {max(0, after - before)}"
        f" MB; 10 lines in the audit log; {counts['rows']} rows")  # fmt: skip


def test_row40_askers_that_take_nothing_and_askers_that_vanish(fleet, saw):
    fleet.central.start()
    with fleet.simulated() as sensor:
        sensor.until(lambda sensor: sensor.connected)
        serving, control = served(sensor), fleet.central.folder / "control"
        line = json.dumps({"command": "fetch", "sensor": serving.own_uuid.hex(), "uuid": CALL.hex()}).encode() + b"\n"
        before = memory(fleet.central)
        with contextlib.ExitStack() as held:
            for _ in range(4):  # as many as one session answers
                asker = held.enter_context(socket.socket(socket.AF_UNIX))
                asker.connect(str(control))
                asker.sendall(line)
            time.sleep(2.0)
            slow = delays(sensor, 100)
            after = memory(fleet.central)
            assert not serving.audit
        took = sensor.until(lambda sensor: len(serving.audit) == 4, 10)
        assert {fields["result"] for _, fields in serving.audit} == {"left"}
        most = max(fields["bytes"] for _, fields in serving.audit)
        assert most < 2 << 20 and after - before < 32 and slow[-1] < 1.0
        fleet.check()
    saw("4 askers that ask for 1 GiB and read nothing; then they vanish",
        f"at most {most >> 10} KiB left the sensor for each, the central grew by {max(0, after - before)} MB, no record"
        f" took longer than {1000 * slow[-1]:.0f} ms; the sensor's work ended within {took + 0.1:.1f} s")  # fmt: skip


def test_row40_names_that_are_none(fleet, saw):
    fleet.central.start()
    texts = ["../../../etc/passwd", "/etc/passwd", "..", "~", "calls.db", "%2e%2e", "a" * 64_000, "\x00" * 32,
             "0x" + "1" * 30, f"{CALL.hex()}/..", "'; DROP TABLE calls; --"]  # fmt: skip
    with fleet.simulated() as sensor:
        sensor.until(lambda sensor: sensor.connected)
        serving, control = served(sensor), fleet.central.folder / "control"

        async def sentence(**arguments):
            try:
                async with asking(control, "fetch", **arguments) as answer:
                    return await answer.whole()
            except VoipfleetError as error:
                return str(error)

        for text in texts:
            for arguments in ({"sensor": serving.own_uuid.hex(), "uuid": text}, {"sensor": text, "uuid": CALL.hex()}):
                said = asyncio.run(sentence(**arguments))
                assert "is no uuid" in said or "give it as text" in said or "ended in the middle" in said, said
        unknown = asyncio.run(sentence(sensor=serving.own_uuid.hex(), uuid="f" * 32))
        nobody = asyncio.run(sentence(sensor="f" * 32, uuid=CALL.hex()))
        assert "this call is not known here" in unknown and "not connected" in nobody
        assert not serving.pool.done
        fleet.no_traceback()
    saw(f"{len(texts)} paths, escapes and texts in place of a uuid; a uuid that nobody has",
        "a sentence each; nothing but a uuid ever reached a packet store")  # fmt: skip
