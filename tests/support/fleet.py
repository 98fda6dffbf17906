"""A fleet of daemons in one network namespace, calls placed in it, and what must have become of them."""

import secrets
import subprocess
import sys
from pathlib import Path

from support import caller
from support.daemon import Daemon

CALLER = Path(caller.__file__)


class Hosts:
    """Instances of one fleet in one namespace, made with their configuration and started by `start`."""

    def __init__(self, namespace: str, folder: Path):
        self.folder, self.prefix = folder, ["ip", "netns", "exec", namespace]
        self._password = folder / "password"
        self._password.write_text(secrets.token_urlsafe(32) + "\n")
        self._password.chmod(0o600)
        self.all: dict[str, Daemon] = {}

    def add(self, name: str, **settings) -> Daemon:
        settings = {"server_password_file": self._password, "name_sensor": name, "ringbuffer": 8} | settings
        made = self.all[name] = Daemon(self.folder / name, prefix=self.prefix, **settings)
        made.keygen()
        return made

    def start(self) -> None:
        """Receivers were added first."""
        for daemon in self.all.values():
            daemon.start()

    def place(self, *numbers: int, rtp: int = 20, lost: int = 0) -> None:
        for number in numbers:
            words = [sys.executable, CALLER, "va", str(number), str(rtp), str(lost), "bye"]
            subprocess.run([*self.prefix, *words], check=True)

    def __enter__(self) -> "Hosts":
        return self

    def __exit__(self, *_) -> None:
        for daemon in self.all.values():
            daemon.kill()


def arrive(store: Daemon, numbers, seconds: float = 20) -> list[dict]:
    """The store's calls once those of all numbers have come."""
    wanted = sorted(numbers)
    store.until(lambda _: len(store.calls()) >= len(wanted), seconds)
    calls = store.calls()
    assert sorted(int(call["caller"]) for call in calls) == wanted
    return calls


def complete(calls: list[dict], sensor: str, analysed_by: str, lost: int = 0, rtp: int = 20) -> None:
    for call in calls:
        assert (call["sensor"], call["analysed_by"]) == (sensor, analysed_by)
        assert (call["end_reason"], call["partial"], call["drops"]) == ("bye", False, 0)
        figures = {stream["direction"]: (stream["received"], stream["lost"]) for stream in call["streams"]}
        assert figures == {"caller": (rtp - lost, lost), "callee": (rtp, 0)}


LOCAL = {"server_destination": "127.0.0.1"}
