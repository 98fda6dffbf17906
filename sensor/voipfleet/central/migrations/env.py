"""Alembic's entry: runs the scripts on the connection that voipfleet.central.migrate hands over."""

from alembic import context

from voipfleet.central.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
