"""What networks do to a link, and who else may answer or call (rows 12 to 17, 24, 26, 27)."""

import socket
import subprocess
import threading
import time

import pytest
from faults.harness import PORT, Fleet
from support import netns
from support.chaos import Chaos
from voipfleet.link import frames, handshake, keys

LIVE = 200  # records/s


def nft(fleet, *words: str) -> None:
    subprocess.run([*fleet.prefix, "nft", *words], check=True)


def block(fleet, what: str) -> None:
    """All that goes to the central's port: `drop`, or `reject with tcp reset`."""
    nft(fleet, "add table inet faults; add chain inet faults out { type filter hook output priority 0; };"
               f" add rule inet faults out tcp dport {PORT} {what}")  # fmt: skip


def opened(fleet) -> None:
    nft(fleet, "delete table inet faults")


@pytest.mark.parametrize("seconds", [5, pytest.param(600, marks=pytest.mark.soak)])
def test_row12_a_long_outage_is_made_up_for_in_order(fleet, saw, seconds):
    fleet.central.start()
    sensor = fleet.simulated().start()
    sensor.until(lambda sensor: sensor.connected)
    with sensor.load(LIVE):
        block(fleet, "drop")
        time.sleep(1)
        sensor.put(max(0, 20_000 - seconds * LIVE))  # a short outage is one with a long one's backlog
        time.sleep(seconds)
        waiting = sensor.state.queued
        assert waiting >= max(20_000, seconds * LIVE) * 0.9
        opened(fleet)
        sensor.until(lambda sensor: sensor.state.queued < waiting, 60)
        took = sensor.until(lambda sensor: sensor.state.queued < LIVE, 200)
    rate = waiting / took
    assert rate >= 5 * LIVE, f"{rate:.0f} records/s"
    sensor.drained()
    counts = fleet.check()
    order = [bytes.fromhex(uuid) for (uuid,) in fleet.rows("calls ORDER BY rowid")]
    assert order == sensor.made
    saw(
        f"nft drops the port for {seconds} s at {LIVE} records/s, {waiting:,} records wait",
        f"{counts['created']:,} records, in order, 0 lost, 0 twice; {rate:,.0f} records/s while {LIVE}/s came in",
    )


def test_row13_beyond_its_bound_the_outbox_gives_up_the_oldest_and_says_how_many(fleet, saw):
    fleet.central.start()
    fleet.central.stop()
    sensor = fleet.simulated(quota_rows=2000).start()
    for _ in range(50):
        sensor.put(100)
        sensor.until(lambda sensor: sensor.state.next_seq > len(sensor.made))
    fleet.central.start()
    sensor.drained()
    counts = fleet.check()
    assert counts["rows"] >= 1900 and counts["gaps"] >= 3000 and len(fleet.rows("gaps", "count")) == 1
    kept = set(fleet.stored())
    first = next(number for number, uuid in enumerate(sensor.made) if uuid in kept)
    assert set(sensor.made[first:]) == kept  # the newest, without a hole
    saw(
        "5,000 records into an outbox of 2,000 while the central is away",
        f"{counts['rows']} newest delivered, {counts['gaps']} told as given up at the central: "
        f"{counts['created']} in all",
    )


@pytest.mark.parametrize("way", ["reject with tcp reset",
                                 pytest.param("drop", marks=pytest.mark.soak),
                                 pytest.param("SIGSTOP", marks=pytest.mark.soak)])  # fmt: skip
def test_row14_a_peer_that_refuses_swallows_or_is_silent(fleet, saw, way):
    fleet.central.start()
    sensor = fleet.simulated().start()
    sensor.until(lambda sensor: sensor.connected)
    sensor.put(10)
    sensor.drained()
    fleet.central.process.send_signal(19) if way == "SIGSTOP" else block(fleet, way)
    sensor.put(100)
    noticed = sensor.until(lambda sensor: not sensor.connected, 60)
    sensor.put(900)
    sensor.until(lambda sensor: sensor.state.queued == 1000, 5)  # nobody waits for the link
    fleet.central.process.send_signal(18) if way == "SIGSTOP" else opened(fleet)
    back = sensor.until(lambda sensor: sensor.connected, 45)
    sensor.drained()
    counts = fleet.check()
    assert noticed <= 46
    saw(
        f"{'nft ' if way != 'SIGSTOP' else ''}{way}",
        f"noticed after {noticed:.0f} s, back {back:.0f} s after its end; {counts['created']} records, 0 lost, 0 twice",
    )


