"""A call of several records: who sent each, its parts, and where calls had their media."""

import sqlalchemy as sa
from alembic import op
from voipfleet.central import schema

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Able to run again, as 0002 says. Calls of before name no sender: whoever revises one first has it."""
    connection = op.get_bind()
    schema.metadata.create_all(connection, tables=[schema.parts, schema.joins, schema.endpoints])
    if "origin" not in {column["name"] for column in sa.inspect(connection).get_columns("calls")}:
        op.add_column("calls", sa.Column("origin", schema.calls.c.origin.type, nullable=False, server_default=""))
    meta = schema.meta
    if connection.execute(sa.select(meta.c.name).where(meta.c.name == "joining")).first() is None:
        connection.execute(meta.insert().values(name="joining", value=b""))


def downgrade() -> None:
    schema.metadata.drop_all(op.get_bind(), tables=[schema.parts, schema.joins, schema.endpoints])
    op.drop_column("calls", "origin")
    op.get_bind().execute(schema.meta.delete().where(schema.meta.c.name == "joining"))
