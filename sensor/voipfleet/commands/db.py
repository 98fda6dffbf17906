"""`voipfleet db migrate`: bring the database to this release's schema."""

import argparse
from pathlib import Path

from voipfleet import config, errors
from voipfleet.commands import DEFAULT_CONFIG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["migrate", "check"], help="migrate the schema, or check that all is ready")
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")
    parser.add_argument("--user", help="database user with the right to change tables (default: mysqluser)")
    parser.add_argument(
        "--password-file", metavar="FILE", type=Path, help="file with that user's password, if it has one"
    )


def run(args: argparse.Namespace) -> int:
    settings = config.load(args.config)
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    from voipfleet.central import faults, migrate
    from voipfleet.central.store import Store
    from voipfleet.central.url import database_url, place, to_ask

    if args.action == "check":
        url = to_ask(settings)
        store = Store(url)
        try:
            store.prepare(make=False)
        finally:
            store.close()
        print(f"database ({place(url)}): ready, schema {migrate.head()}")
        return errors.OK
    url = database_url(settings)
    if args.user:
        url = url.set(username=args.user, password=_password(args.password_file))
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            before = migrate.current(connection)
        migrate.upgrade(engine, place(url))
    except SQLAlchemyError as error:
        raise errors.VoipfleetError(faults.sentence(place(url), error)) from None
    finally:
        engine.dispose()
    changed = "nothing to do" if before == migrate.head() else f"from {before or 'nothing'}"
    print(f"database ({place(url)}): schema {migrate.head()}, {changed}")
    return errors.OK


def _password(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text("utf-8").removesuffix("\n")
    except OSError as error:
        raise errors.UsageError(f"{path}: cannot be read ({error.strerror}); check --password-file") from None
