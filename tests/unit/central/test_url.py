"""Which database a configuration names, and what is said where there is none."""

import pytest
from voipfleet import config
from voipfleet.central.store import Store
from voipfleet.central.url import database_url, place
from voipfleet.cli import main
from voipfleet.errors import ConfigError


@pytest.fixture
def settings(tmp_path):
    def load(**values):
        path = tmp_path / "voipfleet.conf"
        lines = [f"{key} = {value}" for key, value in ({"spooldir": tmp_path, "interface": "lo"} | values).items()]
        path.write_text("\n".join(["[general]", *lines, ""]))
        return config.load(str(path))

    return load


def test_which(settings, tmp_path):
    assert str(database_url(settings())) == f"sqlite:///{tmp_path}/calls.db"
    found = database_url(settings(mysqlhost="db1", mysqlpassword="p/@:"))
    assert (found.host, found.port, found.password, found.database) == ("db1", 3306, "p/@:", "voipfleet")
    assert place(found) == "db1, database voipfleet"
    for text in ("mysql://u:p@h/d", "mariadb://u:p@h/d", "mariadb+pymysql://u:p@h/d"):
        assert database_url(settings(database_url=text)).drivername == "mysql+pymysql"


@pytest.mark.parametrize(
    "text", ["nonsense", "postgresql://u:quite-secret-7@h/d", "mysql+nothing://u:quite-secret-7@h/d"]
)
def test_a_database_that_cannot_be_used_is_a_fault_of_the_configuration(settings, text):
    with pytest.raises(ConfigError, match="database_url: is no URL of a database that can be used; give one") as error:
        database_url(settings(database_url=text))
    assert "quite-secret-7" not in str(error.value)


@pytest.mark.parametrize("words", [["calls"], ["db", "check"]], ids=" ".join)
def test_a_command_that_reads_makes_no_database(settings, tmp_path, capsys, words):
    settings()
    assert main([*words, "--config", f"{tmp_path}/voipfleet.conf"]) == 1
    said = f"database ({tmp_path}/calls.db): No such file or directory; the running daemon makes it\n"
    assert capsys.readouterr().err == said
    assert not (tmp_path / "calls.db").exists()


def test_an_instance_without_a_database_says_who_has_it(settings, tmp_path, capsys):
    settings(server_destination="hq")
    for words in (["calls"], ["db", "check"]):
        assert main([*words, "--config", f"{tmp_path}/voipfleet.conf"]) == 1
        assert capsys.readouterr().err == "this instance sends its records to hq; ask there\n"


def test_reading_does_not_wait_for_who_writes(settings, tmp_path, capsys):
    """The daemon's transaction is open; `voipfleet calls` answers with what was committed."""
    store = Store(database_url(settings()))
    store.prepare()
    with store._engine.begin():
        assert main(["calls", "--config", f"{tmp_path}/voipfleet.conf"]) == 0
    assert capsys.readouterr().out == "No calls.\n"
    store.close()


def test_a_schema_of_a_newer_release(settings, tmp_path, capsys):
    store = Store(database_url(settings()))
    store.prepare()
    with store._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    store.close()
    for words in (["calls"], ["db", "check"], ["db", "migrate"]):
        assert main([*words, "--config", f"{tmp_path}/voipfleet.conf"]) == 1
        said = "schema is at 9999, newer than this release, which knows 0005; install the newer release\n"
        assert capsys.readouterr().err.endswith(said)
