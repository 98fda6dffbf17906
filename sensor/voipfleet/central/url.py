"""The database that a configuration names, as a SQLAlchemy URL. The password never leaves the URL object."""

import contextlib
import os
import pwd
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from voipfleet.errors import ConfigError, Fault, VoipfleetError
from voipfleet.secrets import read_secret

_MYSQL = "mysql+pymysql"
_DRIVERS = {"sqlite": "sqlite", **dict.fromkeys(("mysql", "mariadb", _MYSQL, "mariadb+pymysql"), _MYSQL)}


def database_url(config) -> URL:
    """`database_url`, else the mysql keys, else SQLite in `spooldir`; ConfigError where it makes no sense."""
    if config.database_url:
        with contextlib.suppress(ArgumentError):
            url = make_url(config.database_url)
            if driver := _DRIVERS.get(url.drivername):
                return url.set(drivername=driver)
        reason = "is no URL of a database that can be used; give one as in sqlite:////var/lib/voipfleet/calls.db"
        raise ConfigError([Fault(config.where, config.lines.get("database_url", 0), "database_url", reason)])
    if config.mysqlhost:
        local = config.mysqlhost.startswith("/")
        return URL.create(
            _MYSQL, username=config.mysqluser, password=read_secret(config, "mysqlpassword"),
            host=None if local else config.mysqlhost, port=None if local else config.mysqlport,
            database=config.mysqldb,
            query={"charset": "utf8mb4"} | ({"unix_socket": config.mysqlhost} if local else {}),
        )  # fmt: skip
    return URL.create("sqlite", database=f"{config.spooldir}/calls.db")


def to_ask(config) -> URL:
    """The database of this instance for a command that only reads; VoipfleetError where it has none (yet)."""
    if config.server_destination:
        raise VoipfleetError(f"this instance sends its records to {config.server_destination[0]}; ask there")
    url = database_url(config)
    if url.get_backend_name() == "sqlite":  # which would make an empty file, and one that is root's
        path = Path(str(url.database))
        try:
            path.stat()
        except OSError as error:
            raise VoipfleetError(f"database ({path}): {error.strerror}; the running daemon makes it") from None
    become_its_user(url)
    return url


def become_its_user(url: URL) -> None:
    """Root asks a local database as the system user that has the database user's name: that is how the database knows
    this instance (`IDENTIFIED VIA unix_socket`). Nothing for anybody else, another database, or a user with a password.
    """
    if os.geteuid() == 0 and "unix_socket" in url.query and url.username and not url.password:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(url.username)
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)


def place(url: URL) -> str:
    """Where the database is, for a sentence: no user, no password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return f"{url.query.get('unix_socket') or url.host or 'localhost'}, database {url.database}"
