"""Alembic's scripts, shipped with the package and run by `voipfleet db migrate`."""
