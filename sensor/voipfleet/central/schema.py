"""The central's tables (SQLAlchemy Core), for MariaDB/MySQL and SQLite.

A call is keyed (uuid, day): `day` is the UTC date of its setup, fixed in the record, so a resend finds its
row, and MariaDB can partition by it (it allows no unique key without the partitioning column). The whole
record is in `body` (msgpack CallRecord, streams included); the other columns are promoted for filters.

On MariaDB, `calls` and `addresses` are partitioned by day (voipfleet.central.partitions).

InnoDB keeps rows in the order of their primary key. Uuids are random, so rows would go all over the table, and the rate
falls to a third once it is larger than the server's memory. There, calls are in the order of arrival, `id`, and
(uuid, day) is a unique key beside it; no statement names `id`. SQLite does the same by itself.
"""

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Date,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    event,
)
from sqlalchemy.dialects.mysql import DOUBLE, LONGBLOB, VARBINARY

metadata = MetaData()
TEXT = 255  # characters of a promoted SIP value; the full value is in the body

_uuid = LargeBinary(16).with_variant(VARBINARY(16), "mysql", "mariadb")
_key = LargeBinary(48).with_variant(VARBINARY(48), "mysql", "mariadb")
_real = Float().with_variant(DOUBLE(asdecimal=False), "mysql", "mariadb")  # FLOAT has 24 bits: 3.6 is not 3.6
_blob = LargeBinary().with_variant(LONGBLOB(), "mysql", "mariadb")
_table = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
}

PROMOTED = (
    "call_id", "sensor", "site", "caller", "callee", "caller_domain", "callee_domain", "end_reason", "hung_up_by",
)  # fmt: skip
FILTERED = ("verdict", "site", "sensor", "caller_key", "callee_key", "src_ip", "dst_ip", "mos")

