"""A voipfleet process of a test: its configuration, its life, and what it says."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

VOIPFLEET = [sys.executable, "-m", "voipfleet"]


class Daemon:
    """One instance in `folder`, run behind `prefix` (as in `ip netns exec NAME`). Its log is in `folder`/log."""

    def __init__(self, folder: Path, *, prefix: list[str] = (), **settings):
        self.folder, self.prefix = folder, list(prefix)
        self.config = folder / "voipfleet.conf"
        folder.mkdir(parents=True, exist_ok=True)
        defaults = {"spooldir": folder / "spool", "control_socket": folder / "control", "key_file": folder / "node.key"}
        lines = [f"{key} = {value}" for key, value in (defaults | settings).items()]
        self.config.write_text("\n".join(["[general]", *lines, ""]))
        self.process: subprocess.Popen | None = None

    def command(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess:
        """`voipfleet WORDS --config ...`, its output captured."""
        return subprocess.run([*self.prefix, *VOIPFLEET, *words, "--config", str(self.config)],
                              capture_output=True, text=True, timeout=timeout, check=False)  # fmt: skip

    def keygen(self) -> str:
        """The public key, made where there is none."""
        words = [*VOIPFLEET, "keygen", "--file", str(self.folder / "node.key")]
        subprocess.run(words, check=True, capture_output=True)
        return subprocess.run([*words, "--public"], check=True, capture_output=True, text=True).stdout.strip()

    def start(self, wait: float | None = 20) -> None:
        """Start it and wait until it is healthy (not at all with `wait` None)."""
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *VOIPFLEET, "run", "--config", str(self.config)], stderr=log, stdout=log
            )
        if wait:
            health = self.command("status", "--wait", str(wait))
            assert health.returncode == 0, health.stderr + self.log()

    def until(self, condition, seconds: float = 15) -> dict:
        """The status once `condition(status)` holds."""
        end = time.monotonic() + seconds
        while True:
            said = self.command("status", "--json")
            status = json.loads(said.stdout) if said.returncode == 0 else {}
            if status and condition(status):
                return status
            assert time.monotonic() < end, f"{status or said.stderr}\n{self.log()}"
            time.sleep(0.1)

    def calls(self) -> list[dict]:
        said = self.command("calls", "--json", "--limit", "0")
        assert said.returncode == 0, said.stderr
        return [json.loads(line) for line in said.stdout.splitlines()]

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it with a signal; the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process = None
        return code

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
