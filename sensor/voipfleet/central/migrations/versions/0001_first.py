"""The first schema."""

import os

from alembic import op
from voipfleet.central import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    connection = op.get_bind()
    schema.metadata.create_all(connection)
    # The store's own name: a cursor belongs to one database, not to one server.
    connection.execute(schema.meta.insert().values(name="store_uuid", value=os.urandom(16)))


def downgrade() -> None:
    schema.metadata.drop_all(op.get_bind())
