"""Two centrals over one MariaDB, and a sensor whose list names both: real daemons."""

import itertools
import secrets

import pytest
from support.fleet import Hosts, arrive

_names = (f"f{number}_{secrets.token_hex(3)}" for number in itertools.count())
BOTH = "127.0.0.1, 127.0.0.2"


@pytest.mark.parametrize("sender", ["no", "yes"])
def test_calls_go_to_the_other_central_and_back_each_once(namespace, tmp_path, mariadb_server, sender):
    """B14."""
    name = next(_names)
    mariadb_server.database(name)
    with Hosts(namespace, tmp_path) as hosts:
        shared = {"mysqlhost": mariadb_server.socket, "mysqldb": name, "mysqluser": name}
        first = hosts.add("c1", server_bind="127.0.0.1", **shared)
        second = hosts.add("c2", server_bind="127.0.0.2", **shared)
        a = hosts.add("a", interface="vb", server_destination=BOTH, packetbuffer_sender=sender)
        said = first.command("db", "migrate", "--user", "root")
        assert said.returncode == 0, said.stderr
        hosts.start()

        def at(central: str) -> None:
            """Until the sensor is connected to that central."""

            def there(status: dict) -> bool:
                link = status["packets"]["links"][0] if sender == "yes" else status["link"]
                return (link["state"], link["central"]) == ("connected", central)

            a.until(there, 60)

        at("c1")
        hosts.place(1, 2)
        arrive(second, [1, 2])  # one database: it does not matter who is asked
        first.kill()
        hosts.place(3, 4)
        at("c2")
        hosts.place(5, 6)
        arrive(second, range(1, 7), 40)
        first.start(wait=None)
        at("c1")  # within half a minute, since it stands first in the list
        hosts.place(7, 8)
        calls = arrive(second, range(1, 9), 40)
        by = {int(call["caller"]): call["analysed_by"] for call in calls}
        wanted = {1: "c1", 5: "c2", 7: "c1"} if sender == "yes" else dict.fromkeys((1, 5, 7), "")
        assert {number: by[number] for number in wanted} == wanted
