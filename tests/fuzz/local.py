"""Targets of what does not come off the wire: text that people write, what is asked locally, files that a disk returns.

Each is a function of bytes, as in targets.py, with the inputs to begin with beside it.
"""

import asyncio
import contextlib
import json
import logging
import sqlite3
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.packets import block_of
from voipfleet import audit, config, filters
from voipfleet.errors import ConfigError
from voipfleet.manage.local import Manager
from voipfleet.metrics.totals import Totals
from voipfleet.metrics.web import MAX_REQUEST, Web
from voipfleet.records import salvage
from voipfleet.records.outbox import Outbox, OutboxError
from voipfleet.relay import codec, recovery, segments
from voipfleet.relay.books import Amount, Books, encode
from voipfleet.relay.messages import Origin
from voipfleet.relay.segments import FILE_HEAD, DamagedError, Queued

CONFIG = [b"[general]\ninterface = eth0\nsipport = 5060,5070-5080\nnatalias = 203.0.113.5 10.0.0.5\n",
          b"server_destination = 192.0.2.1\nserver_destination_port = 60024\nspooldir = /var/lib/x\n# text\n",
          b"server_bind = ::\nmysqlhost = h\nsavertp = yes\ninterfac = a\n"]  # fmt: skip
FILTERS = [b"*555*\0+49@h", b"192.0.2.0/24\0[2001:db8::7]:5060",
           b"2026-01-31 14:00\0" + b"999999d\x0030m\x002026-01-31", b"486,4xx,500-599,none\x003.6"]  # fmt: skip
CONTROL = [b'{"command": "echo", "x": [1]}\n', b'{"command": []}\n\n', b"[" * 5000 + b"\n", b'"' + b"x" * 70_000]
HTTP = [b"GET /readyz?x HTTP/1.1\r\nHost: h\r\n\r\n", b"HEAD /healthz HTTP/1.0\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n"]
ORIGIN = Origin("s", [b"u" * 16], b"e" * 16, 7, -5)


