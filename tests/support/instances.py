"""As much of an instance (service.Service) as the manager's commands use, and a packet store that gives bytes."""

import hashlib
import time
from types import SimpleNamespace

from voipfleet.asking.switchboard import Switchboard
from voipfleet.errors import VoipfleetError
from voipfleet.manage import table
from voipfleet.records.open_calls import OpenCalls


class Pool:
    """The packets of `calls`: uuid -> how many bytes they are. What was done is in `done`."""

    def __init__(self, calls: dict[bytes, int], piece: int = 256 << 10):
        self.calls, self._piece, self.done = calls, piece, []

    async def fetch(self, uuid, offset, audio, send):
        size = self._known(uuid)
        self.done.append(("fetch", uuid, offset, audio))
        digest, at = hashlib.blake2b(digest_size=16), 0
        while at < size:
            data = bytes(min(self._piece, size - at))
            digest.update(data)
            if at + len(data) > offset:
                await send(data[max(0, offset - at) :])
            at += len(data)
        return {"bytes": size, "digest": digest.hexdigest(), "packets": 1, "missing": ""}

    async def hold(self, uuid, who, why):
        self._known(uuid)
        self.done.append(("hold", uuid, who, why))
        return {"bytes": self.calls[uuid]}

    async def release(self, uuid):
        self._known(uuid)
        self.done.append(("release", uuid))
        return {"released": True}

    async def erase(self, what):
        self.done.append(("erase", what))
        if isinstance(what, bytes):
            self._known(what)
            del self.calls[what]
        return {"calls": 1, "packets": 1}

    async def state(self, dry_run):
        return {"bytes": sum(self.calls.values()), "dry_run": dry_run}

    def _known(self, uuid):
        if uuid not in self.calls:
            raise VoipfleetError(f"{uuid.hex()}: this call is not known here")
        return self.calls[uuid]


class Store:
    """Of `records`: name -> (record, parts). `held`: names that a hold keeps."""

    def __init__(self, records):
        self.records, self.held, self.done = records, set(), []

    def find_call(self, text):
        return self.records.get(text)

    def parts_of(self, uuid):
        return self.records[uuid.hex()][1] if uuid.hex() in self.records else []

    def hold(self, uuid, who, why):
        self.held.add(uuid.hex())

    def release(self, uuid):
        self.held.discard(uuid.hex())

    def erase(self, uuid=None, number=None):
        if self.held:
            raise VoipfleetError("1 of the calls to erase are held; release them first")
        self.done.append((uuid, number))
        names = [uuid.hex()] if uuid else list(self.records)[:1]
        found = [self.records.pop(name) for name in names if name in self.records]
        self.records = self.records if uuid else {}
        return found[0][1] if found else []


class Stored:
    def __init__(self, store):
        self.store = store

    async def call(self, function, *arguments):
        return function(*arguments)


class Instance:
    """Its commands are the real table's; what it told the audit log is in `audit`."""

    def __init__(self, uuid: bytes, name: str, *, pool=None, store=None, config_path: str = ""):
        self.own_uuid, self.name, self.pool = uuid, name, pool
        self.stored = Stored(store) if store else None
        self.config_path, self.started = config_path, time.time()
        self.config = SimpleNamespace(
            interface=("eth0",), filter=None, snaplen=3200, server_bind=None, mirror_bind=None, mirror_destination=None,
            packetbuffer_sender=False, server_destination=None, values={})  # fmt: skip
        self.sensors, self.refusals, self.live, self.audit, self.engine = {}, {}, {}, [], None
        self.later, self.begun, self.ready = None, None, True
        self.intake = SimpleNamespace(open_calls=OpenCalls())
        self.board = Switchboard(uuid, name, self._answers, lambda behind, via: None)

    async def _answers(self, command, arguments, who, send):
        return await table.run_remote(self, command, arguments, who, send)

    def tell_audit(self, event, **fields):
        self.audit.append((event, fields))

    def clock_offset_ms(self):
        return 1.5
