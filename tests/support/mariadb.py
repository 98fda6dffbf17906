"""A MariaDB server of a test's own: data in a temporary folder, a Unix socket, no network."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


class MariaDB:
    """`socket` is what clients connect to; `sql()` runs statements as its administrator."""

    def __init__(self, folder: Path, options: tuple[str, ...] = ()):
        self.folder, self.socket, self.options = folder, folder / "s", options
        self._as = ["--user=mysql"] if os.geteuid() == 0 else []
        # A server that starts removes temporary tables from its folder for them, whoever's they are.
        self._environment = os.environ | {"TMPDIR": str(folder)}
        self._process: subprocess.Popen | None = None

    def install(self) -> None:
        if self._as:
            shutil.chown(self.folder, "mysql")
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={self.folder}/data", "--skip-test-db",
             "--auth-root-authentication-method=normal", *self._as],
            check=True, capture_output=True, env=self._environment,
        )  # fmt: skip

    def start(self) -> None:
        log = (self.folder / "log").open("a")
        self._process = subprocess.Popen(
            [shutil.which("mariadbd") or "/usr/sbin/mariadbd", "--no-defaults", f"--datadir={self.folder}/data",
             f"--socket={self.socket}", "--skip-networking", f"--pid-file={self.folder}/pid",
             "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--innodb-lock-wait-timeout=2",
             *self._as, *self.options],
            stdout=log, stderr=log, env=self._environment,
        )  # fmt: skip
        end = time.monotonic() + 30
        while subprocess.run([*self._client, "-e", "SELECT 1"], capture_output=True, check=False).returncode:
            assert time.monotonic() < end, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """As if its machine had lost power."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It holds its connections and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def sql(self, statements: str, database: str = "") -> str:
        done = subprocess.run([*self._client, database], input=statements, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def database(self, name: str) -> None:
        """A database `name` and its user `name`, who may change rows but no tables."""
        self.sql(f"CREATE DATABASE {name} CHARACTER SET utf8mb4; CREATE USER {name}@localhost;"
                 f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO {name}@localhost;")  # fmt: skip

    @property
    def _client(self) -> list[str]:
        return ["mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch", "--skip-column-names"]


@contextlib.contextmanager
def server(parent: str | None = None, options: tuple[str, ...] = ()) -> Iterator[MariaDB]:
    """A running server, its data in a new folder in `parent`; skips where MariaDB is not installed."""
    if not (shutil.which("mariadbd") or Path("/usr/sbin/mariadbd").exists()) or not shutil.which("mariadb"):
        pytest.skip("needs mariadb-server")
    # Short: a Unix socket's path has at most 107 bytes, and pytest's own folders are longer.
    folder = Path(tempfile.mkdtemp(prefix="vf-mariadb-", dir=parent))
    made = MariaDB(folder, options)
    try:
        made.install()
        made.start()
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder, ignore_errors=True)
