"""Insert or update, for MariaDB/MySQL and SQLite."""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite


def upsert(table: sa.Table, on_sqlite: bool, newer: str | None = None, *, replace: bool = False) -> sa.Insert:
    """Insert; a row that is there is kept, replaced (`replace`), or replaced if column `newer` is greater."""
    keys = [column.name for column in table.primary_key]
    rest = [c.name for c in table.columns if c.name not in keys and c.name != newer]
    if on_sqlite:
        insert = sqlite.insert(table)
        if not (newer or replace):
            return insert.on_conflict_do_nothing(index_elements=keys)
        columns = [*rest, newer] if newer else rest
        condition = insert.excluded[newer] > table.c[newer] if newer else None
        new = {name: insert.excluded[name] for name in columns}
        return insert.on_conflict_do_update(index_elements=keys, set_=new, where=condition)
    insert = mysql.insert(table)
    if replace:
        return insert.on_duplicate_key_update({name: insert.inserted[name] for name in rest})
    if not newer:  # a no-op update, since INSERT IGNORE would also hide what does not fit
        return insert.on_duplicate_key_update({keys[0]: table.c[keys[0]]})
    is_newer = insert.inserted[newer] > table.c[newer]
    # The server assigns from left to right: the compared column comes last.
    new = [(name, sa.func.IF(is_newer, insert.inserted[name], table.c[name])) for name in [*rest, newer]]
    return insert.on_duplicate_key_update(new)
