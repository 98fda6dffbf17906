"""Records as a sensor sends them, and a look into the store's tables."""

import os

import sqlalchemy as sa
from voipfleet.calls import record
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.central.store import Store
from voipfleet.records.messages import CALL, Row

EPOCH = b"e" * 16
NOON = 1_700_000_000_000_000_000  # ns; 2023-11-14, UTC
DAY = 86_400 * 1_000_000_000


def call(uuid: bytes | None = None, revision: int = 1, **more) -> CallRecord:
    stream = StreamRecord(direction="caller", src="a:1", dst="b:2", ssrc=1, lost=3, expected=9, mos=4.2)
    fields = {"call_id": "x@y", "setup_time": NOON, "caller": "100", "streams": [stream]} | more
    return CallRecord(uuid=uuid or os.urandom(16), revision=revision, **fields)


def row(seq: int, found: CallRecord) -> Row:
    return Row(seq, found.uuid, found.revision, CALL, record.encode(found))


def count(store: Store, table: sa.Table) -> int:
    with store._engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
