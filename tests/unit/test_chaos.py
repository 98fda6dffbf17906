"""The chaos proxy does what it says, so that a test of a fault is one of that fault."""

import contextlib
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.chaos import Chaos, flipped


@pytest.fixture
def echo():
    """The port of a server that says what it is told."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=[listening.accept()[0]], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listening.getsockname()[1]
    listening.close()


@pytest.fixture
def chaos(echo):
    with Chaos(echo) as made:
        yield made


@pytest.fixture
def client(chaos):
    with socket.create_connection(("127.0.0.1", chaos.port), timeout=5) as made:
        yield made


def take(client: socket.socket, count: int) -> bytes:
    """`count` bytes, or what came until the end."""
    got = b""
    while len(got) < count and (data := client.recv(count - len(got))):
        got += data
    return got


def test_it_carries_and_remembers(chaos, client):
    sent = bytes(range(256)) * 500
    threading.Thread(target=client.sendall, args=[sent]).start()
    assert take(client, len(sent)) == sent
    (link,) = chaos.links
    assert bytes(link.up) == bytes(link.down) == sent
    assert link.carried == [len(sent)] * 2 and chaos.open == 1


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_cut_lets_exactly_so_many_bytes_through(chaos, client, way):
    getattr(chaos, way).cut_after = 1000
    client.sendall(bytes(5000))
    assert len(take(client, 5000)) <= 1000
    (link,) = chaos.links
    assert link.carried[way == "down"] == 1000 and not client.recv(1)


def test_delay_and_rate(chaos, client):
    chaos.up.delay = 0.2
    start = time.monotonic()
    client.sendall(b"x")
    take(client, 1)
    assert time.monotonic() - start >= 0.2
    chaos.up.delay, chaos.down.rate = 0, 10_000
    start = time.monotonic()
    client.sendall(bytes(5000))
    take(client, 5000)
    assert 0.4 <= time.monotonic() - start < 3


def test_silent_holds_the_connection_and_says_nothing_until_it_speaks_again(chaos, client):
    client.sendall(b"a")
    assert take(client, 1) == b"a"
    chaos.silent = True
    time.sleep(0.1)
    client.sendall(b"b")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(1)
    chaos.silent = False
    client.settimeout(5)
    assert take(client, 1) == b"b"


def test_hang_up_with_fin_and_with_reset(chaos, client):
    client.sendall(b"a")
    take(client, 1)
    chaos.hang_up()
    assert client.recv(1) == b""
    with socket.create_connection(("127.0.0.1", chaos.port), timeout=5) as second:
        second.sendall(b"a")
        take(second, 1)
        chaos.hang_up(reset=True)
        with pytest.raises(ConnectionResetError):
            second.recv(1)


def test_closed_and_a_server_that_is_away_end_connections(chaos):
    chaos.closed = True
    with socket.create_connection(("127.0.0.1", chaos.port), timeout=5) as client:
        assert client.recv(1) == b""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with Chaos(port) as other, socket.create_connection(("127.0.0.1", other.port), timeout=5) as client:
        assert client.recv(1) == b"" and not other.links


def test_a_port_that_is_taken_is_an_error(chaos):
    with pytest.raises(OSError), Chaos(1, port=chaos.port):
        pass


@given(st.binary(max_size=300), st.integers(1, 50), st.integers(0, 300))
def test_the_same_bits_are_wrong_however_the_bytes_are_cut(data, every, cut):
    whole = flipped(data, 0, every)
    assert flipped(data[:cut], 0, every) + flipped(data[cut:], min(cut, len(data)), every) == whole
    wrong = [at for at, (a, b) in enumerate(zip(data, whole, strict=True)) if a != b]
    assert wrong == list(range(every - 1, len(data), every))
