"""How long a search and a table of figures take among 10 million calls in MariaDB, cold and warm.

The records are made by the server itself (INSERT ... SELECT from its sequence engine): calls of 30 days, evenly over
each, of 100 sites of which the largest has a tenth, 200 sensors, 50,000 extensions that call 5 million numbers, 100
PBXs, 15,000 phones and 20 gateways; 70 % answered, of these 0.3 % one-way and 5 % with a MOS below that of a clean
G.711 call. Each has a whole record of two streams in `body`, put together from one that voipfleet encoded; a sample is
read back and held against the columns.

Cold: the server was started anew, so that its buffer pool is empty (its files may be in the memory of the kernel; it
opens them O_DIRECT). Warm: the same once more. The buffer pool is Debian's default, 128 MiB, unless --pool says
otherwise.
"""

# ruff: noqa: S608 - the statements are made of constants of this file
import argparse
import datetime
import math
import os
import shutil
import struct
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support import mariadb
from voipfleet import filters
from voipfleet.calls import record
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.central import facts, migrate, partitions, rows, schema
from voipfleet.central.conditions import Query
from voipfleet.central.kpi import BY
from voipfleet.central.search import order
from voipfleet.central.store import Store
from voipfleet.filters import Filter

DATABASE = "voipfleet"
DAYS, FIRST = 30, datetime.date(2026, 9, 1)
START = 1_788_220_800 * 10**9  # 2026-09-01, UTC
CHUNK = 50_000
PDDS, MOSES = 4096, 400


def template(answered: bool) -> list[bytes | str]:
    """A record as voipfleet encodes it, cut where a call's own values come in: bytes, and names of VALUES in turn."""
    real = struct.Struct(">d").pack
    first, last = 0x2222222222222222, 0x3333333333333333
    ends = ["10.YYY.1.NNN:12000", "192.0.2.1ZZ:30042"]
    streams = [
        StreamRecord(
            direction=side, src=src, dst=dst, ssrc=77777777, codec="PCMA", payload_types=[8, 101], ptime=20.0,
            first=first, last=last, expected=9000, received=8991, lost=9, reordered=1, loss_bursts=[7, 1] + [0] * 8,
            jitter_mean_ms=1.25, jitter_max_ms=4.2, delta_max_ms=41.7, mos=4.5, r_factor=91.6,
        ) for side, (src, dst) in (("caller", ends), ("callee", ends[::-1]))
    ]  # fmt: skip
    call = CallRecord(
        uuid=b"U" * 16, call_id="C" * 32 + "@10.1.2.3", sensor="sensor-SSS", site="site-TT", caller="+49301AAAAA",
        caller_domain="sip.example.net", callee="+44BBBBBBBBBB", callee_domain="sip.example.net",
        setup_time=0x1111111111111111, answer_time=first if answered else 0, end_time=last, duration=1.5,
        connect_duration=2.5 if answered else 0.0, pdd=3.5, final_response=0x4444, hung_up_by="caller",
        end_reason="bye" if answered else "rejected", user_agent_caller="Softphone/3.2.1",
        user_agent_callee="Gateway 7.1", src="10.YYY.0.7:5060", dst="192.0.2.1ZZ:5060", one_way=answered,
        streams=streams if answered else [],
    )  # fmt: skip
    marks = {
        b"U" * 16: "uuid", b"C" * 32: "md5", b"SSS": "sensor", b"TT": "site", b"AAAAA": "caller", b"B" * 10: "callee",
        b"\x11" * 8: "setup", b"\x22" * 8: "answer", b"\x33" * 8: "end", b"\xcb" + real(1.5): "duration",
        b"\xcb" + real(2.5): "connect", real(3.5): "pdd", b"\x44\x44": "response", b"YYY": "phone", b"NNN": "media",
        b"ZZ": "gateway", real(4.5): "mos", b"\xa7one_way\xc3": "way",
    }  # fmt: skip
    text, parts, at = record.encode(call), [], 0
    while found := min(((where, piece) for piece in marks if (where := text.find(piece, at)) >= 0), default=None):
        where, piece = found
        parts += [text[at:where], marks[piece]]
        at = where + len(piece)
    return [*parts, text[at:]]


def number(expression: str, digits: int) -> str:
    return f"LPAD({expression}, {digits}, '0')"


