"""How many complete call records (two streams each) a central stores durably in MariaDB, beside the bare driver.

Sensors are simulated: batches as their outboxes send them (500 records, msgpack), several sensors in turn, one commit a
batch. The measure beside it is `executemany` of PyMySQL on a copy of the table (same columns, same indexes, same
width), one commit for as many rows: what the driver and the server can do when nobody decodes, checks or deduplicates.
Both in turn, in one run, on a server of the benchmark's own with innodb_flush_log_at_trx_commit=1 and Debian's sizes,
the buffer pool doubled since two tables share it. `--rounds 12 --records 50000 --pool 2048` shows what memory is worth.
"""

import argparse
import os
import random
import statistics
import sys
import time
from pathlib import Path

import msgspec
import pymysql
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support import mariadb
from voipfleet.calls import record
from voipfleet.calls.record import CallRecord, StreamRecord
from voipfleet.central import migrate, rows, schema
from voipfleet.central.store import Peer, Store
from voipfleet.records.messages import CALL, MAX_ROWS, Batch, Row

DATABASE = "voipfleet"
_decode = msgspec.msgpack.Decoder(Batch).decode
_random = random.Random(1)


def a_call() -> CallRecord:
    """A call of three minutes as an analyser describes it: every field that a real one has."""
    caller, callee = (f"+49{_random.randrange(10**9, 10**10)}" for _ in range(2))
    setup = 1_700_000_000_000_000_000 + _random.randrange(86_400 * 10**9)
    answer, end = setup + 4_200_000_000, setup + 184_200_000_000
    two = [
        StreamRecord(
            direction=side, src=f"10.1.{_random.randrange(256)}.7:{_random.randrange(10_000, 20_000)}",
            dst="192.0.2.10:30042", ssrc=_random.getrandbits(32), codec="PCMA", payload_types=[8, 101], ptime=20.0,
            first=answer, last=end, expected=9000, received=8991, lost=9, reordered=1, loss_bursts=[7, 1] + [0] * 8,
            jitter_mean_ms=_random.random(), jitter_max_ms=4.2, delta_max_ms=41.7, mos=4.38, r_factor=91.6,
        ) for side in ("caller", "callee")
    ]  # fmt: skip
    return CallRecord(
        uuid=os.urandom(16), call_id=f"{os.urandom(12).hex()}@10.1.2.3", sensor="branch1", site="Lisbon", caller=caller,
        caller_domain="sip.example.net", callee=callee, callee_domain="sip.example.net", setup_time=setup,
        ring_time=setup + 310_000_000, answer_time=answer, end_time=end, duration=184.2, connect_duration=180.0,
        pdd=0.31, final_response=200, hung_up_by="caller", end_reason="bye", user_agent_caller="Softphone/3.2.1",
        user_agent_callee="Gateway 7.1", src="10.1.2.3:5060", dst="192.0.2.10:5060", streams=two,
    )  # fmt: skip


def batch(epoch: bytes, first_seq: int) -> bytes:
    calls = [a_call() for _ in range(MAX_ROWS)]
    made = [Row(seq, call.uuid, 1, CALL, record.encode(call)) for seq, call in enumerate(calls, first_seq)]
    return msgspec.msgpack.encode(Batch(epoch, made))


def ours(store: Store, sent: list[tuple[Peer, bytes]]) -> float:
    """Seconds until all of it was acknowledged."""
    start = time.perf_counter()
    for peer, body in sent:
        store.ingest(peer, _decode(body))
    return time.perf_counter() - start


def bare(connection: pymysql.Connection, sent: list[tuple[Peer, bytes]]) -> float:
    """Seconds for the same rows, ready beforehand, through the driver alone."""
    ready = [[tuple(rows.columns(*rows.read(row, "")).values()) for row in _decode(body).rows] for _, body in sent]
    names = list(rows.columns(*rows.read(_decode(sent[0][1]).rows[0], "")))
    # Of names of this program's own columns.
    statement = f"INSERT INTO plain ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})"  # noqa: S608
    start = time.perf_counter()
    with connection.cursor() as cursor:
        for values in ready:
            cursor.executemany(statement, values)
            connection.commit()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Durable call records a second into MariaDB.")
    parser.add_argument("--records", type=int, default=20_000, help="a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="%(default)s, the median counts")
    parser.add_argument("--sensors", type=int, default=8, help="%(default)s, in turn")
    parser.add_argument("--dir", default="/var/tmp", help="on the disk to measure (%(default)s)")
    parser.add_argument("--pool", type=int, default=256, help="MiB of buffer pool for both tables (%(default)s)")
    parser.add_argument("--log", type=int, default=96, help="MiB of redo log (%(default)s)")
    args = parser.parse_args()
    options = (f"--innodb-buffer-pool-size={args.pool}M", f"--innodb-log-file-size={args.log}M")
    peers = [
        (Peer(os.urandom(16), f"branch{number}", "", "10.0.0.1"), os.urandom(16)) for number in range(args.sensors)
    ]
    with mariadb.server(args.dir, options) as server:
        server.database(DATABASE)
        url = sa.URL.create("mysql+pymysql", username="root", database=DATABASE,
                            query={"charset": "utf8mb4", "unix_socket": str(server.socket)})  # fmt: skip
        migrate.upgrade(sa.create_engine(url), "benchmark")
        server.sql("CREATE TABLE plain LIKE calls", DATABASE)
        store = Store(url.set(username=DATABASE))
        store.prepare()
        driver = pymysql.connect(unix_socket=str(server.socket), user="root", database=DATABASE, charset="utf8mb4")
        rates, seq, size = {"store": [], "driver": []}, [1] * len(peers), 0
        for _ in range(args.rounds):
            sent = []
            for number in range(args.records // MAX_ROWS):
                which = number % len(peers)
                sent.append((peers[which][0], batch(peers[which][1], seq[which])))
                seq[which] += MAX_ROWS
            size = sum(len(body) for _, body in sent) / (len(sent) * MAX_ROWS)
            rates["store"].append(len(sent) * MAX_ROWS / ours(store, sent))
            rates["driver"].append(len(sent) * MAX_ROWS / bare(driver, sent))
        with store._engine.connect() as connection:
            kept = connection.execute(sa.select(sa.func.count()).select_from(schema.calls)).scalar_one()
        assert kept == sum(seq) - len(peers), "records are missing"
        store.close()
        driver.close()
    middle = {name: statistics.median(found) for name, found in rates.items()}
    print(f"ingest: {middle['store']:,.0f} records/s durable, {middle['store'] / middle['driver']:.2f} of what PyMySQL"
          f" executemany does ({middle['driver']:,.0f} rows/s); two streams and {size:.0f} bytes a record, batches of"
          f" {MAX_ROWS}, {args.sensors} sensors in turn, {args.rounds} rounds of {args.records},"
          f" buffer pool {args.pool} MiB")  # fmt: skip
    for name, found in rates.items():
        print(f"  {name}, round by round while the tables grow: {', '.join(f'{rate:,.0f}' for rate in found)}")


if __name__ == "__main__":
    main()
