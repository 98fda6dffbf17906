"""Searches, figures, partitions, retention and holds on a real MariaDB."""

import datetime
import itertools
import os
import random

import pytest
import sqlalchemy as sa
from support import schemas
from support.daemon import Daemon
from support.halves import Sensors, media, signalling
from support.records import DAY, EPOCH, NOON, call, count, row
from voipfleet import filters
from voipfleet.calls.record import StreamRecord
from voipfleet.central import kpi, migrate, partitions, retention, schema, search, ways
from voipfleet.central.conditions import Query
from voipfleet.central.store import Peer, Store
from voipfleet.errors import VoipfleetError
from voipfleet.filters import Filter
from voipfleet.records.messages import Batch, Status

PEER = Peer(b"s" * 16, "branch1", "", "10.0.0.1")
TODAY = datetime.date(2023, 11, 20)
_names = (f"f{number}" for number in itertools.count())


@pytest.fixture
def place(mariadb_server):
    """The administrator's URL of an empty database."""
    name = next(_names)
    mariadb_server.database(name)
    return sa.URL.create("mysql+pymysql", username="root", database=name,
                         query={"charset": "utf8mb4", "unix_socket": str(mariadb_server.socket)})  # fmt: skip


@pytest.fixture
def administrator(place):
    engine = sa.create_engine(place)
    yield engine
    engine.dispose()


@pytest.fixture
def store(place, administrator):
    migrate.upgrade(administrator, "here")
    made = Store(place.set(username=place.database))
    made.prepare()
    yield made
    made.close()


def ingest(store, found, seq=1):
    for at in range(0, len(found), 400):
        rows = [row(seq + at + n, one) for n, one in enumerate(found[at : at + 400])]
        store.ingest(PEER, Batch(EPOCH, rows))


def test_a_new_database_and_an_upgraded_one_end_the_same(mariadb_server, place, administrator):
    other = next(_names)
    mariadb_server.database(other)
    old = sa.create_engine(place.set(database=other))
    schemas.make(old, "0003")
    migrate.upgrade(administrator, "new")
    assert schemas.look(old) != schemas.look(administrator)
    migrate.upgrade(old, "old")
    assert schemas.look(old) == schemas.look(administrator)
    for table in ("calls", "addresses", "parts", "sensors", "endpoints"):
        made = [sorted(mariadb_server.sql(f"SHOW CREATE TABLE {table}", name).replace("\\n", "\n").replace(",\n", "\n")
                       .split("\n")) for name in (other, place.database)]  # fmt: skip
        assert made[0] == made[1]
    with old.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0003'"))
    migrate.upgrade(old, "again")
    assert schemas.look(old) == schemas.look(administrator)
    old.dispose()


def test_narrow_indexes_of_before_become_wide(administrator):
    """As revision 0004 had made them; and where that was cut short, there is nothing of one."""
    migrate.upgrade(administrator, "here")
    before = schemas.look(administrator)
    with administrator.begin() as connection:
        for name, columns in (("verdict", "kind, verdict, setup_time, site, sensor"), ("src_ip", "src_ip, kind"),
                              ("site", "kind, site, setup_time, verdict")):  # fmt: skip
            connection.exec_driver_sql(f"ALTER TABLE calls DROP INDEX calls_{name}, ADD INDEX calls_{name} ({columns})")
        connection.exec_driver_sql("ALTER TABLE calls DROP INDEX calls_dst_ip")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0004'")
    assert schemas.look(administrator) != before
    migrate.upgrade(administrator, "here")
    assert schemas.look(administrator) == before


MOS = [None, 1.5, 3.6, 3.5999999999999996, 4.41]


