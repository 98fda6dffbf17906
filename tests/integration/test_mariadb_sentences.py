"""What `voipfleet calls`, `db check` and `db migrate` say when the database is not as it should be: one sentence."""

import itertools

import pytest
from support.daemon import Daemon

_names = (f"x{number}" for number in itertools.count())


@pytest.fixture
def instance(mariadb_server, tmp_path):
    """A configuration whose database and user exist, without tables."""
    name = next(_names)
    mariadb_server.database(name)
    made = Daemon(tmp_path, server_bind="127.0.0.1", mysqlhost=mariadb_server.socket, mysqldb=name, mysqluser=name)
    made.database = name
    return made


def says(instance, *words: str) -> str:
    """The sentence of a command that fails."""
    said = instance.command(*words)
    assert (said.returncode, said.stdout) == (1, ""), said.stderr
    (line,) = said.stderr.splitlines()
    return line


def change(instance, old, new) -> None:
    text = instance.config.read_text()
    assert str(old) in text
    instance.config.write_text(text.replace(str(old), new))


COMMANDS = pytest.mark.parametrize("words", [("db", "check"), ("calls",), ("calls", "--json")], ids=" ".join)


@COMMANDS
def test_nobody_listens(mariadb_server, instance, words):
    change(instance, mariadb_server.socket, "/nowhere/s")
    line = says(instance, *words)
    assert line.startswith(f"database (/nowhere/s, database {instance.database}): Can't connect to MySQL server")
    assert line.endswith("; start it, or correct mysqlhost and mysqlport")


@COMMANDS
def test_access_denied(instance, words):
    change(instance, f"mysqluser = {instance.database}", "mysqluser = stranger\nmysqlpassword = quite-secret-7")
    line = says(instance, *words)
    assert "Access denied for user 'stranger'@'localhost'" in line
    assert line.endswith("; correct mysqluser and mysqlpassword, or grant that user this database")
    assert "quite-secret-7" not in line


def test_no_such_database(instance):
    change(instance, f"mysqldb = {instance.database}", "mysqldb = nowhere")
    # Who has no right on any database of that name is not told whether there is one.
    assert says(instance, "db", "check").endswith("or grant that user this database")
    assert says(instance, "db", "migrate", "--user", "root").endswith(
        "Unknown database 'nowhere'; create it, or correct mysqldb"
    )


@COMMANDS
def test_no_schema(instance, words):
    line = says(instance, *words)
    assert line.endswith("schema is at nothing, this release needs 0005; run `voipfleet db migrate`")


@pytest.mark.parametrize("words", [("db", "check"), ("calls",), ("db", "migrate", "--user", "root")], ids=" ".join)
def test_a_schema_of_a_newer_release(mariadb_server, instance, words):
    assert instance.command("db", "migrate", "--user", "root").returncode == 0
    mariadb_server.sql("UPDATE alembic_version SET version_num = '9999'", instance.database)
    assert says(instance, *words).endswith(
        "schema is at 9999, newer than this release, which knows 0005; install the newer release"
    )


def test_the_daemons_user_may_not_migrate(instance):
    line = says(instance, "db", "migrate")
    assert "CREATE command denied" in line
    assert line.endswith("tables are changed by `voipfleet db migrate --user ADMINISTRATOR`")


def test_a_server_whose_settings_would_lose_something(mariadb_server, instance):
    assert instance.command("db", "migrate", "--user", "root").returncode == 0
    before = mariadb_server.sql("SELECT @@GLOBAL.sql_mode, @@GLOBAL.max_allowed_packet").split()
    try:
        mariadb_server.sql("SET GLOBAL sql_mode = ''")
        assert "sql_mode lacks STRICT_TRANS_TABLES" in says(instance, "db", "check")
        mariadb_server.sql(f"SET GLOBAL sql_mode = '{before[0]}'; SET GLOBAL max_allowed_packet = 1048576")
        assert says(instance, "db", "check").endswith("max_allowed_packet is 1048576; set at least 16M")
    finally:
        mariadb_server.sql(f"SET GLOBAL sql_mode = '{before[0]}'; SET GLOBAL max_allowed_packet = {before[1]}")
    assert instance.command("db", "check").returncode == 0
    mariadb_server.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    try:
        said = instance.command("db", "check")
    finally:
        mariadb_server.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
    assert (said.returncode, "acknowledged records can be lost with power" in said.stderr) == (0, True)
