"""A central and its fleet on one machine: what it stores a second, how many sensors it holds, how soon they are back.

    python benchmarks/fleet.py [--sensors 500] [--records 60000] [--minutes 1]

The central is the real daemon with MariaDB (a server of the benchmark's own, innodb_flush_log_at_trx_commit=1, Debian's
sizes but for a buffer pool of 256 MiB). The sensors are simulated in one other process: each with its key, its own
connection over the real link (voipfleet.uplink), batches as an outbox sends them, a window of 8, and what it has
not had acknowledged sent again after a break. All of it, database too, shares this machine's cores.

1. *Many*: all sensors connected from one address, each with a status every five seconds and a record every other
   second.
2. *Rate*: beside that, 8 of them send complete records (two streams each, about 1.1 kB) as fast as they are
   acknowledged.
3. *Restart*: the central is killed (kill -9) and started; until when all are back, and whether all records are there.
"""

import argparse
import asyncio
import json
import logging
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pymysql

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from ingest import DATABASE, a_call
from live import seconds_of
from support import mariadb
from support.daemon import Daemon
from voipfleet.calls import record
from voipfleet.link import client, keys, types
from voipfleet.link.keys import Identity
from voipfleet.link.noise import public_key
from voipfleet.records.messages import CALL, MAX_ROWS, WINDOW, Ack, Batch, Row, Status
from voipfleet.uplink import Uplink

PORT = 60124
EVERY = 2.0  # s between the records of a sensor while all are connected
_decode_ack = msgspec.msgpack.Decoder(Ack).decode


class Sensor:
    """One simulated sensor: `rows` wait until they are acknowledged; `send()` delivers them."""

    def __init__(self, number: int, folder: Path, pin: str, psk: bytes):
        private = os.urandom(32)
        self.uuid, self.epoch, self.name = os.urandom(16), os.urandom(16), f"branch{number}"
        self.rows: list[Row] = []
        self.seq = self.acknowledged = self._first = 0  # made; acknowledged; the number before rows[0]
        self._more = asyncio.Event()
        config = SimpleNamespace(server_key=(pin,), spooldir=str(folder))
        self.link = Uplink(config, Identity(private, public_key(private)), psk, role=types.ROLE_RECORDS,
                           hosts=("127.0.0.1",), port=PORT, serve=self._serve,
                           hello=lambda: client.Hello(self.uuid, self.name, self.epoch, self.seq + 1))  # fmt: skip

    def put(self, bodies: list[tuple[bytes, bytes]]) -> None:
        for uuid, body in bodies:
            self.seq += 1
            self.rows.append(Row(self.seq, uuid, 1, CALL, body))
        self._more.set()

    async def _serve(self, session, welcome) -> None:
        self._acknowledge(welcome.last_seq if welcome.epoch == self.epoch else 0)
        window, sent = asyncio.Semaphore(WINDOW), self.acknowledged

        async def send() -> None:
            nonlocal sent
            while True:
                self._more.clear()
                while sent < self.seq:
                    await window.acquire()
                    rows = self.rows[sent - self._first : sent - self._first + MAX_ROWS]
                    sent = rows[-1].seq
                    await session.send(types.BATCH, msgspec.msgpack.encode(Batch(self.epoch, rows)))
                await self._more.wait()

        async def tell() -> None:
            status = Status(self.name, 0, "benchmark", "capture+client", "site", 0, {"calls_active": 3})
            while True:
                await session.send(types.STATUS, msgspec.msgpack.encode(status))
                await asyncio.sleep(5)

        async def listen() -> None:
            async for kind, body in session:
                if kind == types.ACK:
                    self._acknowledge(_decode_ack(body).through_seq)
                    window.release()
            raise ConnectionError("closed")

        async with asyncio.TaskGroup() as tasks:
            for work in (send, tell, listen):
                tasks.create_task(work())

    def _acknowledge(self, through: int) -> None:
        if through > self.acknowledged:
            self.acknowledged = through
            del self.rows[: through - self._first]
            self._first = through


def bodies(number: int) -> list[tuple[bytes, bytes]]:
    calls = [a_call() for _ in range(number)]
    return [(call.uuid, record.encode(call)) for call in calls]


async def until(condition, seconds: float = 120) -> float:
    """Seconds until it holds."""
    start = time.perf_counter()
    while not condition():
        if time.perf_counter() - start > seconds:
            raise TimeoutError("the benchmark's sensors wait for too long")
        await asyncio.sleep(0.01)
    return time.perf_counter() - start