def test_row16_a_wrong_bit_ends_the_connection_and_nothing_else(fleet, saw):
    fleet.central.start()
    with Chaos(PORT, namespace=fleet.namespace) as chaos:
        chaos.up.flip_every = 1 << 20
        sensor = fleet.simulated(port=chaos.port).start()
        for _ in range(16):  # beginning with a mebibyte, less what was carried already
            sensor.put(500)
            sensor.drained()
        counts, connections = fleet.check(), sensor.uplink.connections
    carried = sum(link.carried[0] for link in chaos.links) >> 20
    assert connections > carried // 2 >= 1
    saw(
        "the proxy changes one bit a MiB",
        f"{counts['created']} records in {carried} MiB and {connections} connections, 0 lost, 0 twice",
    )


def test_row17_an_end_without_the_last_word_is_told_and_made_up_for(fleet, saw, caplog):
    def told() -> list[str]:
        """What the sensor said of each end; its `why` is gone as soon as it is connected again."""
        return [text for text in caplog.messages if "without a word" in text or "broke" in text]

    fleet.central.start()
    with Chaos(PORT, namespace=fleet.namespace) as chaos:
        sensor = fleet.simulated(port=chaos.port).start()
        for reset in (False, True, False, True):
            sensor.until(lambda sensor: sensor.connected)
            chaos.up.cut_after = chaos.links[-1].carried[0] + 30_000  # in the midst of a batch
            links, before = len(chaos.links), len(told())
            sensor.put(400)
            sensor.until(lambda sensor, links=links: len(chaos.links) > links)
            assert len(told()) > before
            chaos.up.cut_after = None
            sensor.drained()
            chaos.hang_up(reset)
            sensor.until(lambda sensor, links=links: len(chaos.links) > links + 1)
        sensor.drained()
        counts = fleet.check()
    saw(
        "the proxy ends the connection in the midst of a batch, with FIN and with RST, 8 times",
        f'{counts["created"]} records, 0 lost, 0 twice; "{told()[-1]}"',
    )


def test_row24_who_is_refused_keeps_its_records_and_tries_at_intervals(namespace, tmp_path, saw):
    with Fleet(namespace, tmp_path, auth="key", sensor_keys="x", require_knock="yes") as fleet:
        wrong, unknown, revoked = (fleet.simulated(name) for name in ("wrong", "unknown", "revoked"))
        wrong._psk = bytes(32)
        allow(fleet, wrong, revoked)
        fleet.central.start()
        revoked.start().put(5)
        revoked.drained()
        allow(fleet, wrong)
        fleet.central.stop()
        fleet.central.start()
        for sensor in (wrong, unknown):
            sensor.start()
        for sensor in fleet.sensors:
            sensor.put(10)
        for reason in ("password", "unknown_key"):
            fleet.central.until(lambda status, reason=reason: counted(status, f"refused_{reason}") >= 2)
        time.sleep(2)
        status = fleet.central.until(lambda status: True)
        tries = counted(status, "refused_password") + counted(status, "refused_unknown_key")
        assert tries < 60 and [sensor.state.queued for sensor in fleet.sensors] == [10, 10, 10]
        audit = fleet.central.command("audit", "--event", "link_refused").stdout
        assert all(f'reason="{reason}"' in audit for reason in ("password", "unknown_key"))
        assert fleet.password.read_text().strip() not in fleet.central.log() + audit
        allow(fleet, wrong, unknown, revoked)
        wrong.stop()
        wrong._psk = fleet.psk
        wrong.start()
        fleet.central.stop()
        fleet.central.start()
        for sensor in fleet.sensors:
            sensor.drained()
        counts = fleet.check()
    saw(
        "a wrong password, a key that is not listed, one that was taken off the list",
        f"refused {tries} times within seconds, each reason in the audit log; once mended all"
        f" {counts['created']} records came",
    )


