"""A network namespace of a test's own, with a veth pair `va`-`vb` in it."""

import contextlib
import secrets
import subprocess
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def veth_namespace() -> Iterator[str]:
    """The namespace's name; skips where there are none. `ip netns exec NAME` runs something in it."""
    name = f"vf-{secrets.token_hex(4)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
    try:
        for command in (
            "link add name va type veth peer name vb", "link set lo up", "link set va up", "link set vb up",
        ):  # fmt: skip
            subprocess.run(["ip", "-n", name, *command.split()], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