def big_endian(expression: str, size: int) -> str:
    return f"UNHEX(LPAD(HEX({expression}), {2 * size}, '0'))"


VALUES = {
    "uuid": "UNHEX(x.md5)", "md5": "x.md5", "sensor": number("x.sensor", 3), "site": number("x.site", 2),
    "caller": number("x.caller", 5), "callee": "x.callee", "setup": big_endian("x.setup", 8),
    "answer": big_endian("x.setup + 4200000000", 8), "end": big_endian("x.setup + x.lasted * 1000000000", 8),
    "duration": f"CONCAT(UNHEX('CE'), {big_endian('x.lasted', 4)})",  # whole seconds, as msgpack may write them
    "connect": f"CONCAT(UNHEX('CE'), {big_endian('x.lasted - 4', 4)})", "pdd": "p.packed",
    "response": big_endian("x.response", 2), "phone": "100 + x.site", "media": "x.media", "gateway": "x.gateway",
    "mos": "m.packed", "way": "UNHEX(IF(x.way, 'A76F6E655F776179C3', 'A76F6E655F776179C2'))",
}  # fmt: skip


def u(salt: str) -> str:
    """Evenly in [0, 1), the same for the same call."""
    return f"(CRC32(CONCAT(s.seq, '{salt}')) / 4294967296)"


_X = f"""
    SELECT s.seq AS n, MD5(s.seq) AS md5,
      %(start)s + (s.seq - %(first)s) * %(step)s + CAST({u("t")} * %(step)s AS SIGNED) AS setup,
      FLOOR(100 * POW({u("site")}, 2)) AS site, {u("sensor")} < 0.5 AS second,
      FLOOR(500 * {u("caller")}) AS extension, 1000000000 + 1777 * FLOOR(5000000 * {u("callee")}) AS callee,
      10 + FLOOR(20 * POW({u("gateway")}, 2)) AS gateway, {u("outcome")} AS outcome, {u("way")} AS one, {u("mos")} AS
      worse, FLOOR({PDDS} * {u("pdd")}) AS pdd, CAST(5 + FLOOR(-180 * LN(1 - {u("lasted")})) AS SIGNED) AS lasted
    FROM seq_1_to_1000000000 s WHERE s.seq BETWEEN %(low)s AND %(high)s LIMIT 1000000000"""
_Y = f"""
    SELECT y.*, 2 * site + second AS sensor, 500 * site + extension AS caller, 100 + extension MOD 150 AS media,
      outcome < 0.7 AS answered, outcome < 0.7 AND one < 0.003 AS way,
      IF(outcome >= 0.7, 0, IF(worse < 0.95, 341, FLOOR(6800 * (worse - 0.95)))) AS quality,
      CASE WHEN outcome < 0.7 THEN 200 WHEN outcome < 0.78 THEN 486 WHEN outcome < 0.9 THEN 487 WHEN outcome < 0.94 THEN
      404 WHEN outcome < 0.97 THEN 480 WHEN outcome < 0.98 THEN 503 WHEN outcome < 0.99 THEN 0
        WHEN outcome < 0.99999 THEN 500 ELSE 606 END AS response
    FROM ({_X}) y LIMIT 1000000000"""
