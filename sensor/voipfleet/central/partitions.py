"""Table `calls` by days: on MariaDB partitions, made ahead, dropped by age; and the days that a statement is about.

Uuids are looked for in few partitions: each is an index of its own, and a table of years has thousands.
"""

import datetime
from collections.abc import Collection

import sqlalchemy as sa

from voipfleet.central import schema

AHEAD = 7  # days that have a partition before they begin
LATER = "later"  # takes what no other partition does
TABLES = ("calls", "addresses")
_DAY = datetime.timedelta(days=1)


def within(days: Collection[datetime.date], back: int, ahead: int) -> sa.ColumnElement[bool]:
    """Of a row of `calls`: its day is one of `days`, or at most `back` days before, or `ahead` after, one."""
    runs: list[list[datetime.date]] = []
    for day in sorted(days):
        first, last = _moved(day, -back), _moved(day, ahead)
        if runs and first <= runs[-1][1]:
            runs[-1][1] = max(last, runs[-1][1])
        else:
            runs.append([first, last])
    return sa.or_(sa.false(), *(schema.calls.c.day.between(*run) for run in runs))


def _moved(day: datetime.date, by: int) -> datetime.date:
    try:
        return day + by * _DAY
    except OverflowError:
        return day


def bounds(connection: sa.Connection, table: str) -> dict[str, datetime.date | None]:
    """Partition -> the day before which its rows are (None: any), in order; empty where the table has none."""
    query = sa.text("SELECT partition_name, partition_description FROM information_schema.partitions"
                    " WHERE table_schema = DATABASE() AND table_name = :table AND partition_name IS NOT NULL"
                    " ORDER BY partition_ordinal_position")  # fmt: skip
    return {name: None if text == "MAXVALUE" else datetime.date.fromisoformat(text.strip("'"))
            for name, text in connection.execute(query, {"table": table})}  # fmt: skip


def prepare(connection: sa.Connection, today: datetime.date) -> None:
    """Partition the tables where they are not, from the first day that has a call on. It copies them."""
    for table in TABLES:
        if not bounds(connection, table):
            oldest = connection.execute(sa.select(sa.func.min(schema.metadata.tables[table].c.day))).scalar_one()
            first = min(max(oldest or today, today - 3650 * _DAY), today)
            connection.exec_driver_sql(f"ALTER TABLE {table} PARTITION BY RANGE COLUMNS (day)"
                                       f" ({_definitions(first, today + AHEAD * _DAY)})")  # fmt: skip


def extend(connection: sa.Connection, today: datetime.date) -> int:
    """Make the partitions of the days to come, out of the one that takes what has none; how many."""
    made = 0
    for table in TABLES:
        there = bounds(connection, table)
        known = [day for day in there.values() if day]
        first, last = (max(known) if known else today), today + AHEAD * _DAY
        if LATER in there and first <= last:
            made += (last - first).days + 1
            connection.exec_driver_sql(f"ALTER TABLE {table} REORGANIZE PARTITION {LATER} INTO"
                                       f" ({_definitions(first, last)})")  # fmt: skip
    return made


def drop(connection: sa.Connection, before: datetime.date) -> list[str]:
    """Drop the partitions whose calls are all of before that day; their names."""
    gone: list[str] = []
    for table in TABLES:
        old = [name for name, day in bounds(connection, table).items() if day and day <= before]
        if old:
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP PARTITION {', '.join(old)}")
            gone += [name for name in old if name not in gone]
    return gone


def _definitions(first: datetime.date, last: datetime.date) -> str:
    """One for each day. They are dates and nothing else, so they may stand in a statement."""
    days = [first + number * _DAY for number in range((last - first).days + 1)]
    each = [f"PARTITION p{day:%Y%m%d} VALUES LESS THAN ('{day + _DAY}')" for day in days]
    return ", ".join([*each, f"PARTITION {LATER} VALUES LESS THAN MAXVALUE"])