def some_calls(number: int) -> list:
    chosen = random.Random(7)
    found = []
    for n in range(number):
        src, dst = f"192.0.2.{chosen.randrange(1, 5)}:5060", f"192.0.2.{chosen.randrange(1, 5)}:5060"
        phone = f"10.0.0.{chosen.randrange(1, 9)}:4000"
        stream = StreamRecord(direction="caller", src=phone, dst=dst, ssrc=1,
                              mos=chosen.choice(MOS), lost=1, expected=50)  # fmt: skip
        found.append(call(
            setup_time=NOON + chosen.randrange(4) * DAY + chosen.randrange(3), call_id=str(n), src=src, dst=dst,
            caller=chosen.choice(["+4930", "+49301", "100", "%_"]) + str(n % 7), callee=str(chosen.randrange(99)),
            final_response=chosen.choice([0, 200, 200, 404, 503]), one_way=chosen.random() < 0.1, streams=[stream],
            answer_time=chosen.choice([0, NOON]), pdd=chosen.random(), duration=chosen.random() * 900,
            site=chosen.choice(["n", "s"]), connect_duration=chosen.random() * 900,
        ))  # fmt: skip
    return found


WANTED = [
    {}, {"number": "+4930*"}, {"number": "*06"}, {"number": "9"}, {"number": "*9*"}, {"number": "30"},
    {"number": "00493"}, {"number": "30@hq"}, {"number": "%_*"}, {"address": "192.0.2.1"},
    {"address": "10.0.0.3"}, {"address": "10.0.0.0/29"}, {"response": "4xx,none"}, {"response": "503", "number": "1*"},
    {"mos_below": "3.6"}, {"mos_below": "3.65", "address": "192.0.2.2"}, {"one_way": True},
    {"one_way": True, "number": "+4930*", "response": "2xx"}, {"site": "n", "address": "192.0.2.1"},
    {"site": "n", "address": "10.0.0.3"}, {"address": "192.0.2.1", "number": "100"}, {"site": "s", "number": "*9*"},
    {"address": "10.0.0.3", "mos_below": "3.6", "site": "n"},
]  # fmt: skip


@pytest.mark.parametrize("many", [3, 100_000])
def test_searches_find_what_the_filter_takes(store, monkeypatch, many):
    """By partitions, with the indexes that it is told, also where every way is crowded."""
    monkeypatch.setattr(ways, "MANY", many)
    monkeypatch.setattr(search, "NEAR", 0 if many > 3 else 50)
    found = some_calls(240)
    ingest(store, found)
    for said in WANTED:
        parse = {name.replace("_", "-"): convert for name, convert, _, _ in filters.OPTIONS}
        site = said.get("site", "")
        wanted = Filter(**{name: parse.get(name.replace("_", "-"), bool)(text)
                           for name, text in said.items() if name != "site"})  # fmt: skip
        fitting = {one.uuid for one in found if wanted(one) and site in ("", one.site)}
        for sort in ("setup_time-desc", "setup_time", "mos"):
            got, after = [], ""
            while after is not None:
                page = store.search(Query(wanted, site), search.order(sort, after), 37)
                got += page.calls
                after = page.more or None
            assert (len(got), {one.uuid for one in got}) == (len(fitting), fitting), (said, sort)
            times = [one.setup_time for one in got]
            if sort.startswith("setup_time"):
                assert times == sorted(times, reverse=sort.endswith("-desc"))


@pytest.mark.parametrize("by", kpi.BY)
def test_the_server_counts_as_one_does_by_hand(store, by):
    ingest(store, some_calls(120))
    with store._engine.connect() as connection:
        counted, read = kpi._counted(connection, Query(site="n"), by), kpi._read(connection, Query(site="n"), by)
    assert counted.keys() == read.keys() and len(read) > 1
    for group, one in read.items():
        assert one.said("") == pytest.approx(counted[group].said(""), abs=0.0011)


def test_names_are_held_to_the_byte(store):
    """To the collation of the database they are all the same."""
    sites = ["Hq", "hq", "hq ", "h\u00e9q"]
    pdds = [0.1, 5.0, 12.0, 0.3]
    ingest(store, [call(site=site, call_id=site, setup_time=NOON + n, pdd=pdds[n]) for n, site in enumerate(sites)])
    for by in ("site", "sensor"):
        assert store.figures(Query(), by)[-1]["attempts"] == 4
    figures = {one["group"]: one["pdd_p95"] for one in store.figures(Query(), "site")}
    assert figures == dict(zip(sites, pdds, strict=True)) | {"all": 12.0}
    for site in sites:
        for query in (Query(site=site), Query(call_id=site)):
            assert [one.site for one in store.search(query, search.order("setup_time")).calls] == [site]


