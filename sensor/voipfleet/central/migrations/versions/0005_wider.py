"""An index for a filter that can be rare says what any other filter asks of its calls."""

import sqlalchemy as sa
from alembic import op
from voipfleet.central import schema

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Able to run again, as 0002 says. One statement on MariaDB: a search meanwhile finds the old or the new."""
    connection = op.get_bind()
    there = {index["name"]: index["column_names"] for index in sa.inspect(connection).get_indexes("calls")}
    narrow = [index for index in schema.calls.indexes if there.get(index.name) != [one.name for one in index.columns]]
    if connection.dialect.name == "sqlite":
        for index in narrow:
            index.drop(connection, checkfirst=True)
            index.create(connection)
    elif narrow:
        changes = [f"DROP INDEX {index.name}" for index in narrow if index.name in there]
        changes += [f"ADD INDEX {index.name} ({', '.join(one.name for one in index.columns)})" for index in narrow]
        connection.exec_driver_sql(f"ALTER TABLE calls {', '.join(changes)}")


def downgrade() -> None:
    """The release before searches by the wider ones as well."""
