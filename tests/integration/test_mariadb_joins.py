"""Calls of several records on a real MariaDB, also through two centrals at once."""

import itertools
import random
import threading

import pytest
import sqlalchemy as sa
from support.halves import Sensors, media, signalling, told
from support.records import count
from voipfleet.central import migrate, schema
from voipfleet.central.store import Store

_names = (f"j{number}" for number in itertools.count())


@pytest.fixture
def place(mariadb_server):
    """The URL of a database that is ready, as its user."""
    name = next(_names)
    mariadb_server.database(name)
    url = sa.URL.create("mysql+pymysql", username="root", database=name,
                        query={"charset": "utf8mb4", "unix_socket": str(mariadb_server.socket)})  # fmt: skip
    administrator = sa.create_engine(url)
    migrate.upgrade(administrator, "here")
    administrator.dispose()
    return url.set(username=name)


@pytest.fixture
def stores(place):
    """Two centrals on one database."""
    made = [Store(place), Store(place)]
    for store in made:
        store.prepare()
    yield made
    for store in made:
        store.close()


def parts(calls: int) -> list[tuple[str, object]]:
    """Three of each call, an hour apart on the same ports: two sites and a sensor that sees RTP only."""
    found = []
    for hour in range(calls):
        near, far = signalling(3600 * hour), signalling(3600 * hour + 0.02)
        far.call_id = near.call_id
        found += [("near", near), ("far", far), ("rtp", media(3600 * hour + 1, 3600 * hour + 19))]
    return found


def test_any_order_gives_the_same_and_what_comes_again_changes_nothing(stores):
    sensors, found = Sensors(), parts(6)
    random.Random(1).shuffle(found)
    for number, (name, part) in enumerate(found):
        sensors.send(stores[number % 2], name, part)
    calls = told(stores[0])
    assert [(call["views"], len(call["streams"]), call["one_way"]) for call in calls] == [(3, 2, False)] * 6
    before = stores[0].calls()
    for number, (name, part) in enumerate(found):
        sensors.send(stores[number % 2], name, part)
    assert stores[1].calls() == before


def test_two_centrals_at_once_make_one_row_of_each_call(stores):
    """Each sensor sends to a central of its own, all at the same time."""
    found = parts(40)
    errors = []

    def feed(name: str, store: Store) -> None:
        sensors = Sensors()
        try:
            for _, part in (one for one in found if one[0] == name):
                sensors.send(store, name, part)
        except Exception as error:  # for the test to see
            errors.append(error)

    third = Store(stores[0]._engine.url)
    pairs = zip(("near", "far", "rtp"), [*stores, third], strict=True)
    threads = [threading.Thread(target=feed, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    third.close()
    assert not errors
    assert [(call["views"], len(call["streams"])) for call in told(stores[0])] == [(3, 2)] * 40
    assert (count(stores[0], schema.calls), count(stores[0], schema.parts)) == (40, 120)
    assert count(stores[0], schema.quarantine) == 0


def test_a_database_of_before_takes_a_sender_for_its_calls(mariadb_server, place):
    """What 0003 did in part, or not at all, is done by the next."""
    administrator = sa.create_engine(place.set(username="root"))
    mariadb_server.sql("ALTER TABLE calls DROP COLUMN origin; DROP TABLE parts, endpoints;"
                       "DELETE FROM meta WHERE name = 'joining'; UPDATE alembic_version SET version_num = '0002';",
                       place.database)  # fmt: skip
    migrate.upgrade(administrator, "here")
    administrator.dispose()
    store, sensors, call = Store(place), Sensors(), signalling()
    store.prepare()
    sensors.send(store, "near", call)
    mariadb_server.sql("UPDATE calls SET origin = ''", place.database)
    call.revision = 2
    sensors.send(store, "far", call)
    call.revision = 3
    sensors.send(store, "near", call)
    assert [found.revision for found in store.calls()] == [2]
    store.close()