def test_partitions_are_made_ahead_and_dropped_and_held_calls_stay(store, administrator, mariadb_server):
    with administrator.connect() as connection:
        for table in partitions.TABLES:
            connection.exec_driver_sql(f"ALTER TABLE {table} REMOVE PARTITIONING")
        partitions.prepare(connection, TODAY - 20 * datetime.timedelta(days=1))
    kept, old, new = (call(call_id=name, setup_time=NOON + days * DAY) for name, days in
                      (("kept", 0), ("old", 0), ("new", 5)))  # fmt: skip
    ingest(store, [kept, old, new])
    store.hold(kept.uuid, "anna", "case")
    done = retention.maintain(administrator, None, 30, TODAY)
    with administrator.connect() as connection:
        there = partitions.bounds(connection, "calls")
    assert done.made and list(there)[-1] == partitions.LATER and "p20231127" in there and "p20231114" in there
    for days in (3, 2, 1):  # every run moves it into the oldest that is left
        done = retention.maintain(administrator, days, 30, TODAY)
        assert (done.held, "p20231114" in done.dropped) == (1, days == 3)
        assert [one.call_id for one in store.calls()] == ["kept", "new"] if days > 1 else ["kept"]
        found = store.search(Query(Filter(address=filters.address("192.0.2.7"))), search.Order())
        assert store.find_call("kept")[0].uuid == kept.uuid and found.calls == []
    with pytest.raises(VoipfleetError, match="are held"):
        store.erase(kept.uuid)
    store.release(kept.uuid)
    retention.maintain(administrator, 1, 30, TODAY + datetime.timedelta(days=9))
    assert store.calls() == [] and count(store, schema.held_calls) == 0


def test_maintain_by_command(mariadb_server, place, administrator, tmp_path):
    made = Daemon(tmp_path, server_bind="127.0.0.1", mysqlhost=mariadb_server.socket, mysqldb=place.database,
                  mysqluser=place.database, cleandatabase=90)  # fmt: skip
    assert "run `voipfleet db migrate`" in made.command("db", "maintain", "--user", "root").stderr
    assert made.command("db", "migrate", "--user", "root").returncode == 0
    said = made.command("db", "maintain", "--user", "root")
    assert (said.returncode, said.stderr) == (0, "") and "partitions made" in said.stdout
    assert "command denied" in made.command("db", "maintain").stderr or made.command("db", "maintain").returncode == 0
    for words in (
        ["calls", "--since", "30m"],
        ["kpi", "--by", "peer"],
        ["sensors"],
        ["calls", "--csv", "--number", "1"],
    ):
        said = made.command(*words)
        assert (said.returncode, said.stderr) == (0, ""), words


def test_parts_are_found_erased_and_kept_away(store):
    sensors, near, far, heard = Sensors(), signalling(0), signalling(0.02), media(1, 19)
    far.call_id = near.call_id
    for name, part in (("near", near), ("far", far), ("rtp", heard)):
        sensors.send(store, name, part)
    found, parts = store.find_call(near.call_id)
    assert {uuid for uuid, _ in parts} == {near.uuid, far.uuid, heard.uuid}
    assert store.erase(found.uuid) == sorted(parts)
    for name, part in (("near", near), ("far", far), ("rtp", heard)):
        part.revision += 1
        sensors.send(store, name, part)
    assert store.calls() == [] and count(store, schema.parts) == 0


def test_sensors_and_their_history(store):
    counters = {"capture_packets_total": 5, "clock_offset_us": -7}
    peers = [Peer(os.urandom(16), f"s{n}", "ab", "10.0.0.1") for n in range(3)]
    for _ in range(2):
        store.seen([(peer, Status(peer.name, 1, "1", "m", "x", 1, counters), "relay", 9) for peer in peers])
    assert [one["name"] for one in store.sensors()] == ["s0", "s1", "s2"]
    assert {one["via"] for one in store.sensors()} == {"relay"} and len(store.history("s1")) in (1, 2)
    assert store.forget("s1") == 1 and len(store.sensors()) == 2