calls = Table(
    "calls", metadata,
    Column("uuid", _uuid, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("method", String(16), nullable=False, server_default="INVITE"),  # REGISTER: a registration
    *(Column(name, String(TEXT), nullable=False) for name in PROMOTED),
    Column("setup_time", BigInteger, nullable=False),  # ns since the epoch, as the three others
    Column("answer_time", BigInteger, nullable=False),
    Column("end_time", BigInteger, nullable=False),
    Column("duration", _real, nullable=False),
    Column("connect_duration", _real, nullable=False),
    Column("final_response", Integer, nullable=False),
    Column("one_way", Integer, nullable=False),
    Column("partial", Integer, nullable=False),
    Column("caller_lost", Integer),  # of what the caller sent; NULL: no stream seen
    Column("caller_mos", _real),
    Column("callee_lost", Integer),
    Column("callee_mos", _real),
    Column("origin", _uuid, nullable=False, server_default=""),  # the sensor that sent it and may revise it
    Column("body", _blob, nullable=False),
    # What searches and figures need, as voipfleet.central.facts says; `kind` -1: not filled in yet.
    Column("kind", SmallInteger, nullable=False, server_default="-1"),
    Column("verdict", Integer, nullable=False, server_default="0"),
    *(Column(name, _key, nullable=False, server_default="")
      for name in ("caller_key", "callee_key", "caller_tail", "callee_tail")),
    Column("src_ip", _uuid, nullable=False, server_default=""),  # of the first INVITE; 4 or 16 bytes, or none
    Column("dst_ip", _uuid, nullable=False, server_default=""),
    Column("pdd", _real),
    Column("mos", _real),  # of the worst stream
    Column("lost", BigInteger),  # of both directions; NULL: no stream seen
    Column("expected", BigInteger),
    # A narrow copy in the order of time: figures and most filters never touch a row. MySQL allows 16 columns.
    Index("calls_facts", "kind", "setup_time", "verdict", "site", "sensor", "caller_key", "callee_key",
          "src_ip", "dst_ip", "duration", "connect_duration", "pdd", "mos", "lost", "expected"),
    # For each filter that may be rare: its calls in the order of time, with what any other filter asks of them.
    *(Index(f"calls_{name}", *lead, "setup_time", *(one for one in FILTERED if one not in lead)) for name, lead in (
        ("verdict", ("kind", "verdict")), ("site", ("kind", "site")), ("sensor", ("kind", "sensor")),
        ("src_ip", ("src_ip", "kind")), ("dst_ip", ("dst_ip", "kind")))),
    Index("calls_caller_key", "caller_key", "kind", "setup_time"),
    Index("calls_callee_key", "callee_key", "kind", "setup_time"),
    Index("calls_caller_tail", "caller_tail", "kind", "setup_time"),
    Index("calls_callee_tail", "callee_tail", "kind", "setup_time"),
    Index("calls_call_id", "call_id"),
    **_table,
)  # fmt: skip

# Addresses of a call's media that are not src_ip or dst_ip: phones mostly send both from one. What a revision no longer
# has stays: whoever finds a call here looks at it.
addresses = Table(
    "addresses", metadata,
    Column("address", _uuid, primary_key=True),  # 4 or 16 bytes
    Column("setup_time", BigInteger, primary_key=True, autoincrement=False),
    Column("uuid", _uuid, primary_key=True),
    Column("day", Date, primary_key=True),
    **_table,
)  # fmt: skip

_in_order_of_arrival = DDL(
    "ALTER TABLE calls DROP PRIMARY KEY, ADD UNIQUE KEY calls_uuid (uuid, day),"
    " ADD COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT FIRST, ADD PRIMARY KEY (id, day)"
)
event.listen(calls, "after_create", _in_order_of_arrival.execute_if(dialect=("mysql", "mariadb")))

# What a call was made of, where it is more than one record, and every record of streams without a call; as they came.
parts = Table(
    "parts", metadata,
    Column("uuid", _uuid, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("origin", _uuid, nullable=False),
    Column("body", _blob, nullable=False),
    Column("day", Date),  # as of `calls`: when it may go
    Index("parts_day", "day"),
    **_table,
)  # fmt: skip

# Which parts a row of `calls` was made of. Streams may be of several calls: legs that share their media.
joins = Table(
    "joins", metadata,
    Column("call", _uuid, primary_key=True),
    Column("part", _uuid, primary_key=True),
    Index("joins_part", "part"),
    **_table,
)  # fmt: skip

# Where calls, and streams without one, had their media: how one finds the other. Kept from the first such stream on.
endpoints = Table(
    "endpoints", metadata,
    Column("address", String(64), primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),  # ns, by the central's clock
    Column("uuid", _uuid, primary_key=True),  # of a row of `calls`, or of a part of method RTP
    Column("last", BigInteger, nullable=False),
    Column("streams", Integer, nullable=False),  # 1: of a part of method RTP
    Index("endpoints_uuid", "uuid"),
    Index("endpoints_first", "first"),
    **_table,
)  # fmt: skip

sensors = Table(
    "sensors", metadata,
    Column("uuid", _uuid, primary_key=True),
    Column("name", String(TEXT), nullable=False),
    Column("key", String(TEXT), nullable=False),  # the static key bound to this uuid, hex; "" before the first link
    Column("address", String(TEXT), nullable=False),
    Column("site", String(TEXT), nullable=False),
    Column("version", String(64), nullable=False),
    Column("mode", String(TEXT), nullable=False),
    Column("sensor_id", Integer, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    Column("last_probe", BigInteger, nullable=False),
    Column("counters", Text, nullable=False),  # JSON
    Column("via", String(TEXT), nullable=False, server_default=""),  # the host behind which it stands
    Column("fingerprint", String(64), nullable=False, server_default=""),  # of the key that it came with last
    Column("connected", BigInteger, nullable=False, server_default="0"),  # ns; since when; 0: not known
    Column("packets_per_second", _real),  # between its last two statuses; NULL: not known
    **_table,
)  # fmt: skip

# What a sensor said of itself, a row a minute.
sensor_history = Table(
    "sensor_history", metadata,
    Column("uuid", _uuid, primary_key=True),
    Column("minute", Integer, primary_key=True, autoincrement=False),  # since the epoch
    Column("packets_per_second", _real),
    *(Column(name, BigInteger)
      for name in ("calls", "drops", "backlog", "disk_free", "disk_size", "pool_bytes", "oldest", "clock_offset_us")),
    Index("sensor_history_minute", "minute"),
    **_table,
)  # fmt: skip

link_cursor = Table(
    "link_cursor", metadata,
    Column("sensor_uuid", _uuid, primary_key=True),
    Column("epoch", _uuid, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("last_uuid", _uuid, nullable=False),
    **_table,
)  # fmt: skip

quarantine = Table(
    "cdr_quarantine", metadata,
    Column("uuid", _uuid, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("sensor_uuid", _uuid, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("error", String(1000), nullable=False),
    Column("body", _blob, nullable=False),
    **_table,
)  # fmt: skip

gaps = Table(
    "gaps", metadata,
    Column("uuid", _uuid, primary_key=True),
    Column("sensor_uuid", _uuid, nullable=False),
    Column("from_seq", BigInteger, nullable=False),
    Column("to_seq", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("reason", String(TEXT), nullable=False),
    Column("at", BigInteger, nullable=False),
    **_table,
)  # fmt: skip

# `store_uuid`: this database's own name. `joining`: held by whoever writes calls, so that two centrals never make two
# rows of one call; it says what there is to be looked for (voipfleet.central.joins).
meta = Table(
    "meta", metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary(64).with_variant(VARBINARY(64), "mysql", "mariadb"), nullable=False),
    **_table,
)  # fmt: skip

# Calls that retention does not touch, whoever asked for it and why.
holds = Table(
    "holds", metadata,
    Column("uuid", _uuid, primary_key=True),
    Column("who", String(TEXT), nullable=False),
    Column("why", String(TEXT), nullable=False),
    Column("at", BigInteger, nullable=False),
    **_table,
)  # fmt: skip

# Their rows, from before the partition that they were in was dropped (voipfleet.central.retention).
held_calls = Table(
    "held_calls", metadata,
    Column("uuid", _uuid, primary_key=True),
    Column("day", Date, nullable=False),
    Column("origin", _uuid, nullable=False),
    Column("body", _blob, nullable=False),
    **_table,
)  # fmt: skip

# Calls, and parts of calls, that were erased and must not come back.
erased = Table(
    "erased", metadata,
    Column("uuid", _uuid, primary_key=True),
    Column("at", BigInteger, nullable=False),
    **_table,
)  # fmt: skip
