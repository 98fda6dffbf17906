"""Network namespaces of a test's own."""

import contextlib
import ctypes
import secrets
import subprocess
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def _namespace() -> Iterator[str]:
    name = f"vf-{secrets.token_hex(4)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
    try:
        _ip(name, "link set lo up")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def _ip(name: str, *commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", "-n", name, *command.split()], check=True)


@contextlib.contextmanager
def veth_namespace() -> Iterator[str]:
    """A namespace with a veth pair `va`-`vb` in it; skips where there are none. `ip netns exec NAME` runs in it."""
    with _namespace() as name:
        _ip(name, "link add name va type veth peer name vb", "link set va up", "link set vb up")
        yield name


@contextlib.contextmanager
def linked_namespaces() -> Iterator[tuple[str, str]]:
    """Two namespaces, `v0` of the first (10.0.0.1) linked with `v0` of the second (10.0.0.2)."""
    with _namespace() as near, _namespace() as far:
        _ip(near, f"link add name v0 type veth peer name v0 netns {far}")
        for name, address in ((near, "10.0.0.1/24"), (far, "10.0.0.2/24")):
            _ip(name, f"addr add {address} dev v0", "link set v0 up")
        yield near, far


def enter(name: str) -> None:
    """Puts the calling thread, and no other one, into the namespace `name`: sockets that it makes are of there."""
    with open(f"/run/netns/{name}") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0):
            raise OSError(ctypes.get_errno(), f"network namespace {name}: cannot be entered")