COLUMNS = {
    "uuid": "UNHEX(x.md5)", "day": "%(day)s", "revision": "1", "method": "'INVITE'",
    "call_id": "CONCAT(x.md5, '@10.1.2.3')", "sensor": f"CONCAT('sensor-', {VALUES['sensor']})",
    "site": f"CONCAT('site-', {VALUES['site']})", "caller": f"CONCAT('+49301', {VALUES['caller']})",
    "callee": "CONCAT('+44', x.callee)", "caller_domain": "'sip.example.net'", "callee_domain": "'sip.example.net'",
    "end_reason": "IF(x.answered, 'bye', 'rejected')", "hung_up_by": "'caller'", "setup_time": "x.setup",
    "answer_time": "IF(x.answered, x.setup + 4200000000, 0)", "end_time": "x.setup + x.lasted * 1000000000",
    "duration": "x.lasted", "connect_duration": "IF(x.answered, x.lasted - 4, 0)", "final_response": "x.response",
    "one_way": "x.way", "partial": "0", "caller_lost": "IF(x.answered, 9, NULL)",
    "caller_mos": "IF(x.answered, m.mos, NULL)", "callee_lost": "IF(x.answered, 9, NULL)",
    "callee_mos": "IF(x.answered, m.mos, NULL)", "origin": "UNHEX(MD5(x.sensor))", "kind": "0",
    "verdict": "x.response * 256 + x.answered * 128 + x.way * 64 + IF(x.answered, m.class, 0)",
    "caller_key": f"CONCAT('+49301', {VALUES['caller']})", "callee_key": "CONCAT('+44', x.callee)",
    "caller_tail": f"REVERSE(CONCAT('+49301', {VALUES['caller']}))",
    "callee_tail": "REVERSE(CONCAT('+44', x.callee))",
    "src_ip": "UNHEX(CONCAT('0A', HEX(100 + x.site), '0007'))",
    "dst_ip": "UNHEX(CONCAT('C00002', HEX(100 + x.gateway)))",
    "pdd": "p.pdd", "mos": "IF(x.answered, m.mos, NULL)", "lost": "IF(x.answered, 18, NULL)",
    "expected": "IF(x.answered, 18000, NULL)",
}  # fmt: skip


