"""Databases as an earlier release left them: what its migrations had made, as the server wrote it down."""

from pathlib import Path

import sqlalchemy as sa

_FOLDER = Path(__file__).parent / "schemas"


def make(engine: sa.Engine, revision: str) -> None:
    """The tables of a release, empty but for what its migrations put into them."""
    kind = "sqlite" if engine.dialect.name == "sqlite" else "mariadb"
    with engine.begin() as connection:
        for statement in (_FOLDER / f"{revision}.{kind}.sql").read_text("utf-8").split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
        connection.execute(sa.text("INSERT INTO alembic_version VALUES (:at)"), {"at": revision})
        meta = sa.text("INSERT INTO meta (name, value) VALUES (:name, :value)")
        connection.execute(meta, [{"name": "store_uuid", "value": b"s" * 16}, {"name": "joining", "value": b""}])


def look(engine: sa.Engine) -> dict[str, set[str]]:
    """Every table with its columns, keys, indexes and partitions, whatever their order."""
    found = {}
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        for table in inspector.get_table_names():
            columns = {f"{c['name']} {c['type']!r} {c['nullable']} {str(c['default'] or '').strip(chr(39))}"
                       for c in inspector.get_columns(table)}  # fmt: skip
            indexes = {f"{i['name']} {i['column_names']} {i['unique']}" for i in inspector.get_indexes(table)}
            found[table] = columns | indexes | {f"key {inspector.get_pk_constraint(table)['constrained_columns']}"}
            if engine.dialect.name != "sqlite":
                from voipfleet.central import partitions

                found[table] |= {f"partition {name}" for name in partitions.bounds(connection, table)}
    return found
