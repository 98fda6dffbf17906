"""`voipfleet db`: bring the database to this release's schema, keep it in order, check it."""

import argparse
import contextlib
from pathlib import Path

from voipfleet import config, errors
from voipfleet.commands import DEFAULT_CONFIG

ACTIONS = ("migrate", "maintain", "check")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS, help="migrate the schema; maintain: make partitions of days to come,"
                        " remove what is older than cleandatabase says; or check that all is ready")  # fmt: skip
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help="configuration (%(default)s)")
    parser.add_argument("--user", help="database user with the right to change tables (default: mysqluser)")
    parser.add_argument(
        "--password-file", metavar="FILE", type=Path, help="file with that user's password, if it has one"
    )


def run(args: argparse.Namespace) -> int:
    settings = config.load(args.config)
    from voipfleet.central.url import database_url, place, to_ask

    if args.action == "check":
        return _check(to_ask(settings))
    if args.action == "maintain" and settings.server_destination:
        to_ask(settings)  # which says where the records are
    url = database_url(settings)
    if args.user:
        url = url.set(username=args.user, password=_password(args.password_file))
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    from voipfleet.central import faults

    engine = create_engine(url)
    try:
        print(f"database ({place(url)}): " + (_maintain if args.action == "maintain" else _migrate)(engine, settings))
    except SQLAlchemyError as error:
        raise errors.VoipfleetError(faults.sentence(place(url), error)) from None
    finally:
        engine.dispose()
    return errors.OK


def _check(url) -> int:
    from voipfleet.central import migrate
    from voipfleet.central.store import Store
    from voipfleet.central.url import place

    with contextlib.closing(Store(url)) as store:
        store.prepare(make=False)
    print(f"database ({place(url)}): ready, schema {migrate.head()}")
    return errors.OK


def _migrate(engine, _) -> str:
    from voipfleet.central import migrate
    from voipfleet.central.url import place

    with engine.connect() as connection:
        before = migrate.current(connection)
    migrate.upgrade(engine, place(engine.url))
    changed = "nothing to do" if before == migrate.head() else f"from {before or 'nothing'}"
    return f"schema {migrate.head()}, {changed}"


def _maintain(engine, settings) -> str:
    from voipfleet.central import migrate, retention
    from voipfleet.central.url import place

    with engine.connect() as connection:
        migrate.check(connection, place(engine.url))
    return str(retention.maintain(engine, settings.cleandatabase, settings.cleandatabase_history))


def _password(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text("utf-8").removesuffix("\n")
    except OSError as error:
        raise errors.UsageError(f"{path}: cannot be read ({error.strerror}); check --password-file") from None