def load(engine: sa.Engine, records: int) -> float:
    """Seconds that it took."""
    begun, pieces, bodies = time.perf_counter(), {}, []
    for answered in (True, False):
        cut = template(answered)
        names = [f"piece_{int(answered)}_{at}" for at in range(0, len(cut), 2)]
        pieces |= dict(zip(names, cut[::2], strict=True))
        values = [VALUES[name] for name in cut[1::2]] + ["''"]
        bodies.append(", ".join(f"%({name})s, {value}" for name, value in zip(names, values, strict=True)))
    tables = f"FROM ({_Y}) x JOIN made_pdd p ON p.k = x.pdd JOIN made_mos m ON m.k = x.quality ORDER BY x.n"
    body = f"IF(x.answered, CONCAT({bodies[0]}), CONCAT({bodies[1]}))"
    calls = f"INSERT INTO calls ({', '.join(COLUMNS)}, body) SELECT {', '.join(COLUMNS.values())}, {body} {tables}"
    ends = ("INSERT IGNORE INTO addresses (address, setup_time, uuid, day) SELECT"
            " UNHEX(CONCAT('0A', HEX(100 + x.site), '01', HEX(x.media))), x.setup, UNHEX(x.md5), %(day)s"
            f" FROM ({_Y}) x WHERE x.answered")  # fmt: skip
    with engine.connect() as connection:
        _reals(connection)
        a_day = records // DAYS
        for number_ in range(DAYS):
            for low in range(1, a_day + 1, CHUNK):
                values = {"day": FIRST + datetime.timedelta(days=number_), "start": START + number_ * 86_400 * 10**9,
                          "step": 86_400 * 10**9 // a_day, "first": number_ * a_day + 1,
                          "low": number_ * a_day + low,
                          "high": number_ * a_day + min(low + CHUNK - 1, a_day)}  # fmt: skip
                connection.exec_driver_sql(calls, pieces | values)
                connection.exec_driver_sql(ends, values)
                connection.commit()
            print(f"  {(number_ + 1) * a_day:,} calls after {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    return time.perf_counter() - begun


def _reals(connection: sa.Connection) -> None:
    """Real numbers as columns and as msgpack has them, to choose from."""
    pack = struct.Struct(">d").pack
    connection.exec_driver_sql("CREATE TABLE made_pdd (k INT PRIMARY KEY, pdd DOUBLE, packed VARBINARY(8))")
    connection.exec_driver_sql("CREATE TABLE made_mos (k INT PRIMARY KEY, mos DOUBLE, class INT, packed VARBINARY(8))")
    pdds = [round(0.05 - 2 * math.log(1 - k / PDDS), 6) for k in range(PDDS)]
    connection.exec_driver_sql("INSERT INTO made_pdd VALUES (%s, %s, %s)",
                               [(k, pdd, pack(pdd)) for k, pdd in enumerate(pdds)])  # fmt: skip
    moses = [round(1 + k / 100, 2) for k in range(MOSES)]
    connection.exec_driver_sql("INSERT INTO made_mos VALUES (%s, %s, %s, %s)",
                               [(k, mos, facts.mos_class(mos), pack(mos)) for k, mos in enumerate(moses)])  # fmt: skip


def check(engine: sa.Engine) -> None:
    """The columns of some are what voipfleet makes of their records."""
    with engine.connect() as connection:
        some = connection.execute(sa.select(schema.calls).order_by(schema.calls.c.uuid).limit(1000)).mappings().all()
    for row in some:
        made = rows.columns(record.decode(row["body"]), row["body"])
        wrong = {name: (row[name], value) for name, value in made.items() if row[name] != value}
        assert not wrong, wrong


DAY = 86_400 * 10**9
A_DAY = {"since": START + 9 * DAY, "until": START + 10 * DAY}
NEWEST = "setup_time-desc"
SEARCHES: list[tuple[str, Query, str]] = [
    ("the newest", Query(), NEWEST), ("a day", Query(Filter(**A_DAY)), NEWEST),
    ("number begins +493011234 (rare)", Query(Filter(number=filters.number("+493011234*"))), NEWEST),
    ("number begins +49 (all)", Query(Filter(number=filters.number("+49*"))), NEWEST),
    ("number ends 0001777 (rare)", Query(Filter(number=filters.number("*0001777"))), NEWEST),
    ("number 441234567 (rare)", Query(Filter(number=filters.number("441234567"))), NEWEST),
    ("number 441000001777 (whole)", Query(Filter(number=filters.number("441000001777"))), NEWEST),
    ("number 0 (a fifth begins or ends so)", Query(Filter(number=filters.number("0"))), NEWEST),
    ("number has 123456, a day", Query(Filter(number=filters.number("*123456*"), **A_DAY)), NEWEST),
    ("number has 44123456 (rare), 30 days", Query(Filter(number=filters.number("*44123456*"))), NEWEST),
    ("address of a gateway", Query(Filter(address=filters.address("192.0.2.110"))), NEWEST),
    ("address of a phone", Query(Filter(address=filters.address("10.150.1.120"))), NEWEST),
    ("address that no call has", Query(Filter(address=filters.address("10.1.1.1"))), NEWEST),
    ("network of phones, /24", Query(Filter(address=filters.address("10.150.1.0/24"))), NEWEST),
    ("site", Query(site="site-07"), NEWEST), ("site, a day", Query(Filter(**A_DAY), site="site-07"), NEWEST),
    ("response 606 (1 of 100,000)", Query(Filter(response=filters.response("606"))), NEWEST),
    ("response 5xx, a day", Query(Filter(response=filters.response("5xx"), **A_DAY)), NEWEST),
    ("MOS below 3.6", Query(Filter(mos_below=3.6)), NEWEST), ("MOS below 1.05", Query(Filter(mos_below=1.05)), NEWEST),
    ("one-way", Query(Filter(one_way=True)), NEWEST),
    ("one-way, a small site", Query(Filter(one_way=True), site="site-90"), NEWEST),
    ("one-way, a site without calls", Query(Filter(one_way=True), site="nowhere"), NEWEST),
    ("response 606, the largest site", Query(Filter(response=filters.response("606")), site="site-00"), NEWEST),
    ("response 606, a gateway",
     Query(Filter(response=filters.response("606"), address=filters.address("192.0.2.110"))),
     NEWEST),
    ("number begins +4930112, one-way",
     Query(Filter(one_way=True, number=filters.number("+4930112*"))), NEWEST),
    ("a small site, a PBX of another one",
     Query(Filter(address=filters.address("10.100.0.7")), site="site-99"), NEWEST),
    ("the largest site, a PBX of a small one",
     Query(Filter(address=filters.address("10.199.0.7")), site="site-00"), NEWEST),
    ("number of a site, a PBX of another one",
     Query(Filter(address=filters.address("10.100.0.7"), number=filters.number("+4930112*"))), NEWEST),
    ("a gateway, MOS below 1.05, response 5xx (none)",
     Query(Filter(address=filters.address("192.0.2.110"), mos_below=1.05, response=filters.response("5xx"))), NEWEST),
    ("a large site and a phone of another one",
     Query(Filter(address=filters.address("10.150.1.120")), site="site-00"), NEWEST),
    ("a large site, MOS below 2, one-way", Query(Filter(mos_below=2.0, one_way=True), site="site-00"), NEWEST),
    ("Call-ID", Query(call_id="0433aed25ec1f9097194a826a55aa53d@10.1.2.3"), NEWEST),
    ("uuid", Query(uuid=bytes.fromhex("0433aed25ec1f9097194a826a55aa53d")), NEWEST),
    ("a day, by duration", Query(Filter(**A_DAY)), "duration-desc"),
]  # fmt: skip


class Measured:
    """A server with the calls, and what of processor time it and this process took."""

    def __init__(self, folder: Path, pool: int):
        options = (f"--innodb-buffer-pool-size={pool}M", "--innodb-log-file-size=96M", f"--tmpdir={folder}")
        self.server = mariadb.MariaDB(folder, options)

    def restart(self) -> None:
        if self.server._process:
            self.stop()
        self.server.start()

    def stop(self) -> None:
        self.server.sql("SHUTDOWN")
        self.server._process.wait()

    def cpu(self) -> float:
        ticks = Path(f"/proc/{self.server.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK") + time.process_time()

    def twice(self, name: str, ask) -> None:
        """Print what it takes cold and warm, and the processor time of the warm one."""
        self.restart()
        spent = []
        for _ in range(2):
            store = Store(_url(self.server, DATABASE))
            begun, cpu = time.perf_counter(), self.cpu()
            said = ask(store)
            spent.append((time.perf_counter() - begun, self.cpu() - cpu))
            store.close()
        print(f"  {name:38} {spent[0][0]:6.2f} s cold {spent[1][0]:6.2f} s warm {spent[1][1]:6.2f} s of processor"
              f"  {said}", flush=True)  # fmt: skip


def _url(server: mariadb.MariaDB, user: str) -> sa.URL:
    return sa.URL.create("mysql+pymysql", username=user, database=DATABASE,
                         query={"charset": "utf8mb4", "unix_socket": str(server.socket)})  # fmt: skip


def make(folder: Path, records: int) -> None:
    """The data, by a server with more memory, which is then stopped."""
    options = ("--innodb-buffer-pool-size=2048M", "--innodb-log-file-size=512M", "--innodb-flush-log-at-trx-commit=2",
               "--tmp-table-size=256M", "--max-heap-table-size=256M", f"--tmpdir={folder}")  # fmt: skip
    maker = Measured(folder, 0)
    maker.server.options = options
    maker.server.install()
    maker.server.start()
    maker.server.database(DATABASE)
    engine = sa.create_engine(_url(maker.server, "root"))
    migrate.upgrade(engine, "benchmark")
    with engine.connect() as connection:
        for table in partitions.TABLES:
            days = partitions._definitions(FIRST, FIRST + datetime.timedelta(days=DAYS + partitions.AHEAD))
            connection.exec_driver_sql(f"ALTER TABLE {table} PARTITION BY RANGE COLUMNS (day) ({days})")
    print(f"search: {records:,} calls made in {load(engine, records):.0f} s")
    check(engine)
    engine.dispose()
    maker.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="Searches and key figures among many calls in MariaDB.")
    parser.add_argument("--records", type=int, default=10_000_000, help="%(default)s")
    parser.add_argument("--dir", default="/var/tmp", help="on the disk to measure, 2.9 GB a million (%(default)s)")
    parser.add_argument("--pool", type=int, default=128, help="MiB of buffer pool (%(default)s)")
    parser.add_argument("--keep", type=Path, help="make the data in this folder and leave it, or use what is there")
    args = parser.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="vf-search-", dir=args.dir))
    measured = Measured(folder, args.pool)
    try:
        if not (folder / "data").exists():
            folder.mkdir(exist_ok=True)
            make(folder, args.records)
        print(f"search: 100 calls each, buffer pool {args.pool} MiB, load of the machine {os.getloadavg()[0]:.1f}")
        for name, query, sort in SEARCHES:
            measured.twice(name, lambda store, q=query, s=sort: _said(store.search(q, order(s))))
        for by in BY:
            measured.twice(
                f"figures of a day by {by}", lambda store, b=by: len(store.figures(Query(Filter(**A_DAY)), b))
            )
    finally:
        measured.server.kill()
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)  # what a killed server has left


def _said(page) -> str:
    return f"{len(page.calls)}" + (", stopped after 10 s" if page.note else "")


if __name__ == "__main__":
    main()