class Writer:
    """As much of a StreamWriter as the servers use; what is written is in `sent`."""

    def __init__(self):
        self.sent, self.closed, self.transport = bytearray(), False, self

    def write(self, data: bytes) -> None:
        self.sent += data

    async def drain(self) -> None:
        pass

    async def wait_closed(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    abort = close

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("192.0.2.1", 4000) if name == "peername" else default


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """In memory where the machine has that: nothing waits for a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@contextlib.contextmanager
def silent(name: str) -> Iterator[None]:
    """A logger that says nothing for now: what it would say is a sentence for each input."""
    log = logging.getLogger(name)
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def configuration(data: bytes) -> None:
    with contextlib.suppress(ConfigError):
        known = config.parse(text(data))
        given = {key: getattr(known, key) for key in known.given}
        again = config.parse(config.render(given))
        assert {key: getattr(again, key) for key in given} == given


def expressions(data: bytes) -> None:
    """Only ValueError leaves a filter, with one line for the person who gave it."""
    for word in text(data).split("\0"):
        for _, convert, *_ in filters.OPTIONS:
            try:
                convert(word)
            except ValueError as error:
                assert str(error).isprintable(), error


async def _said(serve, data: bytes, limit: int) -> bytes:
    """What a server answers to all of it; whatever comes, it closes."""
    reader, writer = asyncio.StreamReader(limit=limit), Writer()
    reader.feed_data(data)
    reader.feed_eof()
    await serve(reader, writer)
    assert writer.closed
    return bytes(writer.sent)


async def _echo(command: str, request) -> dict:
    return {"heard": len(request.arguments)}


async def _report() -> dict:
    return {"ready": True, "records": {"outbox_error": ""}}


def control(data: bytes) -> None:
    manager = Manager(Path("/nowhere"), _echo)
    answers = asyncio.run(_said(lambda *ends: manager.converse(*ends, "root", frozenset()), data, 64 << 10))
    for line in answers.splitlines():
        assert json.loads(line).keys() & {"heard", "error"}


def http(data: bytes) -> None:
    answer = asyncio.run(_said(Web(_report)._serve, data.replace(b"/metrics", b"/readyz"), MAX_REQUEST))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert not answer or head[9:12] in (b"200", b"400", b"404", b"405", b"503")
    assert not body or b"Content-Length: %d" % len(body) in head


def kept() -> list[bytes]:
    """Inputs for `waiting`: u32 length of a file of packets that wait, the file, the books beside it."""
    (packed,) = codec.pack(block_of([b"x" * 60] * 5))
    blocks = [Queued(n, ORIGIN, 5, packed.body, 9, Amount(n - 1, 5 * (n - 1), 0)) for n in (1, 2, 3)]
    with folder() as there:
        segments.append(there / "one", FILE_HEAD, b"e" * 16, blocks)
        file = (there / "one").read_bytes()
    return [struct.pack("!I", len(file)) + file + encode(Books(epoch=b"e" * 16)), struct.pack("!I", len(file)) + file]


def waiting(data: bytes) -> None:
    """Packets that wait on disk, whatever the disk makes of them: a restart goes on, a damaged block is said to be."""
    size = int.from_bytes(data[:4], "big")
    with folder() as there, silent("voipfleet.packets"):
        (there / f"1{segments.SUFFIX}").write_bytes(data[4:][:size])
        if data[4 + size :]:
            (there / recovery.STATE).write_bytes(data[4 + size :])
        found = recovery.recover(there)
        for segment in found.files:
            for number in range(segment.first, segment.last + 1):
                with contextlib.suppress(DamagedError, codec.PackedError):
                    codec.unpack(segments.read(segment, number).body, max_bytes=1 << 20, sensor="s")


def diaries() -> list[bytes]:
    """Inputs for `diary`: an audit log, a zero byte, the file of counters."""
    with folder() as there:
        with contextlib.closing(audit.Audit(there / "audit.log")) as open_log:
            open_log.write("start", version="1")
        log = (there / "audit.log").read_bytes()
    return [log + b'\0{"since": 1, "starts": 2, "counters": {"sip": 4}}', log + log + b"\0[]"]


def diary(data: bytes) -> None:
    """An audit log and counters that somebody changed: the log goes on, counters begin anew."""
    log, _, counters = data.partition(b"\0")
    with folder() as there, silent("voipfleet.metrics"):
        (there / "audit.log").write_bytes(log)
        (there / "counters").write_bytes(counters)
        with contextlib.closing(audit.Audit(there / "audit.log")) as open_log:
            open_log.write("x")
        *_, (_, _, last, _) = audit.read(there / "audit.log")
        assert last["event"] == "x"
        assert Totals(there / "counters").with_present({"sip": 1})["sip"] >= 1


def _sound() -> bytes:
    """The file of an outbox with five records, two of them acknowledged."""
    with folder() as there:
        box = Outbox(there / "outbox.db")
        box.append([(bytes([n]) * 16, 1, 1, b"record") for n in range(1, 6)])
        box.acknowledge(2)
        box.close()
        with contextlib.closing(sqlite3.connect(there / "outbox.db")) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return (there / "outbox.db").read_bytes()


SOUND = _sound()


def outboxes() -> list[bytes]:
    """Inputs for `outbox`, changes of a sound file: u16 place / 8, u8 length, bytes."""
    return [b"", struct.pack("!HB", 2, 4) + b"\xff" * 4, struct.pack("!HB", 600, 40) + bytes(40)]


def outbox(data: bytes) -> None:
    """A damaged outbox opens with what is whole, or says why it cannot; its books balance."""
    content, at = bytearray(SOUND), 0
    while at + 3 <= len(data):
        place, size = struct.unpack_from("!HB", data, at)
        part = data[at + 3 : at + 3 + size]
        place = place * 8 % len(content)
        content[place : place + len(part)] = part
        at += 3 + size
    with folder() as there, silent("voipfleet.outbox"), contextlib.suppress(OutboxError):
        (there / "outbox.db").write_bytes(content)
        box = salvage.open_outbox(there / "outbox.db")
        try:
            state = box.state()
            assert state.created == state.acknowledged + state.queued + state.gaps, state
            assert all(row.seq > 0 for row in box.read(0))
        finally:
            box.close()
