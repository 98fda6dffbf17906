"""What happens downstream is no matter of the capture: 50,000 packets/s while the database does not answer."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from faults.harness import wait
from support import mariadb
from support.daemon import Daemon

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from traffic import write

RATE, LENGTH = 50_000, 4.0  # packets/s; s of a call


@pytest.mark.soak
@pytest.mark.parametrize("seconds", [60])
def test_row14_a_database_that_hangs_for_a_minute_costs_no_packet(namespace, tmp_path, saw, seconds):
    """Capture, analysis, outbox, link and a central with MariaDB on this one machine; the database is stopped."""
    path = tmp_path / "traffic.pcap"
    length = seconds + 15
    made = write(path, int(RATE * length / (100 * LENGTH)), LENGTH, True, spread=float(length))
    with mariadb.server(options=("--innodb-buffer-pool-size=128M",)) as server:
        server.database("voipfleet")
        inside = ["ip", "netns", "exec", namespace]
        (tmp_path / "password").write_text("p" * 32)
        common = {"server_password_file": tmp_path / "password"}
        hq = Daemon(tmp_path / "hq", prefix=inside, server_bind="127.0.0.1", mysqlhost=server.socket,
                    mysqldb="voipfleet", mysqluser="voipfleet", **common)  # fmt: skip
        branch = Daemon(tmp_path / "branch", prefix=inside, interface="vb", server_destination="127.0.0.1", **common)
        try:
            for daemon in (hq, branch):
                daemon.keygen()
            assert hq.command("db", "migrate", "--user", "root").returncode == 0
            hq.start()
            branch.start()
            words = [*inside, "tcpreplay", "-K", "--pps", str(RATE), "-i", "va", str(path)]
            replay = threading.Thread(target=lambda: subprocess.run(words, check=True, capture_output=True))
            replay.start()
            time.sleep(5)
            server.pause()
            try:
                time.sleep(seconds)
                hung = branch.until(lambda status: True)
            finally:
                server.resume()
            replay.join()
            assert hung["records"]["queued"] > 1000 and hung["capture"]["calls"] > 1000
            wait(lambda: server.sql("SELECT count(*) FROM calls", "voipfleet") == f"{made['calls']}\n", 120)
            status = branch.until(lambda status: status["records"]["queued"] == 0, 30)
        finally:
            branch.kill()
            hq.kill()
    capture = status["capture"]
    assert capture["capture_kernel_drops_total"] == 0 and capture["pipe_records_dropped_total"] == 0
    # A packet that finds no room in the queue of the veth pair has not come to the capture.
    assert capture["capture_read_packets_total"] >= 0.99 * made["packets"]
    assert all(law["holds"] for law in status["laws"])
    saw(f"SIGSTOP of MariaDB for {seconds} s, {RATE:,} packets/s, {made['calls']:,} calls over the link to a central",
        f"0 of {capture['capture_packets_total']:,} packets dropped by the kernel; {hung['records']['queued']:,}"
        f" records waited, then all {made['calls']:,} were in the table")  # fmt: skip
