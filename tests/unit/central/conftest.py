"""A store of a test's own."""

import pytest
import sqlalchemy as sa
from voipfleet.central.store import Store


@pytest.fixture
def store(tmp_path):
    made = Store(sa.make_url(f"sqlite:///{tmp_path}/calls.db"))
    made.prepare()
    yield made
    made.close()
