"""Fixtures of the integration tests."""

import os
import shutil

import pytest
from support import mariadb
from support.netns import veth_namespace


@pytest.fixture
def namespace():
    """The name of a network namespace with a veth pair va-vb."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and iproute2")
    with veth_namespace() as name:
        yield name


@pytest.fixture(scope="session")
def mariadb_server():
    """A MariaDB server of this run's own."""
    with mariadb.server() as made:
        yield made
