"""Registrations stand beside calls: what a row is of."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """0001 makes what the schema in code says, so a new database has the column already.

    MariaDB commits every change of a table at once: each migration must be able to run again after it was cut short.
    """
    if "method" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("calls")}:
        op.add_column("calls", sa.Column("method", sa.String(16), nullable=False, server_default="INVITE"))


def downgrade() -> None:
    op.drop_column("calls", "method")
