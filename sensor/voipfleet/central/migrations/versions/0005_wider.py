"""An index for a filter that can be rare says what any other filter asks of its calls."""

import sqlalchemy as sa
from alembic import op
from voipfleet.central import schema

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Able to run again, as 0002 says. An index each, so that a run that was cut short goes on where it was."""
    connection = op.get_bind()
    there = {index["name"]: index["column_names"] for index in sa.inspect(connection).get_indexes("calls")}
    for index in schema.calls.indexes:
        if there.get(index.name) == [one.name for one in index.columns]:
            continue
        if connection.dialect.name == "sqlite":
            index.drop(connection, checkfirst=True)
            index.create(connection)
        else:  # in one statement, so that searches, which name it, always find one
            drop = f"DROP INDEX {index.name}, " * (index.name in there)
            columns = ", ".join(one.name for one in index.columns)
            connection.exec_driver_sql(f"ALTER TABLE calls {drop}ADD INDEX {index.name} ({columns})")


def downgrade() -> None:
    """The release before searches by the wider ones as well."""
