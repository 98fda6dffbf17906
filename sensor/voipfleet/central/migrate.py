"""Brings a database to this release's schema (Alembic, without an ini file)."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from voipfleet.central.faults import StoreUnavailable


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def head() -> str:
    """The schema revision that this release needs."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def current(connection: Connection) -> str | None:
    """The schema revision of the database; None where it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def check(connection: Connection, place: str) -> None:
    """StoreUnavailable, with the way out, where the schema is not this release's."""
    found, needed = current(connection), head()
    if found == needed:
        return
    is_at = f"database ({place}): schema is at {found or 'nothing'}"
    if found and found not in _known():
        raise StoreUnavailable(f"{is_at}, newer than this release, which knows {needed}; install the newer release")
    raise StoreUnavailable(f"{is_at}, this release needs {needed}; run `voipfleet db migrate`")


def upgrade(engine: Engine, place: str) -> None:
    """Run what is missing; nothing where the schema is up to date. StoreUnavailable where it is newer than that."""
    config = _config()
    with engine.begin() as connection:
        if (found := current(connection)) and found not in _known():
            check(connection, place)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _known() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
