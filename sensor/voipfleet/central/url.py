"""The database that a configuration names, as a SQLAlchemy URL. The password never leaves the URL object."""

import contextlib
import os
import pwd

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from voipfleet.errors import ConfigError, Fault
from voipfleet.secrets import read_secret


def database_url(config) -> URL:
    """`database_url`, else the mysql keys, else SQLite in `spooldir`; ConfigError where it makes no sense."""
    if config.database_url:
        try:
            return make_url(config.database_url)
        except ArgumentError:
            reason = "is not a database URL; give one as in sqlite:////var/lib/voipfleet/calls.db"
            raise ConfigError(
                [Fault(config.where, config.lines.get("database_url", 0), "database_url", reason)]
            ) from None
    if config.mysqlhost:
        local = config.mysqlhost.startswith("/")
        return URL.create(
            "mysql+pymysql", username=config.mysqluser, password=read_secret(config, "mysqlpassword"),
            host=None if local else config.mysqlhost, port=None if local else config.mysqlport,
            database=config.mysqldb,
            query={"charset": "utf8mb4"} | ({"unix_socket": config.mysqlhost} if local else {}),
        )  # fmt: skip
    return URL.create("sqlite", database=f"{config.spooldir}/calls.db")


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