def allow(fleet, *sensors) -> None:
    """These are in `sensor_keys` from the next start on."""
    listed = ", ".join(f"{sensor.name}:{keys.encode(sensor.identity.public)}" for sensor in sensors)
    lines = fleet.central.config.read_text().splitlines()
    lines = [f"sensor_keys = {listed}" if line.startswith("sensor_keys") else line for line in lines]
    fleet.central.config.write_text("\n".join([*lines, ""]))


def counted(status: dict, name: str) -> int:
    return sum(listener.get(name, 0) for listener in status.get("listeners", ()))


def test_row26_an_impostor_gets_nothing(fleet, saw):
    fleet.central.start()
    impostor = fleet.daemon("impostor", name_sensor="hq", server_bind="127.0.0.1", server_bind_port=60025)
    impostor.start()
    with Chaos(60025, namespace=fleet.namespace) as chaos:
        sensor = fleet.simulated(port=chaos.port).start()
        sensor.put(10)
        sensor.until(lambda sensor: len(chaos.links) >= 3 and "pinned" in sensor.uplink.why)
        assert {bytes(link.up[handshake.M1 :]) for link in chaos.links} == {b""}
        assert any(len(link.down) == handshake.M2 for link in chaos.links)
        tries = len(chaos.links)
        chaos.to = PORT
        sensor.drained()
        counts = fleet.check()
    saw(
        "connections are led to a central with another key and the right password",
        f"{tries} connections, each with message 1 only; then all {counts['created']} records went to the right one",
    )


def test_row27_a_recorded_connection_is_worth_nothing(fleet, saw):
    fleet.central.start()
    with Chaos(PORT, namespace=fleet.namespace) as chaos:
        sensor = fleet.simulated(port=chaos.port).start()
        sensor.put(100)
        sensor.drained()
        sensor.stop()
    up, down = bytes(chaos.links[0].up), bytes(chaos.links[0].down)
    before, cursor = fleet.stored(), fleet.rows("link_cursor", "last_seq")
    for size in (handshake.M1, handshake.M1 + handshake.M3, len(up)):
        answer = talk(fleet, up[:size])
        assert len(answer) <= handshake.M2  # never a header, never a welcome
    status = fleet.central.until(lambda status: sum(counted(status, f"refused_{why}")
                                                    for why in ("bad_m3", "password")) >= 2)  # fmt: skip
    with answering(fleet, down) as (port, heard):
        other = fleet.simulated("other", port=port).start()
        other.put(5)
        other.until(lambda other: "not from a voipfleet server that got this request" in other.uplink.why)
        assert {len(said) for said in heard} == {handshake.M1}
        other.stop()
    assert (fleet.stored(), fleet.rows("link_cursor", "last_seq")) == (before, cursor)
    fleet.sensors.remove(other)
    counts = fleet.check(sensors=False)
    assert counted(status, "sessions") == 1 and len(up) > handshake.M1 + handshake.M3 + frames.HEADER
    saw(
        f"{len(up)} recorded bytes of a sensor are said to the central again, the central's to a sensor",
        f"refused both ways; no row beside the {counts['rows']}, no cursor moved",
    )


def talk(fleet, said: bytes, wait: float = 6.0) -> bytes:
    """What the central answers until it hangs up."""
    got = []

    def run() -> None:
        netns.enter(fleet.namespace)
        with socket.create_connection(("127.0.0.1", PORT), timeout=wait) as client:
            client.sendall(said)
            try:
                while data := client.recv(65536):
                    got.append(data)
            except ConnectionResetError:
                pass

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return b"".join(got)


class answering:
    """A server in the namespace that says `down` to whoever calls: its port, and what each said."""

    def __init__(self, fleet, down: bytes):
        self._namespace, self._down, self.heard = fleet.namespace, down, []

    def __enter__(self):
        ready = threading.Event()

        def run() -> None:
            netns.enter(self._namespace)
            self._listening = socket.create_server(("127.0.0.1", 0))
            ready.set()
            while True:
                try:
                    client, _ = self._listening.accept()
                except OSError:
                    return
                with client:
                    client.settimeout(2)
                    client.sendall(self._down)
                    said = b""
                    try:
                        while data := client.recv(65536):
                            said += data
                    except OSError:
                        pass
                    self.heard.append(said)

        threading.Thread(target=run, daemon=True).start()
        ready.wait()
        return self._listening.getsockname()[1], self.heard

    def __exit__(self, *_) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
