"""A fleet that faults are done to, and the check that always follows: what was created is there once, or in a gap.

`created == rows + gaps`, no uuid and no call twice, the counters of the outbox balance, no log has a traceback.
"""

import collections
import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from faults.simulated import Sensor
from support.daemon import Daemon
from support.mariadb import MariaDB
from voipfleet.link import keys
from voipfleet.records.messages import CALL

PORT = 60024


class Fleet:
    """A central in `namespace`, its database SQLite or in `server`; sensors are added to it. A context."""

    def __init__(self, namespace: str, folder: Path, server: MariaDB | None = None, **central):
        self.namespace, self.folder, self.server = namespace, folder, server
        self.prefix = ["ip", "netns", "exec", namespace]
        self.password = folder / "password"
        self.password.write_text(secrets.token_urlsafe(32) + "\n")
        self.password.chmod(0o600)
        self.psk = keys.psk_from_password(self.password.read_text().strip(), "default")
        self.sensors: list[Sensor] = []
        self.daemons: list[Daemon] = []
        settings = {}
        if server:
            self.database = f"f_{secrets.token_hex(4)}"
            server.database(self.database)
            settings = {"mysqlhost": server.socket, "mysqldb": self.database, "mysqluser": self.database}
        self.central = self.daemon("central", name_sensor="hq", server_bind="127.0.0.1", **settings, **central)
        self.pin = self.central.keygen()
        self.public = keys.decode(self.pin, "server_key")
        if server:
            said = self.central.command("db", "migrate", "--user", "root")
            assert said.returncode == 0, said.stderr

    def daemon(self, name: str, prefix: tuple[str, ...] = (), **settings) -> Daemon:
        """A daemon of this fleet, not started. `prefix`: what runs it inside the namespace."""
        settings = {"server_password_file": self.password, "name_sensor": name} | settings
        made = Daemon(self.folder / name, prefix=[*self.prefix, *prefix], **settings)
        made.keygen()
        self.daemons.append(made)
        return made

    def capturing(self, name: str = "s1", port: int = PORT, **settings) -> Daemon:
        """A real sensor on the interface `vb`, not started."""
        settings = {"interface": "vb", "ringbuffer": 8, "server_destination": "127.0.0.1", "server_key": self.pin,
                    "server_destination_port": port} | settings  # fmt: skip
        return self.daemon(name, **settings)

    def simulated(self, name: str = "s1", port: int = PORT, **more) -> Sensor:
        """A sensor without packets, not started."""
        made = Sensor(self.folder / name, self.namespace, self.psk, port=port, name=name, pin=self.pin, **more)
        self.sensors.append(made)
        return made

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_) -> None:
        for sensor in self.sensors:
            sensor.stop()
        for daemon in self.daemons:
            daemon.kill()

    # -- what is in the central's database -----------------------------------------------------------

    def rows(self, table: str = "calls", columns: str = "hex(uuid)") -> list[tuple]:
        """Of the central's database, whether the central runs or not; all values as text where it is MariaDB."""
        query = f"SELECT {columns} FROM {table}"  # noqa: S608
        if self.server:
            return [tuple(line.split("\t")) for line in self.server.sql(query, self.database).splitlines()]
        path = self.central.folder / "spool" / "calls.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as database:
            return database.execute(query).fetchall()

    def gaps(self) -> int:
        """Records that sensors said they had to give up."""
        return sum(int(count) for (count,) in self.rows("gaps", "count"))

    def stored(self) -> collections.Counter[bytes]:
        """uuid -> how many rows have it."""
        return collections.Counter(bytes.fromhex(uuid) for (uuid,) in self.rows())

    # -- the check that always follows ---------------------------------------------------------------

    def check(self, *created: bytes, quarantined: int = 0, sensors: bool = True) -> dict[str, int]:
        """What was created (`created`, and all that simulated sensors made) is stored once, given up by name, or in the
        quarantine; the counts."""
        wanted = {*created, *(uuid for sensor in self.sensors for uuid in sensor.made)}
        stored, gaps = self.stored(), self.gaps()
        counts = {"created": len(wanted), "rows": sum(stored.values()), "gaps": gaps}
        assert not (strange := set(stored) - wanted), f"{len(strange)} rows that nobody made; {counts}"
        assert max(stored.values(), default=0) <= 1, f"rows with one uuid; {counts}"
        calls = collections.Counter(self.rows("calls", "call_id"))
        assert max(calls.values(), default=0) <= 1, f"rows with one Call-ID: {calls.most_common(1)}"
        assert len(self.rows("cdr_quarantine")) == quarantined, counts
        assert counts["created"] == counts["rows"] + gaps + quarantined, counts
        for sensor in self.sensors if sensors else ():
            state = sensor.state
            assert state.created == state.acknowledged + state.queued + state.gaps, state
        self.no_traceback()
        return counts

    def no_traceback(self) -> None:
        for daemon in self.daemons:
            assert "Traceback" not in daemon.log(), daemon.log()[-3000:]


def committed(daemon: Daemon) -> list[bytes]:
    """The uuids of the calls that are durable in the outbox of `daemon`, which may be dead: its promise."""
    path = daemon.folder / "spool" / "outbox.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as database:
        return [uuid for (uuid,) in database.execute("SELECT uuid FROM outbox WHERE kind = ? ORDER BY seq", (CALL,))]


def captures(status: dict) -> bool:
    return "capture_read_packets_total" in status.get("capture", {})


def settled(status: dict) -> bool:
    return status["records"]["queued"] == 0 and status["capture"]["calls_active"] == 0


def wait(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
