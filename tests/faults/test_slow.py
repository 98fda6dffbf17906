"""What is slow must slow nothing else down (rows 14 and 15, with real sensors)."""

import struct
import time

from faults.harness import PORT, Fleet, captures, committed, settled, wait
from faults.strangers import memory
from faults.traffic import Calls, inside
from support import mariadb
from support.caller import TO_B, Wire
from support.chaos import Chaos


def test_row15_a_slow_central(fleet, saw):
    fleet.central.start()
    with Chaos(PORT, namespace=fleet.namespace) as chaos:
        sensor = fleet.capturing(port=chaos.port)
        sensor.start()
        calls = Calls(fleet.namespace, 200)
        calls.place(50)
        sensor.until(lambda status: status["records"]["acknowledged"] >= 50)
        chaos.up.rate = 5 << 10
        before, most, until = memory(sensor.process.pid), 0.0, time.monotonic() + 10
        with calls:
            while time.monotonic() < until:
                most = max(most, memory(sensor.process.pid))
                time.sleep(0.1)
        waiting = sensor.until(lambda status: True)
        placed = len(calls.placed)
        assert waiting["records"]["queued"] > placed / 2 and waiting["link"]["state"] == "connected"
        assert most - before < 20
        chaos.up.rate = 0
        sensor.until(lambda status: settled(status) and status["records"]["acknowledged"] >= placed, 60)
        counts = fleet.check(*committed(sensor))
        assert waiting["capture"]["capture_kernel_drops_total"] == 0
    saw(f"the proxy lets 5 KiB/s through for 10 s, {calls.rate} calls/s",
        f"{waiting['records']['queued']} of {placed} records waited on disk, the connection stayed; memory grew by"
        f" {most - before:.1f} MiB; then all {counts['created']} came")  # fmt: skip


def test_row14_the_database_holds_still_and_capture_does_not_notice(namespace, tmp_path, saw):
    """A sensor that stores into MariaDB itself: nobody between capture and database but its own disk."""
    seconds = 4
    with mariadb.server() as server, Fleet(namespace, tmp_path, server) as fleet:
        own = {"mysqlhost": server.socket, "mysqldb": fleet.database, "mysqluser": fleet.database}
        sensor = fleet.daemon("s1", interface="vb", ringbuffer=64, **own)
        sensor.start()
        sensor.until(captures)
        calls, wire = Calls(namespace, 20), inside(namespace, lambda: Wire("va"))
        server.pause()
        try:
            start, sent = time.monotonic(), 0
            with calls:
                while (passed := time.monotonic() - start) < seconds:
                    for _ in range(min(2000, int(passed * 50_000) - sent)):
                        wire.udp(TO_B, 30_000, 30_002, struct.pack("!BBHII", 0x80, 0, sent & 0xFFFF, 0, 9) + bytes(20))
                        sent += 1
        finally:
            server.resume()
        placed = len(calls.placed)
        status = sensor.until(lambda status: settled(status) and status["records"]["created"] > placed, 60)
        wait(lambda: len(fleet.rows()) >= placed)
        counts = fleet.check(*committed(sensor))
        assert status["capture"]["capture_kernel_drops_total"] == 0 and counts["rows"] == placed
    saw(f"SIGSTOP of MariaDB for {seconds} s, {sent / seconds:,.0f} packets/s and {calls.rate} calls/s",
        f"0 of {status['capture']['capture_packets_total']:,} packets dropped by the kernel; all {counts['created']}"
        " records came")  # fmt: skip