async def simulate(spec: dict) -> None:
    """The process of the sensors: commands on standard input, an answer a line on standard output."""
    logging.disable()  # 500 sensors that lose their central have a lot to say
    psk, folder = bytes.fromhex(spec["psk"]), Path(spec["folder"])
    sensors = [Sensor(number, folder, spec["pin"], psk) for number in range(spec["sensors"])]
    running: list[asyncio.Task] = []
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    trickle: asyncio.Task | None = None

    async def drip() -> None:
        while True:
            for sensor in sensors:
                sensor.put(bodies(1))
                await asyncio.sleep(EVERY / len(sensors))

    while line := await reader.readline():
        command = json.loads(line)
        several, answer = sensors[: command.get("sensors")], {}
        if command["do"] == "connect":
            running += [asyncio.create_task(sensor.link.run()) for sensor in several[len(running) :]]
            answer["seconds"] = await until(all_of(several, lambda sensor: sensor.link.state == "connected"))
        elif command["do"] == "rate":
            made = [bodies(command["records"] // len(several)) for _ in several]
            before = seconds_of(os.getpid())
            for sensor, found in zip(several, made, strict=True):
                sensor.put(found)
            answer["seconds"] = await until(all_of(several, delivered))
            answer["cpu"] = seconds_of(os.getpid()) - before
        elif command["do"] == "drip":
            trickle = asyncio.create_task(drip())
        elif command["do"] == "back":
            answer["seconds"] = await back(sensors)
        elif command["do"] == "finish":
            trickle.cancel()
            answer["seconds"] = await until(all_of(sensors, delivered))
            answer["records"] = sum(sensor.seq for sensor in sensors)
        print(json.dumps(answer), flush=True)
    for task in running:
        task.cancel()


def all_of(sensors: list[Sensor], holds: Callable[[Sensor], bool]) -> Callable[[], bool]:
    return lambda: all(map(holds, sensors))


def delivered(sensor: Sensor) -> bool:
    return sensor.acknowledged == sensor.seq


async def back(sensors: list[Sensor]) -> list[float]:
    """Says `ready`; then the seconds after which each had a new connection, in ascending order."""
    before = [sensor.link.connections for sensor in sensors]
    print(json.dumps({"ready": True}), flush=True)
    waiting, found, start = dict(zip(sensors, before, strict=True)), [], time.perf_counter()
    while waiting:
        for sensor in [sensor for sensor, count in waiting.items() if sensor.link.connections > count]:
            del waiting[sensor]
            found.append(time.perf_counter() - start)
        await asyncio.sleep(0.01)
    return found


def first_line() -> bytes:
    """Not one byte more of standard input: the rest is read by the event loop."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1)
    return line


class Fleet:
    """The simulated sensors' process."""

    def __init__(self, **spec):
        self._process = subprocess.Popen([sys.executable, __file__, "--simulate"], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)  # fmt: skip
        self._process.stdin.write(json.dumps(spec) + "\n")

    def do(self, **command) -> dict:
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict:
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def resident(pid: int) -> float:
    """MiB of memory of one process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sensors", type=int, default=500, help="connected at once (%(default)s)")
    parser.add_argument("--records", type=int, default=60_000, help="for the rate (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of all sensors at work (%(default)s)")
    parser.add_argument("--dir", default="/var/tmp", help="on the disk to measure (%(default)s)")
    parser.add_argument("--simulate", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.simulate:
        asyncio.run(simulate(json.loads(first_line())))
        return
    with (
        tempfile.TemporaryDirectory(prefix="vf-bench-", dir=args.dir) as folder,
        mariadb.server(args.dir, ("--innodb-buffer-pool-size=256M", "--innodb-log-file-size=96M")) as server,
    ):
        measure(args, Path(folder), server)


def measure(args, folder: Path, server) -> None:
    password = secrets.token_urlsafe(32)
    (folder / "password").write_text(password)
    server.database(DATABASE)
    central = Daemon(folder / "hq", server_bind="127.0.0.1", server_bind_port=PORT, require_knock="yes",
                     server_password_file=folder / "password", mysqlhost=server.socket, mysqldb=DATABASE,
                     mysqluser=DATABASE)  # fmt: skip
    pin = central.keygen()
    said = central.command("db", "migrate", "--user", "root")
    assert said.returncode == 0, said.stderr
    central.start()
    fleet = Fleet(psk=keys.psk_from_password(password, "default").hex(), pin=pin, folder=str(folder),
                  sensors=args.sensors)  # fmt: skip
    try:
        fleet.do(do="connect", sensors=8)
        idle = resident(central.process.pid)
        found = fleet.do(do="connect", sensors=args.sensors)
        print(f"many: {args.sensors} sensors from one address connected within {found['seconds']:.1f} s")
        fleet.do(do="drip")
        cpu = seconds_of(central.process.pid)
        time.sleep(args.seconds)
        busy = 100 * (seconds_of(central.process.pid) - cpu) / args.seconds
        now = resident(central.process.pid)
        print(f"  {args.sensors / EVERY:.0f} records/s: {busy:.0f} % of a core; memory {now:.0f} MiB in all,"
              f" {1024 * (now - idle) / (args.sensors - 8):.0f} KiB a sensor more than with 8")  # fmt: skip
        before = seconds_of(central.process.pid), seconds_of(server.pid)
        rate = fleet.do(do="rate", sensors=8, records=args.records)
        took = rate["seconds"]
        now = seconds_of(central.process.pid), seconds_of(server.pid)
        shares = [f"{100 * (end - was) / took:.0f} %" for end, was in zip(now, before, strict=True)]
        print(f"rate: {args.records / took:,.0f} durable records/s from 8 sensors over the link; of a core: central"
              f" {shares[0]}, MariaDB {shares[1]}, simulated sensors {100 * rate['cpu'] / took:.0f} %")  # fmt: skip
        fleet.do(do="back")
        central.kill()
        central.start(wait=None)
        back = fleet.answer()["seconds"]
        print(f"restart (kill -9): half of them back after {back[len(back) // 2]:.1f} s, all after {back[-1]:.1f} s")
        done = fleet.do(do="finish")
        connection = pymysql.connect(unix_socket=str(server.socket), user="root", database=DATABASE)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*), count(DISTINCT uuid) FROM calls")
            stored = cursor.fetchone()
        assert stored == (done["records"], done["records"]), f"{stored} stored of {done['records']}"
        print(f"  {done['records']:,} records made, {stored[0]:,} stored, none twice")
    finally:
        fleet.end()
        central.kill()


if __name__ == "__main__":
    main()
